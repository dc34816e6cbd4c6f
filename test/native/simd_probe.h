// The SIMD layer made callable: simd_probe.cc is compiled once per instruction set, as kernels are.
#pragma once
#include <stdint.h>

#include "runtime/dtype.h"

namespace firesteel {

struct SimdProbe {
  int lanes;
  // y[i] = f(x[i]); any n, tails included.
  void (*exp)(const float* x, float* y, int n);
  void (*exp2)(const float* x, float* y, int n);
  void (*exp2_bounded)(const float* x, float* y, int n);
  float exp2_zero;  // where exp2_bounded is 0
  void (*log1p)(const float* x, float* y, int n);
  void (*round_even)(const float* x, float* y, int n);
  void (*floor)(const float* x, float* y, int n);
  void (*widen_bf16)(const bf16* x, float* y, int n);
  void (*widen_f16)(const f16* x, float* y, int n);
  void (*narrow_bf16)(const float* x, bf16* y, int n);
  void (*narrow_f16)(const float* x, f16* y, int n);
  // y[i] = factor x[i], through single vectors and through pairs; n a multiple of 2 * lanes.
  void (*scale_bf16)(const bf16* x, bf16* y, int n, float factor);
  void (*scale_pairs_bf16)(const bf16* x, bf16* y, int n, float factor);
  // y[i] = x[i] > 0 where byte i is not 0, else -x[i].
  void (*masked)(const float* x, const uint8_t* bytes, float* y, int n);
  // Of exactly `lanes` floats: sum, maximum, minimum; and the sum in doubles.
  void (*reduce)(const float* x, float* y, double* sum);
  // Of exactly `lanes` floats: max(x, y), min(x, y), count(x < y).
  int (*compare)(const float* x, const float* y, float* highest, float* lowest);
};

}  // namespace firesteel
