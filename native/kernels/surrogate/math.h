// Per-token maths of the surrogate losses, over F = float (CUDA) or F32 (CPU). A new form is a case
// of policy_loss, a new estimator a case of kl_loss, a new aggregation a case of row_coefficient.
#pragma once
#include "kernels/surrogate/options.h"
#include "runtime/scalar.h"

namespace firesteel {

// A loss and its derivative with respect to the current log-prob.
template <class F>
struct LossTerm {
  F loss, gradient;
};

// exp(a - b). Far from 0 the rounding of a - b alone would cost |a - b| half-ulps of the result; it
// is recovered (Knuth's two-sum) and multiplied back in.
template <class F>
struct Ratio {
  F log_ratio, ratio;
};
template <class F>
FIRESTEEL_HD inline Ratio<F> ratio_of(F a, F b) {
  const F difference = a - b;
  const F minus_b = difference - a;
  const F rest = (a - (difference - minus_b)) - (b + minus_b);
  const F power = exp(difference);
  // With infinite arguments rest is NaN; with an infinite power there is nothing left to correct.
  const auto finite = (abs(rest) < F(1.0f)) & (power < F(__builtin_inff()));
  return {difference, select(finite, fma(power, rest, power), power)};
}

// -min(ratio A, clip(ratio) A) (Schulman et al. 2017, eq. 7) with two options: delta caps the ratio
// of the unclipped arm (TRL's two-sided clipping), and for A < 0 the loss is at most -dual_clip A
// (Ye et al. 2020, eq. 5). The gradient is exact: bounds belong to the inside, a tie goes to the
// unclipped arm.
template <class F>
FIRESTEEL_HD inline LossTerm<F> clip_loss(const SurrogateTerms& s, F ratio, F advantage) {
  const F low(s.low), high(s.high), delta(s.delta), zero(0.0f);
  const F unclipped = min(ratio, delta) * advantage;
  const F clipped = max(low, min(high, ratio)) * advantage;
  const auto takes_unclipped = unclipped <= clipped;
  const auto inside = (low <= ratio) & (ratio <= high);
  const auto moves = (takes_unclipped & (ratio <= delta)) | (inside & !takes_unclipped);
  const F loss = -select(takes_unclipped, unclipped, clipped);
  const F gradient = select(moves, -(ratio * advantage), zero);
  const F ceiling = select(advantage < zero, -(F(s.dual_clip) * advantage), F(__builtin_inff()));
  const auto capped = ceiling < loss;
  // Nothing is at stake where A is 0, even where the ratio is inf.
  const auto neutral = advantage == zero;
  return {select(neutral, zero, select(capped, ceiling, loss)),
          select(neutral | capped, zero, gradient)};
}

template <class F>
FIRESTEEL_HD inline LossTerm<F> policy_loss(const SurrogateTerms& s, F ratio, F advantage) {
  switch (s.form) {
    case SurrogateForm::clip:
      return clip_loss(s, ratio, advantage);
  }
  return {F(0.0f), F(0.0f)};
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

// An estimate of KL(current || reference) from one sample (Schulman 2020) and its gradient.
template <class F>
FIRESTEEL_HD inline LossTerm<F> kl_loss(const SurrogateTerms& s, F log_prob, F ref_log_prob) {
  const F one(1.0f), zero(0.0f);
  const Ratio<F> r = ratio_of(ref_log_prob, log_prob);
  const F d = r.log_ratio;  // -k1
  switch (s.kl) {
    case KlEstimator::k1:
      return {-d, one};
    case KlEstimator::k2:
      return {F(0.5f) * d * d, -d};
    case KlEstimator::abs:
      return {abs(d), select(d < zero, one, select(d > zero, -one, zero))};
    case KlEstimator::k3: {
      const F k3 = exp_minus_tangent(d, r.ratio);
      return {k3, -select(abs(d) < F(kTangentRange), k3 + d, r.ratio - one)};  // 1 - exp(d)
    }
    // The value of k3, the gradient of k2: the estimator whose gradient is that of the reverse KL.
    case KlEstimator::k3_plus:
      return {exp_minus_tangent(d, r.ratio), -d};
  }
  return {zero, zero};
}

// Everything about one token, before masks and aggregation.
template <class F>
struct TokenTerm {
  F policy;    // policy loss times weight
  F kl;        // KL estimate, without beta
  F gradient;  // of policy + beta * kl
  F log_ratio, ratio;
};
template <class F>
FIRESTEEL_HD inline TokenTerm<F> token_term(const SurrogateTerms& s, F log_prob, F old_log_prob,
                                            F ref_log_prob, F advantage, F weight) {
  const F zero(0.0f);
  const Ratio<F> r = ratio_of(log_prob, old_log_prob);
  const LossTerm<F> policy = policy_loss(s, r.ratio, advantage);
  const auto dropped = weight == zero;  // a weight of 0 drops the token, even where its loss is inf
  TokenTerm<F> t{select(dropped, zero, weight * policy.loss), zero,
                 select(dropped, zero, weight * policy.gradient), r.log_ratio, r.ratio};
  if (s.reference) {
    const LossTerm<F> kl = kl_loss(s, log_prob, ref_log_prob);
    t.kl = kl.loss;
    if (s.beta != 0.0f) t.gradient = fma(F(s.beta), kl.gradient, t.gradient);
  }
  return t;
}

// NaN anywhere, given or arisen (inf - inf), or a gradient that is not finite: such a token is a
// fault and is left out, so that it cannot ruin the weights.
template <class F>
FIRESTEEL_HD inline auto is_valid(const TokenTerm<F>& t, F advantage, F weight) {
  return (t.log_ratio == t.log_ratio) & (advantage == advantage) & (weight == weight) &
         (t.kl == t.kl) & (t.policy == t.policy) & (abs(t.gradient) < F(__builtin_inff()));
}

// What divides the sum when the caller gives no denominator; at least 1, so that nothing trained is
// 0.
FIRESTEEL_HD inline double default_denominator(Aggregation aggregation, double trained_tokens,
                                               double active_rows) {
  const double n = aggregation == Aggregation::token_sum    ? 1.0
                   : aggregation == Aggregation::token_mean ? trained_tokens
                                                            : active_rows;
  return n < 1.0 ? 1.0 : n;
}

// The factor of a row's token losses in the loss; row_tokens is the number of trained tokens in it.
FIRESTEEL_HD inline double row_coefficient(Aggregation aggregation, double row_tokens,
                                           double denominator, double horizon) {
  switch (aggregation) {
    case Aggregation::seq_mean_token_mean:
      return 1.0 / ((row_tokens < 1.0 ? 1.0 : row_tokens) * denominator);
    case Aggregation::seq_mean_token_sum_norm:
      return 1.0 / (horizon * denominator);
    default:
      return 1.0 / denominator;
  }
}

}  // namespace firesteel
