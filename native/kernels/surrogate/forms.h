// The policy losses of single tokens, over F = float (CUDA) or F32 (CPU). A new form is a case of
// policy_loss.
#pragma once
#include "kernels/kl/math.h"
#include "kernels/surrogate/plan.h"
#include "runtime/scalar.h"

namespace firesteel {

template <class F>
using MaskOf = decltype(F(0.0f) < F(0.0f));

// A token as it was read; what the call does not have stands at a neutral value.
template <class F>
struct TokenInput {
  F log_prob, old_log_prob, ref_log_prob, sampler_log_prob;
  F advantage, weight, low, high, ratio_scale, ratio_bias, entropy;
};

// The policy loss of a token before its weight and its derivative: by the log of its ratio where
// the form follows the ratio, else by the token's own log-prob.
template <class F>
struct PolicyTerm {
  F loss, slope;
  MaskOf<F> below, above;  // beyond the form's limits
};

FIRESTEEL_HD inline bool follows_ratio(SurrogateForm form) {
  return (kFormsThroughRatio >> static_cast<int>(form) & 1u) != 0;
}
FIRESTEEL_HD inline bool has_limits(SurrogateForm form) {
  return (kFormsWithLimits >> static_cast<int>(form) & 1u) != 0;
}

// -min(ratio A, clip(ratio) A) (Schulman et al. 2017, eq. 7) with two options: delta caps the ratio
// of the unclipped arm (TRL's two-sided clipping), and for A < 0 the loss is at most -dual_clip A
// (Ye et al. 2020, eq. 5). The gradient is exact: bounds belong to the inside, a tie goes to the
// unclipped arm.
template <class F>
FIRESTEEL_HD inline PolicyTerm<F> clip_loss(const SurrogatePlan& s, F ratio,
                                            const TokenInput<F>& x) {
  const F zero(0.0f), delta(s.delta), slope = ratio * x.advantage;
  const bool two_sided = s.delta < __builtin_inff();
  const auto below = ratio < x.low, above = x.high < ratio;
  const F unclipped = two_sided ? min(ratio, delta) * x.advantage : slope;
  const F clipped = max(x.low, min(x.high, ratio)) * x.advantage;
  const auto takes_unclipped = unclipped <= clipped;
  auto moves = takes_unclipped | !(below | above);
  if (two_sided) moves = moves & !(takes_unclipped & (delta < ratio));
  F loss = -select(takes_unclipped, unclipped, clipped);
  if (s.dual_clip < __builtin_inff()) {
    const F dual = -(F(s.dual_clip) * x.advantage);
    const auto capped = (x.advantage < zero) & (dual < loss);
    loss = select(capped, dual, loss);
    moves = moves & !capped;
  }
  return {loss, select(moves, -slope, zero), below, above};
}

// -A (4 / tau) sigmoid(tau (ratio - 1)), by exp(-|z|) so that nothing overflows.
template <class F>
FIRESTEEL_HD inline PolicyTerm<F> sapo_loss(const SurrogatePlan& s, F ratio,
                                            const TokenInput<F>& x) {
  const F one(1.0f), four(4.0f), zero(0.0f), largest(0x1.fffffep127f);
  const F tau = select(x.advantage > zero, F(s.tau_positive), F(s.tau_negative));
  const F z = tau * (ratio - one);
  const F tail = exp(-abs(z));
  const F sum = one + tail;
  const F sigmoid = select(z < zero, tail, one) / sum;
  const F slope = four * (tail / (sum * sum)) * min(largest, ratio);
  return {-(x.advantage * (four / tau)) * sigmoid, -(x.advantage * slope), ratio < x.low,
          x.high < ratio};
}

// -weight A lp, the weight held constant; `judged` is what the limits are about.
template <class F>
FIRESTEEL_HD inline PolicyTerm<F> log_likelihood(F weight, F judged, const TokenInput<F>& x) {
  const F slope = -(weight * x.advantage);
  return {slope * x.log_prob, slope, judged < x.low, x.high < judged};
}

template <class F>
FIRESTEEL_HD inline PolicyTerm<F> policy_loss(const SurrogatePlan& s, const SurrogateUnit& unit,
                                              F log_ratio, F ratio, const TokenInput<F>& x) {
  const F zero(0.0f);
  switch (s.form) {
    case SurrogateForm::clip:
      return clip_loss(s, ratio, x);
    case SurrogateForm::unclipped:
    case SurrogateForm::gmpo: {
      const F loss = -(ratio * x.advantage);
      return {loss, loss, log_ratio < x.low, x.high < log_ratio};
    }
    case SurrogateForm::sapo:
      return sapo_loss(s, ratio, x);
    case SurrogateForm::reinforce:
      return log_likelihood(F(1.0f), ratio, x);
    case SurrogateForm::cispo:
      return log_likelihood(max(x.low, min(x.high, ratio)), ratio, x);
    case SurrogateForm::dppo_tv: {
      const F shift = exp(x.log_prob) - exp(x.old_log_prob);
      const auto drops =
          ((x.high < shift) & (x.advantage > zero)) | ((shift < x.low) & (x.advantage < zero));
      return log_likelihood(select(drops, zero, min(F(s.ratio_cap), ratio)), shift, x);
    }
    case SurrogateForm::vespo: {
      const F phi = select(x.advantage < zero, F(unit.phi_negative), F(unit.phi_positive));
      return log_likelihood(phi, ratio, x);
    }
  }
  return log_likelihood(zero, zero, x);
}

// -A p / (p + gamma), or -A p / (p_old + gamma), for rows that another policy wrote.
template <class F>
FIRESTEEL_HD inline PolicyTerm<F> shaped_loss(const SurrogatePlan& s, const TokenInput<F>& x) {
  const F zero(0.0f), gamma(s.shape_gamma);
  const F p = exp(x.log_prob);
  const F divisor = (s.shape_by_old ? exp(x.old_log_prob) : p) + gamma;
  const F loss = -(x.advantage * (p / divisor));
  return {loss, s.shape_by_old ? loss : loss * (gamma / divisor), zero < zero, zero < zero};
}

}  // namespace firesteel
