#include "nn/rms_norm/rms_norm.h"

#include <algorithm>

#include "nn/rms_norm/table.h"
#include "runtime/cpu/context.h"
#include "runtime/float_type.h"
#include "runtime/simd/dispatch.h"

namespace firesteel {

FIRESTEEL_DISPATCH(RmsNormTable, rms_norm_table)

namespace {

constexpr int64_t kGrain = 1 << 16;  // elements
constexpr int64_t kColumns = 16;     // a cache line of floats

}  // namespace

Status rms_norm_forward(Context& context, const RmsNormArgs& a) {
  if (a.dtype > DType::f16) return expected_float_type();
  if (a.width == 0) return {};
  const auto rows = rms_norm_table().forward[static_cast<int>(a.dtype)];
  return context.parallel(a.rows, kGrain / a.width, [&](int64_t begin, int64_t end) {
    const auto at = [&](auto* p) { return offset(p, begin * a.width * size_of(a.dtype)); };
    rows({end - begin, a.width, at(a.x), at(a.residual), a.weight, a.eps, at(a.sum), at(a.y),
          a.inv_rms + begin});
  });
}

int64_t rms_norm_backward_workspace(int64_t rows, int64_t width) {
  return rms_norm_runs(rows) * width * static_cast<int64_t>(sizeof(float));
}

Status rms_norm_backward(Context& context, const RmsNormBackwardArgs& a) {
  if (a.dtype > DType::f16) return expected_float_type();
  if (a.width == 0) return {};
  const auto rows = rms_norm_table().backward[static_cast<int>(a.dtype)];
  const int64_t length = rms_norm_run(a.rows), runs = rms_norm_runs(a.rows);
  float* const partial = static_cast<float*>(a.workspace);
  Status status =
      context.parallel(runs, kGrain / (length * a.width), [&](int64_t begin, int64_t end) {
        for (int64_t run = begin; run < end; ++run) {
          const int64_t first = run * length;
          const auto at = [&](auto* p) { return offset(p, first * a.width * size_of(a.dtype)); };
          rows({std::min(length, a.rows - first), a.width, at(a.x), a.weight, a.inv_rms + first,
                at(a.d_y), at(a.d_sum), at(a.d_x), partial + run * a.width});
        }
      });
  if (!status.ok()) return status;
  const int64_t grain = kGrain / (kColumns * std::max<int64_t>(1, runs));
  return context.parallel((a.width + kColumns - 1) / kColumns, grain,
                          [&](int64_t begin, int64_t end) {
                            for (int64_t first = begin * kColumns;
                                 first < std::min(end * kColumns, a.width); first += kColumns) {
                              const int64_t columns = std::min(kColumns, a.width - first);
                              double sum[kColumns] = {};
                              for (int64_t run = 0; run < runs; ++run) {
                                const float* terms = partial + run * a.width + first;
                                for (int64_t j = 0; j < columns; ++j) sum[j] += double{terms[j]};
                              }
                              std::transform(sum, sum + columns, a.d_weight + first,
                                             [](double x) { return static_cast<float>(x); });
                            }
                          });
}

}  // namespace firesteel
