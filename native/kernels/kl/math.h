// Ratios of probabilities and estimates of the KL divergence at one token, over F = float (CUDA) or
// F32 (CPU).
#pragma once
#include "kernels/kl/estimators.h"
#include "runtime/scalar.h"

namespace firesteel {

// A loss and its derivative with respect to the current log-prob.
template <class F>
struct LossTerm {
  F loss, gradient;
};

// A log-ratio as an unrounded sum: the rounding of `value` alone would cost |value| half-ulps of
// its exponential. Where `value` is not finite `rest` is anything.
template <class F>
struct LogRatio {
  F value, rest;
};

// a - b (Knuth's two-sum).
template <class F>
FIRESTEEL_HD inline LogRatio<F> log_ratio_of(F a, F b) {
  const F value = a - b;
  const F minus_b = value - a;
  return {value, (a - (value - minus_b)) - (b + minus_b)};
}

template <class F>
FIRESTEEL_HD inline F exp(const LogRatio<F>& x) {
  const F power = exp(x.value);
  const F corrected = fma(power, x.rest, power);
  return select(corrected == corrected, corrected, power);  // NaN: nothing there to correct
}

// exp(d) - 1 - d. Around 0, where the direct form would cancel to nothing, d^2 times a polynomial
// (minimax in relative error, the first term held at 1/2).
constexpr float kTangentRange = 1.75f;
template <class F>
FIRESTEEL_HD inline F exp_minus_tangent(F d, F power) {
  F p = fma(d, F(0x1.2d13p-22f), F(0x1.88f34ep-19f));
  p = fma(p, d, F(0x1.a08184p-16f));
  p = fma(p, d, F(0x1.9f4ep-13f));
  p = fma(p, d, F(0x1.6c11cap-10f));
  p = fma(p, d, F(0x1.111396p-7f));
  p = fma(p, d, F(0x1.55556ep-5f));
  p = fma(p, d, F(0x1.55554ep-3f));
  p = fma(p, d, F(0.5f));
  const F far = select(power < F(__builtin_inff()), (power - F(1.0f)) - d, power);
  return select(abs(d) < F(kTangentRange), p * d * d, far);
}

// An estimate of KL(current || reference) from one sample (Schulman 2020), as a function of
// d = ref - current.
template <class F>
FIRESTEEL_HD inline LossTerm<F> kl_estimate(KlEstimator estimator, const LogRatio<F>& ratio) {
  const F one(1.0f), zero(0.0f);
  const F d = ratio.value;
  switch (estimator) {
    case KlEstimator::k1:
      return {-d, one};
    case KlEstimator::k2:
      return {F(0.5f) * d * d, -d};
    case KlEstimator::abs:
      return {abs(d), select(d < zero, one, select(d > zero, -one, zero))};
    case KlEstimator::k3: {
      const F power = exp(ratio);
      const F k3 = exp_minus_tangent(d, power);
      return {k3, -select(abs(d) < F(kTangentRange), k3 + d, power - one)};  // 1 - exp(d)
    }
    // The value of k3, the gradient of k2: the estimator whose gradient is that of the reverse KL.
    case KlEstimator::k3_plus:
      return {exp_minus_tangent(d, exp(ratio)), -d};
  }
  return {zero, zero};
}

// d and the estimate are clamped to their limits, which belong to the inside; beyond, the gradient
// is 0.
template <class F>
FIRESTEEL_HD inline LossTerm<F> kl_loss(KlEstimator estimator, float difference_limit,
                                        float value_limit, F log_prob, F ref_log_prob) {
  const F zero(0.0f), furthest(difference_limit), most(value_limit);
  const LogRatio<F> d = log_ratio_of(ref_log_prob, log_prob);
  const auto beyond = furthest < abs(d.value);
  const F clamped = max(-furthest, min(furthest, d.value));
  const LossTerm<F> kl = kl_estimate(estimator, LogRatio<F>{clamped, select(beyond, zero, d.rest)});
  return {max(-most, min(most, kl.loss)),
          select(beyond | (most < abs(kl.loss)), zero, kl.gradient)};
}

}  // namespace firesteel
