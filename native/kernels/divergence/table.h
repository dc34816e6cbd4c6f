// What the per-ISA objects of divergence offer to cpu.cc: one row at a time.
#pragma once
#include "kernels/divergence/math.h"
#include "runtime/dtype.h"

namespace firesteel {

struct LogitRow {
  const void* logits;  // [V]
  DType dtype;         // f32, bf16 or f16
  int64_t vocab;
};

// Over some tokens of a row, relative to a maximum m: of 2^t and of t 2^t, t = (x - m) scale. Every
// 2^t is a float, and those are added in double: sums over parts of a row subtract to the last bit.
struct ExponentSums {
  double sum, weighted;
};

// Of KL(q || p) and KL(p || q), or of the jsd and KL(p || m), times the smaller sum of 2^t.
struct TokenSums {
  double first, second;
};

// out[v] = factor d divergence / d z_v, p and q again times the smaller sum; `out` may be the
// student's logits.
struct DivergenceGradientRow {
  LogitRow student, teacher;
  DivergenceConstants constants;
  float kl;  // KL(p || q), or KL(p || m)
  float factor;
  void* out;  // [V] of the student's dtype
};

// out[v] = p_v (base + slope log2 p_v)
struct OutsideGradientRow {
  LogitRow student;
  float scale, max, log2_sum, base, slope;
  void* out;
};

struct DivergenceTable {
  float (*max)(const LogitRow&);  // -inf where nothing else is there; may lose a NaN
  ExponentSums (*sums)(const LogitRow&, float max, float scale);  // NaN for NaN and +inf
  ExponentSums (*sums_at)(const LogitRow&, const int32_t* ids, int64_t count, float max,
                          float scale);
  TokenSums (*tokens)(const DivergenceWeights&, const DivergenceConstants&, const LogitRow& student,
                      const LogitRow& teacher);
  void (*gradient)(const DivergenceWeights&, const DivergenceGradientRow&);
  void (*outside)(const OutsideGradientRow&);
};

}  // namespace firesteel
