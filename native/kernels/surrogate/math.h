// Per-token maths of the surrogate losses, over F = float (CUDA) or F32 (CPU): log-ratios, what is
// summed of them, weights, and the token's loss and gradient.
#pragma once
#include "kernels/surrogate/forms.h"

namespace firesteel {

template <class F>
FIRESTEEL_HD inline LogRatio<F> clamp(const LogRatio<F>& x, const LogRatio<F>& low,
                                      const LogRatio<F>& high) {
  const auto below = x.value < low.value, above = high.value < x.value;
  return {select(below, low.value, select(above, high.value, x.value)),
          select(below, low.rest, select(above, high.rest, x.rest))};
}
template <class F>
FIRESTEEL_HD inline LogRatio<F> clamp(const LogRatio<F>& x, float low, float high) {
  return clamp(x, LogRatio<F>{low, 0.0f}, LogRatio<F>{high, 0.0f});
}

// The upper half of x's bits, so that products of halves are exact (Veltkamp).
template <class F>
FIRESTEEL_HD inline F upper_half(F x) {
  const F spread = F(4097.0f) * x;
  return spread - (spread - x);
}

// scale (x + bias), with what the rounding of sum and product (Dekker) loses.
template <class F>
FIRESTEEL_HD inline LogRatio<F> normalised(const LogRatio<F>& x, F scale, F bias) {
  const LogRatio<F> sum = log_ratio_of(x.value, -bias);
  const F product = scale * sum.value;
  const F a = upper_half(scale), b = upper_half(sum.value);
  const F a_low = scale - a, b_low = sum.value - b;
  const F lost = ((a * b - product) + a * b_low + a_low * b) + a_low * b_low;
  return {product, lost + scale * (sum.rest + x.rest)};
}

// x before it is clamped; 0 where the token's loss has no ratio.
template <class F>
FIRESTEEL_HD inline LogRatio<F> free_log_ratio(const SurrogatePlan& s, bool shaped,
                                               const TokenInput<F>& x) {
  if (shaped || s.level == RatioLevel::none) return {0.0f, 0.0f};
  const LogRatio<F> difference = log_ratio_of(x.log_prob, x.old_log_prob);
  return s.normalised ? normalised(difference, x.ratio_scale, x.ratio_bias) : difference;
}

// What gmpo averages: x, clipped on the side that would make the objective larger.
template <class F>
FIRESTEEL_HD inline LogRatio<F> clip_by_sign(const LogRatio<F>& x, const TokenInput<F>& token) {
  const F zero(0.0f), infinity(__builtin_inff());
  return clamp(x, LogRatio<F>{select(token.advantage < zero, token.low, -infinity), zero},
               LogRatio<F>{select(token.advantage > zero, token.high, infinity), zero});
}

// A token's part of SurrogateStatistics.
template <class F>
struct TokenSums {
  LogRatio<F> log_ratio, mismatch, correction, off_policy;
};

// For sums, where an infinite value is to stay what it is.
template <class F>
FIRESTEEL_HD inline LogRatio<F> summable(const LogRatio<F>& x) {
  return {x.value, select(abs(x.value) < F(__builtin_inff()), x.rest, F(0.0f))};
}

template <class F>
FIRESTEEL_HD inline LogRatio<F> vespo_correction(const SurrogatePlan& s, const LogRatio<F>& log_w) {
  const LogRatio<F> low{s.log_mismatch_low, s.log_mismatch_low_rest};
  const LogRatio<F> high{s.log_mismatch_high, s.log_mismatch_high_rest};
  LogRatio<F> corrected = log_w;
  if (s.mismatch == Mismatch::token_truncate) corrected = clamp(log_w, low, high);
  if (s.mismatch == Mismatch::token_mask) {
    const auto outside = (log_w.value < low.value) | (high.value < log_w.value);
    corrected.value = select(outside, F(-__builtin_inff()), log_w.value);
  }
  const LogRatio<F> least{-0x1.26bb1cp+4f, 0x1.12aabap-22f};  // log 1e-8
  return clamp(corrected, least, LogRatio<F>{20.0f, 0.0f});
}

template <class F>
FIRESTEEL_HD inline TokenSums<F> token_sums(const SurrogatePlan& s, bool shaped,
                                            const TokenInput<F>& x) {
  const LogRatio<F> nothing{0.0f, 0.0f};
  TokenSums<F> sums{nothing, nothing, nothing, nothing};
  if (shaped) return sums;
  if (s.sums_log_ratio) {
    LogRatio<F> own = clamp(free_log_ratio(s, shaped, x), s.log_ratio_low, s.log_ratio_high);
    if (s.form == SurrogateForm::gmpo) own = clip_by_sign(own, x);
    sums.log_ratio = summable(own);
  }
  if (s.sums_mismatch || s.sums_correction) {
    const LogRatio<F> log_w = log_ratio_of(x.old_log_prob, x.sampler_log_prob);
    sums.mismatch = summable(log_w);
    if (s.sums_correction) sums.correction = vespo_correction(s, log_w);
  }
  if (s.sums_off_policy) {
    const F sampler = s.sampler ? x.sampler_log_prob : x.old_log_prob;
    sums.off_policy = summable(log_ratio_of(sampler, x.log_prob));
  }
  return sums;
}

// The weight that corrects for the sampler, and whether it was truncated or set to 0.
template <class F>
struct MismatchWeight {
  F weight;
  MaskOf<F> changed;
};
template <class F>
FIRESTEEL_HD inline MismatchWeight<F> mismatch_weight(const SurrogatePlan& s,
                                                      const SurrogateUnit& unit,
                                                      const TokenInput<F>& x) {
  const F one(1.0f), zero(0.0f), row(unit.mismatch);
  const auto row_changed = F(unit.mismatch_changed ? 1.0f : 0.0f) == one;
  if (unit.shaped || s.mismatch == Mismatch::none) return {one, zero < zero};
  if (s.mismatch == Mismatch::sequence_truncate || s.mismatch == Mismatch::sequence_mask) {
    return {row, row_changed};
  }
  const F w = exp(log_ratio_of(x.old_log_prob, x.sampler_log_prob));
  if (s.mismatch == Mismatch::geometric_mask) {
    return {select(row == zero, zero, w), row_changed};
  }
  const F low(s.mismatch_low), high(s.mismatch_high);
  const MaskOf<F> outside = (w < low) | (high < w);
  const F nearest = max(low, min(high, w));
  return {select(outside, s.mismatch == Mismatch::token_mask ? zero : nearest, w), outside};
}

// Everything about one token, before masks and aggregation.
template <class F>
struct TokenTerm {
  F policy;        // policy loss times weight
  F kl, kl_loss;   // the estimate; the same times the ratio where kl_ratio
  F direct, pull;  // derivatives of policy + beta kl_loss
  F log_ratio, ratio, mismatch, sampler_difference;
  MaskOf<F> moves;  // x follows the log-prob: the token gets pull
  MaskOf<F> clamped, clipped_low, clipped_high, mismatch_changed, dropped;
  // False for NaN anywhere, given or arisen (inf - inf), and for a loss or derivative that is not
  // finite: such a token is left out, so that it cannot ruin the weights.
  MaskOf<F> valid;
};

// kPlain: the caller vouches for level token, for unlimited log-ratios, no sampler, no limits per
// row or token, no ratio scales, no ratio in the KL and no shaped rows. Then a derivative that is
// not finite is left to show in the gradient.
template <bool kPlain, class F>
FIRESTEEL_HD inline TokenTerm<F> token_term(const SurrogatePlan& s, const SurrogateUnit& unit,
                                            const TokenInput<F>& x) {
  const F zero(0.0f), infinity(__builtin_inff());
  const auto never = zero < zero;
  const bool shaped = !kPlain && unit.shaped;
  TokenTerm<F> t;
  t.moves = !never;
  t.clamped = t.mismatch_changed = t.dropped = never;
  t.mismatch = F(1.0f);
  t.sampler_difference = zero;

  LogRatio<F> log_ratio = free_log_ratio(s, shaped, x);
  if (!kPlain) {
    t.clamped = (log_ratio.value < F(s.log_ratio_low)) | (F(s.log_ratio_high) < log_ratio.value);
    t.moves = !t.clamped;
    log_ratio = clamp(log_ratio, s.log_ratio_low, s.log_ratio_high);
  }
  t.log_ratio = log_ratio.value;
  t.ratio = !shaped && s.level == RatioLevel::token ? exp(log_ratio) : F(unit.ratio);
  auto valid = t.log_ratio == t.log_ratio;

  PolicyTerm<F> policy = shaped ? shaped_loss(s, x) : policy_loss(s, unit, t.log_ratio, t.ratio, x);
  const bool limited = !shaped && has_limits(s.form);
  t.clipped_low = limited ? policy.below & (x.advantage < zero) : never;
  t.clipped_high = limited ? policy.above & (x.advantage > zero) : never;

  auto neutral = x.advantage == zero;  // nothing is at stake, even where the ratio is inf
  if (s.weighted) {
    neutral = neutral | (x.weight == zero);
    valid = valid & (x.advantage == x.advantage) & (x.weight == x.weight);
    policy.loss = policy.loss * x.weight;
    policy.slope = policy.slope * x.weight;
  }
  if (!kPlain) {
    if (s.form == SurrogateForm::gmpo) t.moves = t.moves & !(t.clipped_low | t.clipped_high);
    const MismatchWeight<F> mismatch = mismatch_weight(s, unit, x);
    t.mismatch = mismatch.weight;
    t.mismatch_changed = mismatch.changed;
    if (s.form != SurrogateForm::vespo) {
      neutral = neutral | (t.mismatch == zero);
      policy.loss = policy.loss * t.mismatch;
      policy.slope = policy.slope * t.mismatch;
    }
    if (unit.off_policy) {
      t.dropped = x.advantage < zero;
      neutral = neutral | t.dropped;
    }
    valid = valid & (x.log_prob == x.log_prob) & (x.advantage == x.advantage) &
            (t.mismatch == t.mismatch);
    if (s.old) valid = valid & (x.old_log_prob == x.old_log_prob);
    if (s.sampler) valid = valid & (x.sampler_log_prob == x.sampler_log_prob);
    if (s.sampler && s.old && !shaped) {
      t.sampler_difference = abs(x.old_log_prob - x.sampler_log_prob);
      valid = valid & (t.sampler_difference == t.sampler_difference);
    }
    if (limited) valid = valid & (x.low == x.low) & (x.high == x.high);
  }
  const F slope = select(neutral, zero, policy.slope);
  const bool follows = !shaped && follows_ratio(s.form);
  t.policy = select(neutral, zero, policy.loss);
  t.direct = follows ? zero : slope;
  t.pull = follows ? slope : zero;

  t.kl = t.kl_loss = zero;
  if (s.reference) {
    const LossTerm<F> kl =
        kl_loss(s.kl, s.kl_difference_limit, s.kl_value_limit, x.log_prob, x.ref_log_prob);
    const F beta(s.beta);
    t.kl = t.kl_loss = kl.loss;
    if (!kPlain && s.beta != 0.0f && s.kl_ratio && !shaped) {
      t.kl_loss = t.ratio * kl.loss;
      t.direct = fma(beta * t.ratio, kl.gradient, t.direct);
      t.pull = fma(beta, t.kl_loss, t.pull);
    } else if (s.beta != 0.0f) {
      t.direct = fma(beta, kl.gradient, t.direct);
    }
    valid = valid & (t.kl_loss == t.kl_loss);
  }
  if (s.entropies) valid = valid & (abs(x.entropy) < infinity);
  valid = valid & (abs(t.policy) < F(kLargestLoss));
  if (!kPlain) valid = valid & (abs(t.direct) < infinity) & (abs(t.pull) < infinity);
  t.valid = valid;
  return t;
}

// Of the loss, without what a unit hands out to all its tokens.
template <bool kPlain, class F>
FIRESTEEL_HD inline F own_gradient(const SurrogatePlan& s, const SurrogateUnit& unit,
                                   const TokenTerm<F>& t, F ratio_scale) {
  const F coefficient(static_cast<float>(unit.coefficient));
  if (kPlain && !s.reference) return (follows_ratio(s.form) ? t.pull : t.direct) * coefficient;
  if (kPlain) return (t.direct + t.pull) * coefficient;
  if (s.pools && !unit.shaped) return t.direct * coefficient;
  return (t.direct + select(t.moves, ratio_scale * t.pull, F(0.0f))) * coefficient;
}

}  // namespace firesteel
