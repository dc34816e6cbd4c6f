// kl: estimates of KL(current || reference) per token from the sampled token alone, and their sums
// over rows, for a KL in the reward. Estimators: src/engine/kernels/surrogateTable.ts.
//
// Masked tokens give exactly 0. A trained token with NaN in an input, or where infinite inputs make
// one, is a fault of its row and gives NaN there and in the row's sum; so is a sum of inf and -inf.
//
// Accuracy: 4e-7 relative per token; row sums are float64, in an order that the row's length alone
// decides.
#pragma once
#include "kernels/kl/estimators.h"
#include "runtime/fault.h"
#include "runtime/status.h"

namespace firesteel {

class Context;

inline bool is_known(KlEstimator estimator) {
  return estimator >= KlEstimator::k1 && estimator <= KlEstimator::k3_plus;
}

struct KlArgs {
  int64_t tokens, rows;
  KlEstimator estimator;                // k3_plus is k3 here
  float difference_limit, value_limit;  // |ref - current| and |estimate| are clamped; +inf = none
  const int32_t* row_offsets;           // [R + 1]
  const float* log_prob;                // [T]
  const float* ref_log_prob;            // [T]
  const uint8_t* mask;                  // [T] or null
  float* kl;                            // [T] out
  double* row_kl;                       // [R] out: sums over the trained tokens
  FaultWord* faults;
};
Status kl(Context&, const KlArgs&);

}  // namespace firesteel
