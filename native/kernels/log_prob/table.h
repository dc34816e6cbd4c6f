// What the per-ISA objects of log_prob offer to cpu.cc: one row at a time.
#pragma once
#include "runtime/dtype.h"

namespace firesteel {

struct LogProbRow {
  const void* logits;  // [V]
  int64_t vocab;
  int32_t target;  // in [0, V)
  double inv_temperature;
  float scale;      // log2(e) / temperature
  float* log_prob;  // [1]
  float* entropy;   // [1] or null
  float* stats;     // [2]
};

enum class RowState : int { fine, not_a_number, no_support };

// d_logits[v] = p_v (base + slope log2 p_v), plus `hit` at the target.
struct LogProbBackwardRow {
  const void* logits;  // [V]
  void* d_logits;      // [V], may be `logits`
  int64_t vocab;
  int32_t target;
  float scale;
  float max, log2_sum;  // the statistics of forward
  float base, slope, hit;
};

// Indexed by DType: f32, bf16, f16.
struct LogProbTable {
  // Writes nothing unless the row is fine.
  RowState (*forward[3])(const LogProbRow&);
  void (*backward[3])(const LogProbBackwardRow&);
};

}  // namespace firesteel
