// What rms_norm's per-ISA object offers to cpu.cc.
#pragma once
#include <stdint.h>

namespace firesteel {

struct RmsNormTable {
  void (*forward)(int64_t rows, int64_t width, const float* x, const float* weight, float eps,
                  float* y, float* inv_rms);
  void (*backward)(int64_t rows, int64_t width, const float* x, const float* weight,
                   const float* inv_rms, const float* d_y, float* d_x);
  // Columns 0 .. cols - 1 of rows that lie `width` apart.
  void (*backward_weight)(int64_t rows, int64_t width, int64_t cols, const float* x,
                          const float* inv_rms, const float* d_y, float* d_weight);
};

}  // namespace firesteel
