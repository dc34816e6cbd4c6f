// surrogate: clipped policy-gradient loss over ragged rows of tokens, with its gradient with
// respect to the current log-probs and the metrics of the same pass.
//
// Rows lie one after the other: row r holds tokens row_offsets[r] .. row_offsets[r + 1]. Masked
// tokens (mask 0) are selected away: whatever stands there changes nothing and their gradient is
// exactly 0. A trained token with NaN in any of its inputs, where infinite inputs make one (inf -
// inf), or with a gradient that is not finite counts as a fault of its row, contributes nothing and
// gets gradient 0; the denominator still counts it. Where advantage or weight is 0 the policy loss
// is 0, even if the ratio is inf.
//
// Per token: ratio = exp(log_prob - old_log_prob); policy loss and KL of math.h; multiplied by
// weight; aggregated (below). Sums over tokens and rows are float64 in a fixed order: the result
// does not depend on the number of threads.
//
// Accuracy: per-token terms within 4e-7 relative of float64; loss within 1e-6 relative of the sum
// of absolute terms.
#pragma once
#include <stdint.h>

#include "kernels/surrogate/options.h"
#include "runtime/fault.h"
#include "runtime/status.h"

namespace firesteel {

class Context;

// Metrics are float64 sums and extremes; src/engine/surrogate.ts names and divides them.
enum SurrogateMetric : int {
  kTrainedTokens = 0,
  kActiveRows,
  kPolicyLossSum,  // aggregated policy loss (weights and denominator applied)
  kKlLossSum,      // aggregated beta * KL
  kKlTokenSum,     // sum over trained tokens of the KL estimate, unweighted
  kClippedLow,     // tokens with ratio < 1 - epsilon_low and advantage < 0
  kClippedHigh,    // tokens with ratio > 1 + epsilon_high and advantage > 0
  kRatioSum,
  kRatioMin,         // +inf when nothing is trained
  kRatioMax,         // -inf when nothing is trained
  kLogRatioSquared,  // sum of (log ratio)^2 / 2
  kMetricCount,
};

struct SurrogateArgs {
  int64_t tokens, rows;
  const int32_t* row_offsets;  // [R + 1]
  const float* log_prob;       // [T] current policy
  const float* old_log_prob;   // [T] policy that the step started from
  const float* ref_log_prob;   // [T] or null (beta must be 0)
  const float* advantage;      // [R], or [T] when advantage_per_token
  bool advantage_per_token;
  const float* weight;  // [T] or null: multiplies the policy loss, not the KL
  const uint8_t* mask;  // [T] or null
  RatioLevel level;
  SurrogateForm form;
  float epsilon_low,
      epsilon_high;  // clip range [1 - low, 1 + high]; bounds inclusive pass gradient
  float delta;       // two-sided: cap of the ratio in the unclipped arm; +inf = none
  float dual_clip;   // for advantage < 0 the loss is at most -dual_clip * A; +inf = none
  float beta;        // KL coefficient, >= 0
  KlEstimator kl;
  Aggregation aggregation;
  double denominator;  // 0: computed from the mask; else the global count to divide by
  double horizon;      // for seq_mean_token_sum_norm, > 0
  double* loss;        // [1] out
  float* d_log_prob;   // [T] out
  double* metrics;     // [kMetricCount] out
  void* workspace;     // surrogate_workspace bytes
  FaultWord* faults;
};
inline SurrogateTerms surrogate_terms(const SurrogateArgs& a) {
  return {a.form,      a.kl,   1.0f - a.epsilon_low,     1.0f + a.epsilon_high, a.delta,
          a.dual_clip, a.beta, a.ref_log_prob != nullptr};
}

int64_t surrogate_workspace(int64_t tokens, int64_t rows);
Status surrogate(Context&, const SurrogateArgs&);

}  // namespace firesteel
