// The plain array operations that a tape and an optimiser need. Tensors are f32, bf16 or f16, those
// of one call alike; all arithmetic is float32, and results are rounded once, to nearest even.
#pragma once
#include <stdint.h>
#include "runtime/dtype.h"
#include "runtime/status.h"

namespace firesteel {

class Context;

// y = a + b, element by element; y may be a or b.
struct AddArgs {
  DType dtype;
  int64_t count;
  const void *a, *b;
  void* y;
};
Status add(Context&, const AddArgs&);

// y[r, j] = x[r, j] + bias[j]; y may be x.
struct AddBiasArgs {
  DType dtype;
  int64_t rows, width;
  const void *x, *bias;
  void* y;
};
Status add_bias(Context&, const AddBiasArgs&);

// y[j] = sum over rows of x[r, j], in row order.
struct SumRowsArgs {
  DType dtype;  // of x
  int64_t rows, width;
  const void* x;
  float* y;
};
Status sum_rows(Context&, const SumRowsArgs&);

// y = a * x (+ y when accumulate).
struct ScaleArgs {
  DType dtype;
  int64_t count;
  float a;
  const void* x;
  void* y;
  bool accumulate;
};
Status scale(Context&, const ScaleArgs&);

struct FillArgs {
  DType dtype;
  int64_t count;
  float value;
  void* y;
};
Status fill(Context&, const FillArgs&);

// Between f32, bf16 and f16; NaN stays NaN.
struct CastArgs {
  int64_t count;
  const void* x;
  DType from;
  void* y;
  DType to;
};
Status cast(Context&, const CastArgs&);

}  // namespace firesteel
