// embed: rows of a table by index, and the two ways back.
#pragma once
#include <stdint.h>
#include "runtime/dtype.h"
#include "runtime/fault.h"
#include "runtime/status.h"

namespace firesteel {

class Context;

// y[t] = table[ids[t]]. An id outside [0, table_rows) gives a row of NaN and a fault.
struct GatherRowsArgs {
  DType dtype;  // of table and y: f32, bf16 or f16
  int64_t count, width, table_rows;
  const void* table;   // [table_rows, width]
  const int32_t* ids;  // [count]
  void* y;             // [count, width] out
  FaultWord* faults;
};
Status gather_rows(Context&, const GatherRowsArgs&);

// table[ids[t]] = x[t] (ids distinct; others are left as they are; out of range: skipped, a fault).
struct ScatterRowsArgs {
  DType dtype;  // of x and table
  int64_t count, width, table_rows;
  const void* x;  // [count, width], row stride x_stride elements
  int64_t x_stride;
  const int32_t* ids;  // [count]
  void* table;         // [table_rows, width] in and out
  FaultWord* faults;
};
Status scatter_rows(Context&, const ScatterRowsArgs&);

// d_table[ids[t]] += d_y[t] in float32, t ascending: a fixed order, no atomics. d_table is
// accumulated into.
struct ScatterAddRowsArgs {
  DType dtype;  // of d_y
  int64_t count, width, table_rows;
  const void* d_y;     // [count, width]
  const int32_t* ids;  // [count]; out of range: skipped
  float* d_table;      // [table_rows, width] in and out
};
Status scatter_add_rows(Context&, const ScatterAddRowsArgs&);

}  // namespace firesteel
