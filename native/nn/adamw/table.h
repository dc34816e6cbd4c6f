// What adamw's per-ISA object offers to cpu.cc.
#pragma once
#include <stdint.h>
#include "nn/adamw/math.h"

namespace firesteel {

struct AdamwTable {
  void (*step)(int64_t count, const AdamwFactors& factors, const float* grad, float* param,
               float* m, float* v);
  double (*sum_squares)(int64_t count, const float* x);
};

}  // namespace firesteel
