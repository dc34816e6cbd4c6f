// What rms_norm's per-ISA object offers to cpu.cc.
#pragma once
#include <stdint.h>
#include "runtime/dtype.h"

namespace firesteel {

// Rows that lie one after the other; pointers as in rms_norm.h.
struct RmsNormRows {
  int64_t rows, width;
  const void *x, *residual, *weight;
  float eps;
  void *sum, *y;
  float* inv_rms;
};
struct RmsNormBackwardRows {
  int64_t rows, width;
  const void *x, *weight;
  const float* inv_rms;
  const void *d_y, *d_sum;
  void* d_x;
  float* d_weight;  // [width] out: the sum over these rows
};

// Indexed by DType: f32, bf16, f16.
struct RmsNormTable {
  void (*forward[3])(const RmsNormRows&);
  void (*backward[3])(const RmsNormBackwardRows&);
};

}  // namespace firesteel
