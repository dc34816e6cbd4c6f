// swiglu: y = silu(gate) * up (Shazeer 2020), silu(x) = x / (1 + exp(-x)).
#pragma once
#include <stdint.h>
#include "runtime/status.h"

namespace firesteel {

class Context;

struct SwigluArgs {
  int64_t count;
  const float *gate, *up;  // [count]
  float* y;                // [count] out
};
Status swiglu_forward(Context&, const SwigluArgs&);

struct SwigluBackwardArgs {
  int64_t count;
  const float *gate, *up, *d_y;
  float *d_gate, *d_up;  // [count] out
};
Status swiglu_backward(Context&, const SwigluBackwardArgs&);

}  // namespace firesteel
