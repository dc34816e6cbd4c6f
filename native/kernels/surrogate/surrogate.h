// surrogate: policy-gradient losses over ragged rows of tokens, with gradients with respect to the
// current log-probs and entropies, and the metrics of the same pass. What goes with what is in
// combinations.h; what each choice means is in src/engine/kernels/surrogateTable.ts.
//
// Rows lie one after the other: row r holds tokens row_offsets[r] .. row_offsets[r + 1]. Masked
// tokens (mask 0) are selected away: whatever stands there changes nothing and their gradient is
// exactly 0.
//
// A token's log-ratio is x = log_prob - old_log_prob, or scale (x + bias) where both are given
// (flow steps), clamped to [log_ratio_low, log_ratio_high]. Its level turns it into log rho: x
// itself (token), the mean over the trained tokens of the segment or row (segment, sequence,
// sequence_token), their sum (sequence_product), 0 (none, where x is 0 too). The loss of a token
// then has two derivatives: `pull` with respect to log rho and `direct` with respect to its own
// log-prob. The gradient of token t is
//   token, sequence_token, none   direct_t + pull_t
//   segment, sequence             direct_t + (sum of pull over the unit) / (its trained tokens)
//   sequence_product              direct_t + sum of pull over the row
// with every term multiplied by its token's coefficient and weight; a token whose x is clamped gets
// no pull, nor does one that gmpo has clipped. gmpo clips nothing where A is 0. vespo clamps every
// x to +-20 on top, adds the logs of the mismatch weights (each clamped to [log 1e-8, 20], a row's
// weight once) and clamps the total to [log 1e-8, 20].
//
// Shaped rows have their own loss instead of form and level; mismatch weights, the off-policy test
// and the ratio of kl_ratio do not apply to them.
//
// A trained token with NaN in any of its inputs, where infinite inputs make one (inf - inf), with
// an entropy or gradient that is not finite or a policy loss of 2^125 and more is a fault of its
// row, contributes nothing and gets gradient 0; the denominator still counts it. Where the unit
// shares one ratio (segment, sequence, sequence_product, sequence_token), such a token takes its
// unit along: nothing of the unit contributes, and each of its trained tokens counts as a fault. So
// does NaN in what a row's mismatch weight or off-policy test is made of. Where advantage or weight
// is 0 the policy loss is 0, even if the ratio is inf; an infinite KL estimate with a finite
// gradient stands.
//
// Means over groups: balanced gives a token of a row with A > 0 the weight n+ / (n tokens+), n rows
// of its group, n+ of them with A > 0, tokens+ trained tokens in those; likewise for A < 0, and 0
// where A is 0. group_weighted gives it the group's weight / (the group's trained tokens). Both
// count rows and groups with a trained token only, and divide by the number of groups.
//
// Sums over tokens and rows are float64 in a fixed order: the result does not depend on the number
// of threads, and a row's gradient not on other rows once the denominator is given.
//
// Accuracy: surrogateTable.ts, `tolerances`.
#pragma once
#include <stdint.h>

#include "kernels/surrogate/options.h"
#include "runtime/fault.h"
#include "runtime/status.h"

namespace firesteel {

class Context;

// Metrics are float64 sums and extremes over trained tokens (min +inf, max -inf when there are
// none); src/engine/kernels/surrogate.ts names them, src/blocks divides them.
enum SurrogateMetric : int {
  kTrainedTokens = 0,
  kActiveRows,         // rows with a trained token
  kPolicyLoss,         // aggregated: coefficients, weights and denominator applied
  kKlLoss,             // aggregated beta * KL
  kEntropyLoss,        // minus the entropy coefficient times the aggregated entropy
  kKlSum,              // of the KL estimate, unweighted
  kEntropySum,         // of the entropies given
  kRatioTokens,        // tokens that the rest is over: trained, without faults and shaped rows
  kRatioRows,          // active rows that are not shaped: rows that the rest is over
  kClippedLow,         // tokens beyond the lower limit with A < 0 (dppo_tv: dropped, A < 0)
  kClippedHigh,        // tokens beyond the upper limit with A > 0 (dppo_tv: dropped, A > 0)
  kClippedLowRows,     // sum over rows of the share of clipped_low among the row's trained tokens
  kClippedHighRows,    //
  kClippedLowRowMin,   // least share of any row
  kClippedHighRowMax,  // greatest share of any row
  kRatioSum,           // of rho as each token's loss used it
  kRatioMin,
  kRatioMax,
  kLogRatioSquared,  // sum of x^2 / 2
  kClampedRatios,    // tokens whose log-ratio was clamped
  kMismatchSum,      // of the mismatch weights (1 where there is no correction)
  kMismatchMin,
  kMismatchMax,
  kMismatchChanged,       // tokens whose weight was truncated or set to 0
  kSamplerDifferenceSum,  // of |old_log_prob - sampler_log_prob|; 0 where one is not given
  kSamplerDifferenceMax,  // -inf where one is not given
  kDroppedRows,           // rows in which off_policy_threshold dropped a token's policy loss
  kMetricCount,
};

struct SurrogateArgs {
  int64_t tokens, rows, segments, groups;  // T, R; S and G are 0 where there are none
  SurrogateTerms terms;
  AdvantageUnit advantage_unit;
  bool limits_per_row;  // `low` and `high` are [R], else [T]
  Aggregation aggregation;
  bool count_empty_rows;       // seq_mean_*: the default denominator counts rows without a trained
                               // token too
  double denominator;          // 0: computed from mask and offsets; else what to divide by
  double horizon;              // seq_mean_token_sum_norm, > 0
  float entropy_coefficient;   // of the entropy bonus
  bool entropy_token_mean;     // the bonus is a token mean whatever the aggregation
  double entropy_denominator;  // of that token mean; 0: the trained tokens

  const int32_t* row_offsets;  // [R + 1]
  const int32_t*
      segment_offsets;            // [S + 1] over all T tokens, each segment inside one row; or null
  const int32_t* group_offsets;   // [G + 1] over all R rows; or null
  const float* log_prob;          // [T] current policy
  const float* old_log_prob;      // [T] policy that the step started from; null at level none
                                  // unless shape_by_old or a mismatch needs it
  const float* ref_log_prob;      // [T] or null (beta is 0)
  const float* sampler_log_prob;  // [T] or null: policy that sampled
  const float* advantage;         // [R], [S] or [T] by advantage_unit
  const float* weight;            // [T] or null: multiplies the policy loss, not the KL
  const float* low;               // [R] or [T], or null: terms.low
  const float* high;              //
  const float* ratio_scale;       // [T] or null: normalised ratios
  const float* ratio_bias;        // [T] or null
  const float* entropy;           // [T] or null
  const float* group_weight;      // [G] or null: 1
  const uint8_t* shaped;          // [R] or null: 1 = the row's loss is the shaped one
  const uint8_t* mask;            // [T] or null

  double* loss;            // [1] out
  float* d_log_prob;       // [T] out
  float* d_entropy;        // [T] out, or null: -entropy_coefficient times the token's coefficient
  float* d_ratio_bias;     // [T] out, or null
  float* mismatch_weight;  // [T] out, or null: 0 on masked tokens and faults, 1 on shaped rows
  double* metrics;         // [kMetricCount] out
  void* workspace;         // surrogate_workspace bytes
  FaultWord* faults;
};

int64_t surrogate_workspace(int64_t tokens, int64_t rows, int64_t segments, int64_t groups);
// Refuses what is_legal does not know, and null inputs that the combination needs.
Status surrogate(Context&, const SurrogateArgs&);

}  // namespace firesteel
