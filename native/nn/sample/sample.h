// sample: one token per row from softmax(logits / temperature) by inverting the cumulative
// distribution at a uniform number, or the first maximum when greedy. -inf logits are never drawn.
// A row with NaN or +inf, or of all -inf, yields token -1 and a fault.
#pragma once
#include <stdint.h>
#include "runtime/fault.h"
#include "runtime/status.h"

namespace firesteel {

class Context;

struct SampleArgs {
  int64_t rows, vocab, row_stride;
  const float* logits;    // [rows, V]
  float inv_temperature;  // > 0 (not used when greedy)
  bool greedy;
  const float* uniform;  // [rows] in [0, 1); not read when greedy
  int32_t* tokens;       // [rows] out: smallest v with sum_{w <= v} p_w > u, or the last v with
                         // p_v > 0 where rounding leaves the sum at or below u
  FaultWord* faults;
};
Status sample(Context&, const SampleArgs&);

}  // namespace firesteel
