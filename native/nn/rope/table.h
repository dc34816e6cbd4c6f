// What rope's per-ISA object offers to cpu.cc.
#pragma once
#include <stdint.h>

namespace firesteel {

constexpr int64_t kRopeMaxHalf = 256;

struct RopeTable {
  // Cosines and sines of position * theta[i], i < half.
  void (*circle)(int64_t half, double position, const double* theta, float* cosine, float* sine);
  // One token: pair i of every head turned by the angle with cosine[i] and sine[i]. Indexed by
  // DType: f32, bf16, f16.
  void (*turn[3])(int64_t heads, int64_t half, const float* cosine, const float* sine,
                  const void* x, void* y);
};

}  // namespace firesteel
