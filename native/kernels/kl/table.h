// What the per-ISA objects of kl offer to cpu.cc: one row of tokens at a time.
#pragma once
#include <stdint.h>

#include "kernels/kl/estimators.h"

namespace firesteel {

struct KlRow {
  int64_t tokens;
  KlEstimator estimator;
  float difference_limit, value_limit;
  const float *log_prob, *ref_log_prob;  // [tokens]
  const uint8_t* mask;                   // [tokens] or null
  float* kl;                             // [tokens] out
};

struct KlSum {
  double kl;
  int64_t faults;
};

struct KlTable {
  KlSum (*row)(const KlRow&);
};

}  // namespace firesteel
