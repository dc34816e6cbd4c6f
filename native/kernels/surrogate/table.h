// What the per-ISA objects of surrogate offer to cpu.cc: one row of tokens at a time.
#pragma once
#include <stdint.h>

#include "kernels/surrogate/options.h"

namespace firesteel {

struct SurrogateRow {
  int64_t tokens;
  const float *log_prob, *old_log_prob;  // [tokens]
  const float* ref_log_prob;             // [tokens], or null when SurrogateTerms has no reference
  const float* advantage;                // [tokens], or [1] when not advantage_per_token
  bool advantage_per_token;
  const float* weight;  // [tokens] or null
  const uint8_t* mask;  // [tokens] or null
  float coefficient;    // of the row's token losses in the loss
  float* d_log_prob;    // [tokens] out
};

// Over the trained tokens of a row, without the coefficient.
struct SurrogateSums {
  double policy, kl;
  double ratio, log_ratio_squared;  // the latter halved
  float ratio_min, ratio_max;
  int64_t clipped_low, clipped_high;
  int64_t faults;
};

struct SurrogateTable {
  int64_t (*trained_tokens)(const uint8_t* mask, int64_t tokens);
  SurrogateSums (*row)(const SurrogateTerms&, const SurrogateRow&);
};

}  // namespace firesteel
