// rope: rotary position embedding, half-split form of Llama and Qwen (Su et al. 2021): with
// theta_i = base^(-2 i / D), elements i and i + D/2 of every head are rotated by position *
// theta_i. Angles are computed in float64, so position 1e6 is as exact as position 1; x is turned
// in float32, whatever its type.
#pragma once
#include <stdint.h>
#include "runtime/dtype.h"
#include "runtime/status.h"

namespace firesteel {

class Context;

struct RopeArgs {
  DType dtype;                      // of x and y: f32, bf16 or f16
  int64_t tokens, heads, head_dim;  // head_dim even, up to 512
  const int32_t* positions;         // [T]
  double base;                      // >= 1
  bool inverse;                     // rotate by -position: the backward pass
  const void* x;                    // [T, heads, D], token stride x_stride elements
  int64_t x_stride;
  void* y;  // [T, heads, D] out, contiguous; may be x when x is contiguous
};
Status rope(Context&, const RopeArgs&);

}  // namespace firesteel
