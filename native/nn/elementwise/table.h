// What the elementwise per-ISA object offers to cpu.cc. Arrays of functions are indexed by DType:
// f32, bf16, f16.
#pragma once
#include <stdint.h>
#include "runtime/dtype.h"

namespace firesteel {

struct ElementwiseTable {
  void (*add[3])(int64_t count, const void* a, const void* b, void* y);
  void (*add_bias[3])(int64_t rows, int64_t width, const void* x, const void* bias, void* y);
  // y[j] = sum over rows of x[r * stride + j] for j < cols.
  void (*sum_rows[3])(int64_t rows, int64_t cols, int64_t stride, const void* x, float* y);
  void (*scale[3])(int64_t count, float a, const void* x, void* y, bool accumulate);
  void (*fill[3])(int64_t count, float value, void* y);
  void (*cast)(int64_t count, const void* x, DType from, void* y, DType to);
};

}  // namespace firesteel
