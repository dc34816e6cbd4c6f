// What the per-ISA objects of log_prob offer to cpu.cc: one row at a time, or some of its columns.
#pragma once
#include "kernels/log_prob/partial.h"
#include "runtime/dtype.h"

namespace firesteel {

// Rows are summed in blocks, which on every instruction set divide this many columns: a row that
// comes in parts, all but the last of them a multiple of it, has the bits of the row in one piece.
constexpr int64_t kLogProbColumns = 4096;

struct LogProbRow {
  const void* logits;  // [V]
  int64_t vocab;
  float scale;            // log2(e) / temperature
  bool with_total;        // else `total` is 0
  LogProbPartial before;  // of the columns before these
};

// d_logits[v] = p_v (base + slope log2 p_v) + each, plus `hit` at the target.
struct LogProbBackwardRow {
  const void* logits;  // [V]
  void* d_logits;      // [V], may be `logits`
  int64_t vocab;
  // What is read next, fetched to the second-level cache meanwhile: as many bytes as the row has.
  // May be anything, even memory that is not there.
  const void* next;
  int32_t target;  // a column, or -1
  float scale;
  float max, log2_sum;  // the statistics of forward
  float base, slope, each, hit;
};

// Indexed by DType: f32, bf16, f16.
struct LogProbTable {
  // Sums; target and temperature are those of `before`. NaN in `sum` and `max` where the row holds
  // NaN or +inf.
  LogProbPartial (*sums[3])(const LogProbRow&);
  void (*backward[3])(const LogProbBackwardRow&);
};

}  // namespace firesteel
