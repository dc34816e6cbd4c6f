// rms_norm: y = x / sqrt(mean(x^2) + eps) * weight, per row (Zhang & Sennrich 2019, eq. 4).
#pragma once
#include <stdint.h>
#include "runtime/status.h"

namespace firesteel {

class Context;

struct RmsNormArgs {
  int64_t rows, width;
  const float* x;       // [rows, width], contiguous
  const float* weight;  // [width]
  float eps;
  float* y;        // [rows, width] out
  float* inv_rms;  // [rows] out, for backward
};
Status rms_norm_forward(Context&, const RmsNormArgs&);

struct RmsNormBackwardArgs {
  int64_t rows, width;
  const float *x, *weight, *inv_rms, *d_y;
  float* d_x;       // [rows, width] out
  float* d_weight;  // [width] out: sum over rows in row order
};
Status rms_norm_backward(Context&, const RmsNormBackwardArgs&);

}  // namespace firesteel
