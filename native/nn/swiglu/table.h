// What swiglu's per-ISA object offers to cpu.cc.
#pragma once
#include <stdint.h>

namespace firesteel {

struct SwigluTable {
  void (*forward)(int64_t count, const float* gate, const float* up, float* y);
  void (*backward)(int64_t count, const float* gate, const float* up, const float* d_y,
                   float* d_gate, float* d_up);
};

}  // namespace firesteel
