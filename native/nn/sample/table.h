// What sample's per-ISA object offers to cpu.cc.
#pragma once
#include <stdint.h>

namespace firesteel {

struct SampleTable {
  // The row's maximum; *bad is set where it holds NaN or +inf.
  float (*scan)(int64_t count, const float* logits, bool* bad);
  // e[i] = exp((logits[i] - max) * inv_temperature), unless e is null; returns their sum.
  double (*weigh)(int64_t count, const float* logits, float max, float inv_temperature, float* e);
};

}  // namespace firesteel
