#include "nn/elementwise/elementwise.h"

#include <algorithm>

#include "nn/elementwise/table.h"
#include "runtime/cpu/context.h"
#include "runtime/simd/dispatch.h"

namespace firesteel {

FIRESTEEL_DISPATCH(ElementwiseTable, elementwise_table)

namespace {

constexpr int64_t kGrain = 1 << 16;  // elements: 256 KB, about 20 us
constexpr int64_t kColumns = 16;     // a cache line of floats

bool castable(DType t) {
  return t == DType::f32 || t == DType::bf16 || t == DType::f16;
}

}  // namespace

Status add(Context& context, const AddArgs& a) {
  return context.parallel(a.count, kGrain, [&](int64_t begin, int64_t end) {
    elementwise_table().add(end - begin, a.a + begin, a.b + begin, a.y + begin);
  });
}

Status add_bias(Context& context, const AddBiasArgs& a) {
  if (a.width == 0) return {};
  return context.parallel(a.rows, kGrain / a.width, [&](int64_t begin, int64_t end) {
    const int64_t at = begin * a.width;
    elementwise_table().add_bias(end - begin, a.width, a.x + at, a.bias, a.y + at);
  });
}

Status sum_rows(Context& context, const SumRowsArgs& a) {
  const int64_t grain = kGrain / (kColumns * std::max<int64_t>(1, a.rows));
  return context.parallel(
      (a.width + kColumns - 1) / kColumns, grain, [&](int64_t begin, int64_t end) {
        const int64_t first = begin * kColumns, last = std::min(end * kColumns, a.width);
        elementwise_table().sum_rows(a.rows, last - first, a.width, a.x + first, a.y + first);
      });
}

Status scale(Context& context, const ScaleArgs& a) {
  return context.parallel(a.count, kGrain, [&](int64_t begin, int64_t end) {
    elementwise_table().scale(end - begin, a.a, a.x + begin, a.y + begin, a.accumulate);
  });
}

Status fill(Context& context, const FillArgs& a) {
  return context.parallel(a.count, kGrain, [&](int64_t begin, int64_t end) {
    elementwise_table().fill(end - begin, a.value, a.y + begin);
  });
}

Status cast(Context& context, const CastArgs& a) {
  if (!castable(a.from) || !castable(a.to)) {
    return Status::error(Code::dtype, "cast: expected f32, bf16 or f16 on both sides");
  }
  return context.parallel(a.count, kGrain, [&](int64_t begin, int64_t end) {
    elementwise_table().cast(end - begin, static_cast<const char*>(a.x) + begin * size_of(a.from),
                             a.from, static_cast<char*>(a.y) + begin * size_of(a.to), a.to);
  });
}

}  // namespace firesteel
