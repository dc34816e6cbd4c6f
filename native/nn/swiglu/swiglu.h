// swiglu: y = silu(gate) * up (Shazeer 2020), silu(x) = x / (1 + exp(-x)). All
// arithmetic is float32, whatever the type of the tensors.
#pragma once
#include <stdint.h>
#include "runtime/dtype.h"
#include "runtime/status.h"

namespace firesteel {

class Context;

struct SwigluArgs {
  DType dtype;  // of all tensors: f32, bf16 or f16
  int64_t count;
  const void *gate, *up;  // [count]
  void* y;                // [count] out
};
Status swiglu_forward(Context&, const SwigluArgs&);

struct SwigluBackwardArgs {
  DType dtype;  // of all tensors
  int64_t count;
  const void *gate, *up, *d_y;
  void *d_gate, *d_up;  // [count] out
};
Status swiglu_backward(Context&, const SwigluBackwardArgs&);

}  // namespace firesteel
