// embed: rows of a table by index, and the two ways back.
#pragma once
#include <stdint.h>
#include "runtime/fault.h"
#include "runtime/status.h"

namespace firesteel {

class Context;

// y[t] = table[ids[t]]. An id outside [0, table_rows) gives a row of NaN and a fault.
struct GatherRowsArgs {
  int64_t count, width, table_rows;
  const float* table;  // [table_rows, width]
  const int32_t* ids;  // [count]
  float* y;            // [count, width] out
  FaultWord* faults;
};
Status gather_rows(Context&, const GatherRowsArgs&);

// table[ids[t]] = x[t] (ids distinct; others are left as they are; out of range: skipped, a fault).
struct ScatterRowsArgs {
  int64_t count, width, table_rows;
  const float* x;  // [count, width], row stride x_stride elements
  int64_t x_stride;
  const int32_t* ids;  // [count]
  float* table;        // [table_rows, width] in and out
  FaultWord* faults;
};
Status scatter_rows(Context&, const ScatterRowsArgs&);

// d_table[ids[t]] += d_y[t], t ascending: a fixed order, no atomics. d_table is accumulated into.
struct ScatterAddRowsArgs {
  int64_t count, width, table_rows;
  const float* d_y;    // [count, width]
  const int32_t* ids;  // [count]; out of range: skipped
  float* d_table;      // [table_rows, width] in and out
};
Status scatter_add_rows(Context&, const ScatterAddRowsArgs&);

}  // namespace firesteel
