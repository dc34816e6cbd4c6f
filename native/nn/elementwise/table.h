// What the elementwise per-ISA object offers to cpu.cc.
#pragma once
#include <stdint.h>
#include "runtime/dtype.h"

namespace firesteel {

struct ElementwiseTable {
  void (*add)(int64_t count, const float* a, const float* b, float* y);
  void (*add_bias)(int64_t rows, int64_t width, const float* x, const float* bias, float* y);
  // y[j] = sum over rows of x[r * stride + j] for j < cols.
  void (*sum_rows)(int64_t rows, int64_t cols, int64_t stride, const float* x, float* y);
  void (*scale)(int64_t count, float a, const float* x, float* y, bool accumulate);
  void (*fill)(int64_t count, float value, float* y);
  void (*cast)(int64_t count, const void* x, DType from, void* y, DType to);
};

}  // namespace firesteel
