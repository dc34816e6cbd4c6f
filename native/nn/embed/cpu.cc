#include <string.h>

#include <algorithm>
#include <limits>

#include "nn/embed/embed.h"
#include "runtime/cpu/context.h"
#include "runtime/float_type.h"
#include "runtime/scalar.h"

namespace firesteel {
namespace {

constexpr int64_t kGrain = 1 << 16;  // elements
constexpr int64_t kColumns = 16;     // a cache line of floats

bool inside(int32_t id, int64_t rows) {
  return id >= 0 && id < rows;
}

}  // namespace

Status gather_rows(Context& context, const GatherRowsArgs& a) {
  return with_float_type(a.dtype, [&](auto type) {
    using T = decltype(type);
    const T* const table = static_cast<const T*>(a.table);
    const T nan = from_float<T>(std::numeric_limits<float>::quiet_NaN());
    const auto rows = [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        T* row = static_cast<T*>(a.y) + t * a.width;
        if (inside(a.ids[t], a.table_rows)) {
          std::copy_n(table + a.ids[t] * a.width, a.width, row);
        } else {
          std::fill_n(row, a.width, nan);
          record_fault(a.faults, Fault::id_out_of_range, t);
        }
      }
    };
    return context.parallel(a.count, kGrain / std::max<int64_t>(1, a.width), rows);
  });
}

Status scatter_rows(Context& context, const ScatterRowsArgs& a) {
  if (a.dtype > DType::f16) return expected_float_type();
  const size_t size = static_cast<size_t>(size_of(a.dtype));
  const size_t bytes = static_cast<size_t>(a.width) * size;
  return context.parallel(
      a.count, kGrain / std::max<int64_t>(1, a.width), [&](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; ++t) {
          if (inside(a.ids[t], a.table_rows)) {
            memcpy(offset(a.table, a.ids[t] * static_cast<int64_t>(bytes)),
                   offset(a.x, t * a.x_stride * static_cast<int64_t>(size)), bytes);
          } else {
            record_fault(a.faults, Fault::id_out_of_range, t);
          }
        }
      });
}

// Threads own columns, so that every table element sees its summands in the order of t.
Status scatter_add_rows(Context& context, const ScatterAddRowsArgs& a) {
  const int64_t grain = kGrain / (kColumns * std::max<int64_t>(1, a.count));
  return with_float_type(a.dtype, [&](auto type) {
    using T = decltype(type);
    const auto columns = [&](int64_t begin, int64_t end) {
      const int64_t first = begin * kColumns, last = std::min(end * kColumns, a.width);
      for (int64_t t = 0; t < a.count; ++t) {
        if (!inside(a.ids[t], a.table_rows)) continue;
        float* to = a.d_table + a.ids[t] * a.width;
        const T* from = static_cast<const T*>(a.d_y) + t * a.width;
        for (int64_t j = first; j < last; ++j) to[j] += to_float(from[j]);
      }
    };
    return context.parallel((a.width + kColumns - 1) / kColumns, grain, columns);
  });
}

}  // namespace firesteel
