// What both backends refuse before any work.
#pragma once
#include <math.h>

#include "kernels/surrogate/surrogate.h"

namespace firesteel {

template <class Enum>
bool is_one_of(Enum value, Enum last) {
  return static_cast<int32_t>(value) >= 0 && value <= last;
}

// Null, or what is wrong.
inline const char* surrogate_refusal(const SurrogateArgs& a) {
  const SurrogateTerms& s = a.terms;
  if (!is_one_of(s.form, SurrogateForm::vespo) || !is_one_of(s.level, RatioLevel::none) ||
      !is_one_of(a.advantage_unit, AdvantageUnit::token) ||
      !is_one_of(a.aggregation, Aggregation::group_weighted) ||
      !is_one_of(s.kl, KlEstimator::k3_plus) || !is_one_of(s.mismatch, Mismatch::geometric_mask)) {
    return "an option has an unknown value";
  }
  if (!is_legal(s.form, s.level, a.advantage_unit)) {
    return "form, level and the unit of the advantage do not go together";
  }
  const bool measures = s.off_policy_threshold < INFINITY && a.sampler_log_prob == nullptr;
  const bool shapes = a.shaped != nullptr && s.shape_by_old;
  if (a.old_log_prob == nullptr &&
      (s.level != RatioLevel::none || s.mismatch != Mismatch::none || measures || shapes)) {
    return "expected log-probs of the old policy, which the combination reads";
  }
  if (a.sampler_log_prob == nullptr && s.mismatch != Mismatch::none) {
    return "expected log-probs of the sampler, which a mismatch correction reads";
  }
  if (a.ref_log_prob == nullptr && s.beta != 0.0f) {
    return "expected log-probs of the reference policy, which beta asks for";
  }
  if (s.kl_ratio && (s.form == SurrogateForm::gmpo || s.form == SurrogateForm::vespo)) {
    return "the form has no ratio that a KL could be multiplied by";
  }
  if (a.segment_offsets == nullptr && s.level == RatioLevel::segment) {
    return "expected offsets of the segments at level segment";
  }
  const bool balanced = a.aggregation == Aggregation::balanced;
  if (a.group_offsets == nullptr && (balanced || a.aggregation == Aggregation::group_weighted)) {
    return "expected offsets of the groups, which the aggregation reads";
  }
  if (balanced && a.advantage_unit != AdvantageUnit::row) {
    return "a balanced mean parts rows by the sign of their advantage: expected one a row";
  }
  if ((a.low == nullptr) != (a.high == nullptr)) return "expected both limits or none";
  if ((a.ratio_scale == nullptr) != (a.ratio_bias == nullptr)) {
    return "expected scale and bias of the ratios or none";
  }
  if (a.ratio_scale != nullptr && s.level != RatioLevel::token) {
    return "normalised ratios are those of single steps: expected level token";
  }
  if (a.d_ratio_bias != nullptr && a.ratio_bias == nullptr) {
    return "expected a bias of the ratios, whose gradient is asked for";
  }
  return nullptr;
}

}  // namespace firesteel
