// What swiglu's per-ISA object offers to cpu.cc.
#pragma once
#include <stdint.h>

namespace firesteel {

// Indexed by DType: f32, bf16, f16.
struct SwigluTable {
  void (*forward[3])(int64_t count, const void* gate, const void* up, void* y);
  void (*backward[3])(int64_t count, const void* gate, const void* up, const void* d_y,
                      void* d_gate, void* d_up);
};

}  // namespace firesteel
