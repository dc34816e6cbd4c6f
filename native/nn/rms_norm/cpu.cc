#include "nn/rms_norm/rms_norm.h"

#include <algorithm>

#include "nn/rms_norm/table.h"
#include "runtime/cpu/context.h"
#include "runtime/simd/dispatch.h"

namespace firesteel {

FIRESTEEL_DISPATCH(RmsNormTable, rms_norm_table)

namespace {

constexpr int64_t kGrain = 1 << 16;  // elements
constexpr int64_t kColumns = 16;     // a cache line of floats

}  // namespace

Status rms_norm_forward(Context& context, const RmsNormArgs& a) {
  if (a.width == 0) return {};
  return context.parallel(a.rows, kGrain / a.width, [&](int64_t begin, int64_t end) {
    const int64_t at = begin * a.width;
    rms_norm_table().forward(end - begin, a.width, a.x + at, a.weight, a.eps, a.y + at,
                             a.inv_rms + begin);
  });
}

Status rms_norm_backward(Context& context, const RmsNormBackwardArgs& a) {
  if (a.width == 0) return {};
  Status status = context.parallel(a.rows, kGrain / a.width, [&](int64_t begin, int64_t end) {
    const int64_t at = begin * a.width;
    rms_norm_table().backward(end - begin, a.width, a.x + at, a.weight, a.inv_rms + begin,
                              a.d_y + at, a.d_x + at);
  });
  if (!status.ok()) return status;
  // Threads own columns, so that every weight sees its rows in order.
  const int64_t grain = kGrain / (kColumns * std::max<int64_t>(1, a.rows));
  return context.parallel(
      (a.width + kColumns - 1) / kColumns, grain, [&](int64_t begin, int64_t end) {
        const int64_t first = begin * kColumns, last = std::min(end * kColumns, a.width);
        rms_norm_table().backward_weight(a.rows, a.width, last - first, a.x + first, a.inv_rms,
                                         a.d_y + first, a.d_weight + first);
      });
}

}  // namespace firesteel
