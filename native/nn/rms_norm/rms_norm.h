// rms_norm: y = x / sqrt(mean(x^2) + eps) * weight, per row (Zhang & Sennrich 2019, eq. 4), with
// the residual stream in the same pass: what comes out of a block is added to the stream, the sum
// is the new stream, and y is its norm.
//
// All arithmetic is float32; tensors of 16 bits are widened when they are read and rounded to
// nearest even when they are written. The sum is normalised as it was rounded, so backward sees
// what forward saw.
//
// d_weight is a sum over rows in two stages without atomics: runs of rows in float32, in row order,
// and the runs in float64, in order. Runs depend on the number of rows alone.
#pragma once
#include <stdint.h>
#include "runtime/dtype.h"
#include "runtime/status.h"

namespace firesteel {

class Context;

struct RmsNormArgs {
  DType dtype;  // of all but inv_rms: f32, bf16 or f16
  int64_t rows, width;
  const void* x;         // [rows, width], contiguous
  const void* residual;  // [rows, width] or null
  const void* weight;    // [width]
  float eps;
  void* sum;       // [rows, width] out: x + residual; null where there is no residual
  void* y;         // [rows, width] out
  float* inv_rms;  // [rows] out, for backward
};
Status rms_norm_forward(Context&, const RmsNormArgs&);

struct RmsNormBackwardArgs {
  DType dtype;  // of all but inv_rms and d_weight
  int64_t rows, width;
  const void *x, *weight;  // x: what was normalised, the sum where there was a residual
  const float* inv_rms;
  const void* d_y;
  const void* d_sum;  // [rows, width] or null: what else flows back to x, added to d_x
  void* d_x;          // [rows, width] out
  float* d_weight;    // [width] out
  void* workspace;    // rms_norm_backward_workspace bytes
};
int64_t rms_norm_backward_workspace(int64_t rows, int64_t width);
Status rms_norm_backward(Context&, const RmsNormBackwardArgs&);

// Rows of a run: four as long as that is not too many runs for a card, sixteen up to 32,768 rows
// (sums cost half a byte an element), then as many as leave 2,048 runs to be added.
inline int64_t rms_norm_run(int64_t rows) {
  constexpr int64_t kLeast = 4, kUsual = 16, kEnoughRuns = 512, kMostRuns = 2048;
  const int64_t few = rows / kEnoughRuns, many = (rows + kMostRuns - 1) / kMostRuns;
  const int64_t length = few < kLeast ? kLeast : few < kUsual ? few : kUsual;
  return length < many ? many : length;
}
inline int64_t rms_norm_runs(int64_t rows) {
  const int64_t length = rms_norm_run(rows);
  return (rows + length - 1) / length;
}

}  // namespace firesteel
