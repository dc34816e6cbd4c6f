#include <string.h>

#include <algorithm>
#include <limits>

#include "nn/embed/embed.h"
#include "runtime/cpu/context.h"

namespace firesteel {
namespace {

constexpr int64_t kGrain = 1 << 16;  // elements
constexpr int64_t kColumns = 16;     // a cache line of floats

bool inside(int32_t id, int64_t rows) {
  return id >= 0 && id < rows;
}

}  // namespace

Status gather_rows(Context& context, const GatherRowsArgs& a) {
  return context.parallel(a.count, kGrain / std::max<int64_t>(1, a.width),
                          [&](int64_t begin, int64_t end) {
                            for (int64_t t = begin; t < end; ++t) {
                              float* row = a.y + t * a.width;
                              if (inside(a.ids[t], a.table_rows)) {
                                std::copy_n(a.table + a.ids[t] * a.width, a.width, row);
                              } else {
                                std::fill_n(row, a.width, std::numeric_limits<float>::quiet_NaN());
                                record_fault(a.faults, Fault::id_out_of_range, t);
                              }
                            }
                          });
}

Status scatter_rows(Context& context, const ScatterRowsArgs& a) {
  return context.parallel(
      a.count, kGrain / std::max<int64_t>(1, a.width), [&](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; ++t) {
          if (inside(a.ids[t], a.table_rows)) {
            std::copy_n(a.x + t * a.x_stride, a.width, a.table + a.ids[t] * a.width);
          } else {
            record_fault(a.faults, Fault::id_out_of_range, t);
          }
        }
      });
}

// Threads own columns, so that every table element sees its summands in the order of t.
Status scatter_add_rows(Context& context, const ScatterAddRowsArgs& a) {
  const int64_t grain = kGrain / (kColumns * std::max<int64_t>(1, a.count));
  return context.parallel(
      (a.width + kColumns - 1) / kColumns, grain, [&](int64_t begin, int64_t end) {
        const int64_t first = begin * kColumns, last = std::min(end * kColumns, a.width);
        for (int64_t t = 0; t < a.count; ++t) {
          if (!inside(a.ids[t], a.table_rows)) continue;
          float* to = a.d_table + a.ids[t] * a.width;
          const float* from = a.d_y + t * a.width;
          for (int64_t j = first; j < last; ++j) to[j] += from[j];
        }
      });
}

}  // namespace firesteel
