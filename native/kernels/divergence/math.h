// Per-token maths of the divergences over the whole vocabulary, over F = float (CUDA) or F32 (CPU).
//
// Everything is taken from a = |log(q / p)|, h = e^-a and the larger of p and q, in forms that keep
// their relative error as a goes to 0:
//
//   q log(q / p) - q + p = q (h - 1 + a) where q is the larger, p (1 - h - a h) where p is
//
// and the reverse with p and q exchanged. The terms of a divergence may carry - q + p because these
// sum to 0; they make each term non-negative, and an error e in all the log-ratios then moves the
// sum by e |sum (p - q)|, not by e.
#pragma once
#include "kernels/divergence/kinds.h"
#include "runtime/scalar.h"

namespace firesteel {

constexpr float kLeastExponent = -127.0f;  // where 2^x counts as 0

// What is known of a row before its tokens. Sums are those of 2^((x - max) scale). Offsets are log2
// of the side's sum over the smaller of both sums: one of them is 0, and where p and q are nearly
// equal the other is too, so that rounding is relative to the distances from the maxima alone.
struct DivergenceConstants {
  float student_scale, student_max, student_offset;
  float teacher_scale, teacher_max, teacher_offset;
};

// How the two sums over a row make its divergence, and what the gradient needs of them.
struct DivergenceWeights {
  bool mixture;            // jsd
  float forward, reverse;  // of KL(q || p) and of KL(p || q), where not jsd
  float teacher, student;  // of q and p in m, where jsd
};
FIRESTEEL_HD inline DivergenceWeights divergence_weights(DivergenceKind kind, double weight) {
  const float share = static_cast<float>(weight), rest = static_cast<float>(1.0 - weight);
  switch (kind) {
    case DivergenceKind::forward:
      return {false, 1.0f, 0.0f, 0.0f, 0.0f};
    case DivergenceKind::reverse:
      return {false, 0.0f, 1.0f, 0.0f, 0.0f};
    case DivergenceKind::mixed:
      return {false, share, rest, 0.0f, 0.0f};
    case DivergenceKind::jsd:
      break;
  }
  return {true, 0.0f, 0.0f, share, rest};
}

template <class F, class Truth>
struct TokenPair {
  Truth teacher_higher;  // q >= p
  F higher, lower;       // of p and q, both times the smaller of the sums
  F ratio;               // h: lower / higher
  F apart;               // a, inf where the lower is 0
  F near;                // a, but finite
};

// Exp2: 2^x for x in [Exp2::least, 0], 0 at its lower end.
template <class F, class Exp2>
FIRESTEEL_HD inline auto token_pair(const DivergenceConstants& c, F student, F teacher,
                                    Exp2 exp2_of) {
  const F least(Exp2::least), zero(0.0f);
  // Subtracting first keeps the error relative to the distance from the maximum.
  const F s = (student - F(c.student_max)) * F(c.student_scale);
  const F t = (teacher - F(c.teacher_max)) * F(c.teacher_scale);
  const F difference = (t - s) - F(c.teacher_offset - c.student_offset);
  const F log2_ratio = select(difference == difference, difference, zero);  // -inf - -inf
  const auto teacher_higher = log2_ratio >= zero;
  const F log2_higher = select(teacher_higher, t - F(c.teacher_offset), s - F(c.student_offset));
  const F higher = exp2_of(max(least, log2_higher));
  const F distance = abs(log2_ratio);
  const F ratio = exp2_of(max(least, -distance));
  const F apart = distance * F(0x1.62e43p-1f);
  using Truth = decltype(log2_ratio >= zero);
  return TokenPair<F, Truth>{teacher_higher, higher, higher * ratio,
                             ratio,          apart,  min(apart, F(0x1p100f))};
}

// 1 - h, h - 1 + a and 1 - h - a h. Below a = 1 from a^2 times a polynomial for the second
// (minimax in relative error, the first term held at 1/2).
template <class F>
struct Gaps {
  F one_minus_ratio, upper, lower;
};
template <class F, class Truth>
FIRESTEEL_HD inline Gaps<F> gaps_of(const TokenPair<F, Truth>& x) {
  const F a = x.near, one(1.0f);
  F p = fma(a, F(-0x1.214292p-13f), F(0x1.5baf5cp-10f));
  p = fma(p, a, F(-0x1.1010e4p-7f));
  p = fma(p, a, F(0x1.55476ep-5f));
  p = fma(p, a, F(-0x1.555516p-3f));
  p = fma(p, a, F(0.5f));
  const F small = p * a * a, small_gap = a - small;
  const F gap = one - x.ratio;
  const auto is_small = a < one;
  return {select(is_small, small_gap, gap), select(is_small, small, x.apart - gap),
          select(is_small, fma(a, small_gap, -small), gap - x.ratio * a)};
}

// The terms of both Kullback-Leibler divergences, in the form that is never negative.
template <class F>
struct Divergences {
  F forward, reverse;
};
template <class F, class Truth>
FIRESTEEL_HD inline Divergences<F> kl_terms(const TokenPair<F, Truth>& x) {
  const F zero(0.0f);
  const Gaps<F> gaps = gaps_of(x);
  const auto there = x.higher > zero;
  const F upper = select(there, x.higher * gaps.upper, zero);
  const F lower = select(there, x.higher * gaps.lower, zero);
  return {select(x.teacher_higher, upper, lower), select(x.teacher_higher, lower, upper)};
}

// d / d z_v of the KLs: p - q for the forward one, p (log(p / q) - KL) for the reverse.
template <class F, class Truth>
FIRESTEEL_HD inline F kl_gradient(const DivergenceWeights& w, F reverse_kl,
                                  const TokenPair<F, Truth>& x) {
  const F excess = x.higher * gaps_of(x).one_minus_ratio;
  const F p = select(x.teacher_higher, x.lower, x.higher);
  const F log_ratio = select(x.teacher_higher, -x.near, x.near);  // of p over q
  const F forward = F(w.forward) * select(x.teacher_higher, -excess, excess);
  return forward + F(w.reverse) * (p * (log_ratio - reverse_kl));
}

// m relative to the higher of p and q is 1 - u, u = g (1 - h), where g is the weight of the lower.
template <class F>
struct Mixture {
  F share, reduction, minus_log;  // g, u, -log(1 - u)
};
template <class F, class Truth>
FIRESTEEL_HD inline Mixture<F> mixture_of(const DivergenceWeights& w, const TokenPair<F, Truth>& x,
                                          const Gaps<F>& gaps) {
  const F share = select(x.teacher_higher, F(w.student), F(w.teacher));
  const F reduction = share * gaps.one_minus_ratio;
  return {share, reduction, -log1p(-reduction)};
}

// log(p / m)
template <class F, class Truth>
FIRESTEEL_HD inline F log_over_mixture(const TokenPair<F, Truth>& x, const Mixture<F>& m) {
  return m.minus_log - select(x.teacher_higher, x.near, F(0.0f));
}

// The term of weight KL(q || m) + (1 - weight) KL(p || m), which is
//   higher (g (1 - h - a h) - (u + (1 - u) log(1 - u))),
// and that of KL(p || m) alone, which only the gradient needs.
template <class F>
struct MixtureTerms {
  F divergence, student_kl;
};
template <class F, class Truth>
FIRESTEEL_HD inline MixtureTerms<F> jsd_terms(const DivergenceWeights& w,
                                              const TokenPair<F, Truth>& x) {
  const F zero(0.0f);
  const Gaps<F> gaps = gaps_of(x);
  const Mixture<F> m = mixture_of(w, x, gaps);
  const F u = m.reduction;
  // u + (1 - u) log(1 - u): below u = 1/2 as u^2 times a polynomial.
  F p = fma(u, F(0x1.9e3086p-4f), F(-0x1.44a3b0p-4f));
  p = fma(p, u, F(0x1.25031cp-4f));
  p = fma(p, u, F(0x1.5b8e7ep-6f));
  p = fma(p, u, F(0x1.a6ac76p-5f));
  p = fma(p, u, F(0x1.54eeb6p-4f));
  p = fma(p, u, F(0x1.555662p-3f));
  p = fma(p, u, F(0.5f));
  const F rest = select(u < F(0.5f), p * u * u, u - (F(1.0f) - u) * m.minus_log);
  const F term = x.higher * max(zero, fma(m.share, gaps.lower, -rest));
  const F student = select(x.teacher_higher, x.lower, x.higher);
  return {term, student * log_over_mixture(x, m)};
}

// d / d z_v = (1 - weight) p (log(p / m) - KL(p || m))
template <class F, class Truth>
FIRESTEEL_HD inline F jsd_gradient(const DivergenceWeights& w, F student_kl,
                                   const TokenPair<F, Truth>& x) {
  const Mixture<F> m = mixture_of(w, x, gaps_of(x));
  const F p = select(x.teacher_higher, x.lower, x.higher);
  return F(w.student) * (p * (log_over_mixture(x, m) - student_kl));
}

}  // namespace firesteel
