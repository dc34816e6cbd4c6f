// The plain array operations that a tape and an optimiser need.
#pragma once
#include <stdint.h>
#include "runtime/dtype.h"
#include "runtime/status.h"

namespace firesteel {

class Context;

// y = a + b, element by element; y may be a or b.
struct AddArgs {
  int64_t count;
  const float *a, *b;
  float* y;
};
Status add(Context&, const AddArgs&);

// y[r, j] = x[r, j] + bias[j]; y may be x.
struct AddBiasArgs {
  int64_t rows, width;
  const float *x, *bias;
  float* y;
};
Status add_bias(Context&, const AddBiasArgs&);

// y[j] = sum over rows of x[r, j], in row order.
struct SumRowsArgs {
  int64_t rows, width;
  const float* x;
  float* y;
};
Status sum_rows(Context&, const SumRowsArgs&);

// y = a * x (+ y when accumulate).
struct ScaleArgs {
  int64_t count;
  float a;
  const float* x;
  float* y;
  bool accumulate;
};
Status scale(Context&, const ScaleArgs&);

struct FillArgs {
  int64_t count;
  float value;
  float* y;
};
Status fill(Context&, const FillArgs&);

// Between f32, bf16 and f16; round to nearest even, NaN stays NaN.
struct CastArgs {
  int64_t count;
  const void* x;
  DType from;
  void* y;
  DType to;
};
Status cast(Context&, const CastArgs&);

}  // namespace firesteel
