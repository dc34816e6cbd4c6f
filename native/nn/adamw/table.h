// What adamw's per-ISA object offers to cpu.cc.
#pragma once
#include <stdint.h>
#include "nn/adamw/math.h"

namespace firesteel {

struct AdamwTable {
  // By the parameters' dtype. `rounded` is not touched for f32.
  void (*step[3])(int64_t count, const AdamwFactors& factors, const float* grad, float* weight,
                  float* m, float* v, void* rounded);
  double (*sum_squares)(int64_t count, const float* x);
};

}  // namespace firesteel
