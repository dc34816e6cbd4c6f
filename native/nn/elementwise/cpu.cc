#include "nn/elementwise/elementwise.h"

#include <algorithm>

#include "nn/elementwise/table.h"
#include "runtime/cpu/context.h"
#include "runtime/float_type.h"
#include "runtime/simd/dispatch.h"

namespace firesteel {

FIRESTEEL_DISPATCH(ElementwiseTable, elementwise_table)

namespace {

constexpr int64_t kGrain = 1 << 16;  // elements: 256 KB, about 20 us
constexpr int64_t kColumns = 16;     // a cache line of floats

int index(DType dtype) {
  return static_cast<int>(dtype);
}

}  // namespace

Status add(Context& context, const AddArgs& a) {
  if (a.dtype > DType::f16) return expected_float_type();
  return context.parallel(a.count, kGrain, [&](int64_t begin, int64_t end) {
    const int64_t at = begin * size_of(a.dtype);
    elementwise_table().add[index(a.dtype)](end - begin, offset(a.a, at), offset(a.b, at),
                                            offset(a.y, at));
  });
}

Status add_bias(Context& context, const AddBiasArgs& a) {
  if (a.dtype > DType::f16) return expected_float_type();
  if (a.width == 0) return {};
  return context.parallel(a.rows, kGrain / a.width, [&](int64_t begin, int64_t end) {
    const int64_t at = begin * a.width * size_of(a.dtype);
    elementwise_table().add_bias[index(a.dtype)](end - begin, a.width, offset(a.x, at), a.bias,
                                                 offset(a.y, at));
  });
}

Status sum_rows(Context& context, const SumRowsArgs& a) {
  if (a.dtype > DType::f16) return expected_float_type();
  const int64_t grain = kGrain / (kColumns * std::max<int64_t>(1, a.rows));
  return context.parallel(
      (a.width + kColumns - 1) / kColumns, grain, [&](int64_t begin, int64_t end) {
        const int64_t first = begin * kColumns, last = std::min(end * kColumns, a.width);
        elementwise_table().sum_rows[index(a.dtype)](
            a.rows, last - first, a.width, offset(a.x, first * size_of(a.dtype)), a.y + first);
      });
}

Status scale(Context& context, const ScaleArgs& a) {
  if (a.dtype > DType::f16) return expected_float_type();
  return context.parallel(a.count, kGrain, [&](int64_t begin, int64_t end) {
    const int64_t at = begin * size_of(a.dtype);
    elementwise_table().scale[index(a.dtype)](end - begin, a.a, offset(a.x, at), offset(a.y, at),
                                              a.accumulate);
  });
}

Status fill(Context& context, const FillArgs& a) {
  if (a.dtype > DType::f16) return expected_float_type();
  return context.parallel(a.count, kGrain, [&](int64_t begin, int64_t end) {
    elementwise_table().fill[index(a.dtype)](end - begin, a.value,
                                             offset(a.y, begin * size_of(a.dtype)));
  });
}

Status cast(Context& context, const CastArgs& a) {
  if (a.from > DType::f16 || a.to > DType::f16) return expected_float_type();
  return context.parallel(a.count, kGrain, [&](int64_t begin, int64_t end) {
    elementwise_table().cast(end - begin, offset(a.x, begin * size_of(a.from)), a.from,
                             offset(a.y, begin * size_of(a.to)), a.to);
  });
}

}  // namespace firesteel
