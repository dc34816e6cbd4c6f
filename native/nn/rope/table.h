// What rope's per-ISA object offers to cpu.cc.
#pragma once
#include <stdint.h>

namespace firesteel {

constexpr int64_t kRopeMaxHalf = 256;

struct RopeTable {
  // One token: pair i of every head turned by position * theta[i], i < half; back when `inverse`.
  // Indexed by DType: f32, bf16, f16.
  void (*turn[3])(int64_t heads, int64_t half, int32_t position, const double* theta, bool inverse,
                  const void* x, void* y);
};

}  // namespace firesteel
