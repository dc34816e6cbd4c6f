// The maths of units, rows, groups and the batch, in float64: a few numbers each, where the loops
// over tokens have millions.
#pragma once
#include <math.h>

#include "kernels/surrogate/plan.h"
#include "kernels/surrogate/surrogate.h"
#include "runtime/dtype.h"

namespace firesteel {

constexpr double kLeastVespoLog = -18.420680743952367;  // log 1e-8
constexpr double kMostVespoLog = 20.0;

inline SurrogatePlan plan_of(const SurrogateArgs& a) {
  SurrogatePlan s{};
  static_cast<SurrogateTerms&>(s) = a.terms;
  s.old = a.old_log_prob != nullptr;
  s.reference = a.ref_log_prob != nullptr;
  s.sampler = a.sampler_log_prob != nullptr;
  s.weighted = a.weight != nullptr;
  s.normalised = a.ratio_scale != nullptr;
  s.entropies = a.entropy != nullptr;
  s.pools = (kPooledLevels >> static_cast<int>(s.level) & 1u) != 0;
  s.shares_ratio = s.pools || s.level == RatioLevel::sequence_token;
  s.sums_log_ratio = s.shares_ratio;
  s.sums_mismatch = s.mismatch == Mismatch::sequence_truncate ||
                    s.mismatch == Mismatch::sequence_mask || s.mismatch == Mismatch::geometric_mask;
  s.sums_correction = s.form == SurrogateForm::vespo && s.mismatch != Mismatch::none;
  s.sums_off_policy = s.off_policy_threshold < INFINITY;
  if (s.form == SurrogateForm::vespo) {
    s.log_ratio_low = fmaxf(s.log_ratio_low, -20.0f);
    s.log_ratio_high = fminf(s.log_ratio_high, 20.0f);
  }
  const double low = ::log(static_cast<double>(s.mismatch_low));
  const double high = ::log(static_cast<double>(s.mismatch_high));
  s.log_mismatch_low = static_cast<float>(low);
  s.log_mismatch_high = static_cast<float>(high);
  if (isfinite(low)) s.log_mismatch_low_rest = static_cast<float>(low - double{s.log_mismatch_low});
  if (isfinite(high)) {
    s.log_mismatch_high_rest = static_cast<float>(high - double{s.log_mismatch_high});
  }
  return s;
}
FIRESTEEL_HD inline bool needs_statistics(const SurrogatePlan& s) {
  return s.sums_log_ratio || s.sums_mismatch || s.sums_correction || s.sums_off_policy;
}

// NaN passes.
FIRESTEEL_HD inline double clamp(double x, double low, double high) {
  return x < low ? low : high < x ? high : x;
}

FIRESTEEL_HD inline bool is_number(float x) {
  return x - x == 0.0f;
}

// The row's weight for its sampler; geometric_mask: what its tokens' weights are multiplied by.
FIRESTEEL_HD inline void judge_sampler(const SurrogatePlan& s, const SurrogateStatistics& row,
                                       SurrogateUnit& unit) {
  const double low = static_cast<double>(s.mismatch_low);
  const double high = static_cast<double>(s.mismatch_high);
  const bool mean = s.mismatch == Mismatch::geometric_mask;
  const double w = ::exp(mean ? row.mismatch / row.trained : row.mismatch);
  unit.mismatch_changed = w < low || high < w;
  if (mean) {
    unit.mismatch = unit.mismatch_changed ? 0.0f : 1.0f;
  } else if (s.mismatch == Mismatch::sequence_truncate) {
    unit.mismatch = static_cast<float>(clamp(w, low, high));
  } else {
    unit.mismatch = unit.mismatch_changed ? 0.0f : static_cast<float>(w);
  }
}

// log phi = lambda + k log w - lambda w.
FIRESTEEL_HD inline float phi_of(double log_w, float k, float lambda) {
  const double l = static_cast<double>(lambda);
  return static_cast<float>(::exp(l + static_cast<double>(k) * log_w - l * ::exp(log_w)));
}

// The log of vespo's w: the row's product with its corrections for the sampler.
FIRESTEEL_HD inline double vespo_log_ratio(const SurrogatePlan& s, const SurrogateStatistics& row,
                                           const SurrogateUnit& unit) {
  double correction = row.correction;
  if (s.mismatch == Mismatch::sequence_truncate || s.mismatch == Mismatch::sequence_mask) {
    const double low = ::log(static_cast<double>(s.mismatch_low));
    const double high = ::log(static_cast<double>(s.mismatch_high));
    const bool dropped = unit.mismatch_changed && s.mismatch == Mismatch::sequence_mask;
    correction = dropped ? kLeastVespoLog
                         : clamp(clamp(row.mismatch, low, high), kLeastVespoLog, kMostVespoLog);
  } else if (s.mismatch == Mismatch::geometric_mask && unit.mismatch_changed) {
    correction = row.trained * kLeastVespoLog;
  }
  return clamp(row.log_ratio + correction, kLeastVespoLog, kMostVespoLog);
}

// What the tokens of a unit share before any loss is known. `own` are the unit's sums, `row` those
// of its row; both have a trained token.
FIRESTEEL_HD inline SurrogateUnit unit_of(const SurrogatePlan& s, bool shaped, double coefficient,
                                          double entropy, const SurrogateStatistics& own,
                                          const SurrogateStatistics& row) {
  SurrogateUnit unit{};
  unit.coefficient = coefficient;
  unit.entropy = entropy;
  unit.ratio = 1.0f;
  unit.shaped = shaped;
  unit.failed =
      !is_number(static_cast<float>(coefficient)) || !is_number(static_cast<float>(entropy));
  if (shaped) return unit;
  double log_ratio = 0.0, unknown = 0.0;  // NaN where a sum is
  if (s.sums_mismatch) {
    judge_sampler(s, row, unit);
    unknown += row.mismatch != row.mismatch ? row.mismatch : 0.0;
  }
  if (s.sums_off_policy) {
    unit.off_policy = row.off_policy / row.trained > static_cast<double>(s.off_policy_threshold);
    unknown += row.off_policy != row.off_policy ? row.off_policy : 0.0;
  }
  if (s.form == SurrogateForm::vespo) {
    log_ratio = vespo_log_ratio(s, row, unit);
    unit.phi_positive = phi_of(log_ratio, s.k_positive, s.lambda_positive);
    unit.phi_negative = phi_of(log_ratio, s.k_negative, s.lambda_negative);
  } else if (s.level == RatioLevel::sequence_product) {
    log_ratio = own.log_ratio;
  } else if (s.shares_ratio) {
    log_ratio = own.log_ratio / own.trained;
  }
  unit.ratio = static_cast<float>(::exp(log_ratio));
  unit.failed = unit.failed || log_ratio + unknown != log_ratio + unknown;
  return unit;
}

// Once the unit's pulls are summed.
FIRESTEEL_HD inline void share_pull(const SurrogatePlan& s, double pull, double trained,
                                    SurrogateUnit& unit) {
  if (!s.pools) return;
  const double part = s.level == RatioLevel::sequence_product ? pull : pull / trained;
  unit.share = static_cast<float>(unit.coefficient * part);
  unit.failed = unit.failed || !(unit.share < kLargestPart && -unit.share < kLargestPart);
}

// ---- from rows to the batch

FIRESTEEL_HD inline bool is_grouped(Aggregation aggregation) {
  return aggregation == Aggregation::balanced || aggregation == Aggregation::group_weighted;
}

// The factor of a row's token losses in the loss, before the denominator; not for the aggregations
// over groups.
FIRESTEEL_HD inline double row_share(Aggregation aggregation, double row_tokens, double horizon) {
  switch (aggregation) {
    case Aggregation::seq_mean_token_mean:
      return 1.0 / (row_tokens < 1.0 ? 1.0 : row_tokens);
    case Aggregation::seq_mean_token_sum_norm:
      return 1.0 / horizon;
    default:
      return 1.0;
  }
}

// Of the rows of a group that have trained tokens: their number and their tokens, and the same of
// those with A > 0 and with A < 0.
struct GroupCounts {
  double rows, tokens;
  double positive_rows, positive_tokens;
  double negative_rows, negative_tokens;
};

FIRESTEEL_HD inline void add_row(GroupCounts& group, double row_tokens, bool positive,
                                 bool negative) {
  if (row_tokens == 0.0) return;
  group.rows += 1.0;
  group.tokens += row_tokens;
  group.positive_rows += positive ? 1.0 : 0.0;
  group.positive_tokens += positive ? row_tokens : 0.0;
  group.negative_rows += negative ? 1.0 : 0.0;
  group.negative_tokens += negative ? row_tokens : 0.0;
}

// As row_share, for a row of a group; `advantage` is the row's, `weight` the group's.
FIRESTEEL_HD inline double grouped_row_share(Aggregation aggregation, const GroupCounts& group,
                                             float advantage, float weight) {
  if (group.tokens == 0.0) return 0.0;
  if (aggregation == Aggregation::group_weighted) return static_cast<double>(weight) / group.tokens;
  const bool positive = advantage > 0.0f;
  const double rows = positive ? group.positive_rows : group.negative_rows;
  const double tokens = positive ? group.positive_tokens : group.negative_tokens;
  return advantage == 0.0f || tokens == 0.0 ? 0.0 : rows / (group.rows * tokens);
}

// Of the batch; `groups` are those with a trained token.
struct BatchCounts {
  double trained, active_rows, groups;
};

// What divides the sum; at least 1 when it was counted, so that nothing trained is 0.
FIRESTEEL_HD inline double denominator_of(const SurrogateArgs& a, const BatchCounts& batch) {
  if (a.denominator != 0.0) return a.denominator;
  double n = a.count_empty_rows ? static_cast<double>(a.rows) : batch.active_rows;
  if (a.aggregation == Aggregation::token_sum) n = 1.0;
  if (a.aggregation == Aggregation::token_mean) n = batch.trained;
  if (is_grouped(a.aggregation)) n = batch.groups;
  return n < 1.0 ? 1.0 : n;
}

// d loss / d entropy of the tokens of a row with this coefficient.
FIRESTEEL_HD inline double entropy_slope(const SurrogateArgs& a, double coefficient,
                                         const BatchCounts& batch) {
  const double tokens = batch.trained < 1.0 ? 1.0 : batch.trained;
  const double mean = 1.0 / (a.entropy_denominator != 0.0 ? a.entropy_denominator : tokens);
  return -static_cast<double>(a.entropy_coefficient) * (a.entropy_token_mean ? mean : coefficient);
}

// ---- metrics, in parts that are merged in a fixed order

FIRESTEEL_HD inline bool is_minimum(int metric) {
  return metric == kClippedLowRowMin || metric == kRatioMin || metric == kMismatchMin;
}
FIRESTEEL_HD inline bool is_maximum(int metric) {
  return metric == kClippedHighRowMax || metric == kRatioMax || metric == kMismatchMax ||
         metric == kSamplerDifferenceMax;
}
FIRESTEEL_HD inline double no_metric(int metric) {
  return is_minimum(metric)   ? static_cast<double>(INFINITY)
         : is_maximum(metric) ? -static_cast<double>(INFINITY)
                              : 0.0;
}
FIRESTEEL_HD inline double merge_metric(int metric, double a, double b) {
  return is_minimum(metric) ? fmin(a, b) : is_maximum(metric) ? fmax(a, b) : a + b;
}

FIRESTEEL_HD inline double total_loss(const double* metrics) {
  return metrics[kPolicyLoss] + metrics[kKlLoss] + metrics[kEntropyLoss];
}

}  // namespace firesteel
