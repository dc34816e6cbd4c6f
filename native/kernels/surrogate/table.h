// What the per-ISA objects of surrogate offer to cpu.cc: one unit at a time, the tokens of a row or
// of a segment.
#pragma once
#include <stdint.h>

#include "kernels/surrogate/plan.h"

namespace firesteel {

struct SurrogateSpan {
  int64_t tokens;
  // [tokens]; but for log_prob null where the call has none.
  const float *log_prob, *old_log_prob, *ref_log_prob, *sampler_log_prob;
  const float *weight, *ratio_scale, *ratio_bias, *entropy;
  const uint8_t* mask;
  // [1], or [tokens] where they are given per token.
  const float *advantage, *low, *high;
  bool advantage_per_token, limits_per_token;
  // [tokens] out; the last three null where they are not asked for.
  float *d_log_prob, *d_entropy, *d_ratio_bias, *mismatch_weight;
};

// Sums over the tokens of several units, in as many lanes as the widest vector has: they are added
// up once for all units. cpu.cc clears them.
struct alignas(64) SurrogateLanes {
  static constexpr int count = 16;
  // The first three with coefficients.
  double policy_loss[count], kl_loss[count], entropy_loss[count];
  double kl[count], entropy[count], ratio[count], log_ratio_squared[count];
  double mismatch[count], sampler_difference[count];
  float ratio_min[count], ratio_max[count], mismatch_min[count], mismatch_max[count];
  float sampler_difference_max[count];
};

struct SurrogateCounts {
  int64_t faults, clipped_low, clipped_high, clamped, mismatch_changed, dropped;
};

struct SurrogateRow {
  double trained;      // tokens
  double coefficient;  // of its token losses in the loss
  double entropy;      // d loss / d entropy of its tokens
  SurrogateCounts counts;
};

struct SurrogatePull {
  double sum;
  int64_t faults;
};

struct SurrogateTable {
  int64_t (*trained_tokens)(const uint8_t* mask, int64_t tokens);
  SurrogateStatistics (*statistics)(const SurrogatePlan&, const SurrogateSpan&);
  // The sum of pulls of a unit that shares its ratio; writes nothing.
  SurrogatePull (*pull)(const SurrogatePlan&, const SurrogateUnit&, const SurrogateSpan&);
  // Losses and gradients of a unit.
  SurrogateCounts (*take)(const SurrogatePlan&, const SurrogateUnit&, const SurrogateSpan&,
                          SurrogateLanes&);
  // The same for a unit whose tokens all have the same pull (pulls_alike).
  SurrogateCounts (*take_alike)(const SurrogatePlan&, const SurrogateUnit&, const SurrogateSpan&,
                                SurrogateLanes&);
  // As take, for rows whose tokens token_term may take in the plain form and whose coefficients are
  // floats; counts are left in the rows. The span is that of the whole batch, but for an advantage
  // per row, which begins at the first of the rows. By form; null where a form has none.
  void (*take_rows[8])(const SurrogatePlan&, const SurrogateSpan&, const int32_t* row_offsets,
                       int64_t rows, SurrogateRow*, SurrogateLanes&);
};

}  // namespace firesteel
