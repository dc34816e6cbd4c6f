// What only the device can see about a call's values: how many rows were wrong, and the first one.
// Kernels record; reading any output of the call reports (Engine's onFault). A faulty row yields
// NaN log-probs and zero gradients and never spreads to another row.
#pragma once
#include "runtime/dtype.h"

namespace firesteel {

enum class Fault : int {
  id_out_of_range = 0,  // a token id outside [0, V)
  not_a_number = 1,     // NaN or +inf among the values of a trained row
  no_support = 2,       // a row of which every logit is -inf
  // A setting of one row, given as a tensor (its temperature), outside its range.
  parameter_out_of_range = 3,
};
constexpr int kFaultKinds = 4;

struct FaultWord {
  uint32_t count[kFaultKinds];      // starts at 0
  uint32_t first_row[kFaultKinds];  // starts at 0xffffffff
};

#if !defined(__CUDACC__) && !defined(FIRESTEEL_EMULATED)
// Integer atomics only: the count and the smallest row do not depend on the order of threads.
inline void record_fault(FaultWord* word, Fault kind, int64_t row) {
  const int k = static_cast<int>(kind);
  const uint32_t r = static_cast<uint32_t>(row);
  __atomic_fetch_add(&word->count[k], 1u, __ATOMIC_RELAXED);
  uint32_t seen = __atomic_load_n(&word->first_row[k], __ATOMIC_RELAXED);
  while (r < seen && !__atomic_compare_exchange_n(&word->first_row[k], &seen, r, true,
                                                  __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
}
#endif  // the CUDA form, with atomicAdd and atomicMin, is in runtime/cuda/ptx.h

}  // namespace firesteel
