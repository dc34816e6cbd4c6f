#include "nn/elementwise/elementwise.h"

#include "runtime/cuda/column_sum.h"
#include "runtime/cuda/context.h"
#include "runtime/cuda/floats.h"
#include "runtime/cuda/launch.h"
#include "runtime/cuda/reduce.h"
#include "runtime/float_type.h"

namespace firesteel {
namespace {

template <class T>
__global__ void add_kernel(int64_t count, const T* a, const T* b, T* y, bool wide) {
  constexpr int N = kFloats<T>;
  for_floats<N>(count, [&](int64_t i, int64_t left) {
    Floats<N> sum = load_floats<N>(a + i, left, wide);
    const Floats<N> more = load_floats<N>(b + i, left, wide);
#pragma unroll
    for (int e = 0; e < N; ++e) sum.x[e] += more.x[e];
    store_floats(y + i, sum, left, wide);
  });
}

template <class T>
__global__ void scale_kernel(int64_t count, float factor, const T* x, T* y, bool accumulate,
                             bool wide) {
  constexpr int N = kFloats<T>;
  for_floats<N>(count, [&](int64_t i, int64_t left) {
    Floats<N> value = load_floats<N>(x + i, left, wide);
    if (accumulate) {
      const Floats<N> sum = load_floats<N>(y + i, left, wide);
#pragma unroll
      for (int e = 0; e < N; ++e) value.x[e] = fmaf(factor, value.x[e], sum.x[e]);
    } else {
#pragma unroll
      for (int e = 0; e < N; ++e) value.x[e] *= factor;
    }
    store_floats(y + i, value, left, wide);
  });
}

template <class T>
__global__ void fill_kernel(int64_t count, float value, T* y, bool wide) {
  constexpr int N = kFloats<T>;
  Floats<N> same;
#pragma unroll
  for (int e = 0; e < N; ++e) same.x[e] = value;
  for_floats<N>(count, [&](int64_t i, int64_t left) { store_floats(y + i, same, left, wide); });
}

constexpr int kRowsPerBlock = 8;

// One warp per row, so that no element needs a division to find its column.
template <class T>
__global__ void __launch_bounds__(kRowsPerBlock* kWarp)
    add_bias_kernel(int64_t rows, int64_t width, const T* x, const T* bias, T* y, bool wide) {
  constexpr int N = kFloats<T>;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kRowsPerBlock + threadIdx.x / kWarp;
  if (row >= rows) return;
  for (int64_t j = threadIdx.x % kWarp * N; j < width; j += kWarp * N) {
    const int64_t left = width - j;
    Floats<N> sum = load_floats<N>(x + row * width + j, left, wide);
    const Floats<N> more = load_floats<N>(bias + j, left, wide);
#pragma unroll
    for (int e = 0; e < N; ++e) sum.x[e] += more.x[e];
    store_floats(y + row * width + j, sum, left, wide);
  }
}

template <class T>
__global__ void __launch_bounds__(kColumnsPerBlock* kRowRuns)
    sum_rows_kernel(int64_t rows, int64_t width, const T* x, float* y) {
  column_sums(rows, width, y,
              [&](int64_t r, int64_t j) { return static_cast<double>(widen(x[r * width + j])); });
}

// Eight elements a thread: 16 bytes of a 16-bit type, twice 16 of floats.
template <class From, class To>
__global__ void cast_kernel(int64_t count, const From* x, To* y, bool wide) {
  constexpr int N = kFloats<From> < kFloats<To> ? kFloats<From> : kFloats<To>;
  for_floats<8>(count, [&](int64_t i, int64_t left) {
#pragma unroll
    for (int e = 0; e < 8; e += N) {
      store_floats(y + i + e, load_floats<N>(x + i + e, left - e, wide), left - e, wide);
    }
  });
}

}  // namespace

Status add(Context& context, const AddArgs& args) {
  return with_float_type(args.dtype, [&](auto t) {
    using T = decltype(t);
    const T *const a = static_cast<const T*>(args.a), *const b = static_cast<const T*>(args.b);
    T* const y = static_cast<T*>(args.y);
    return launch(context, "add", floats_shape<kFloats<T>>(context, args.count), add_kernel<T>,
                  args.count, a, b, y, spans_aligned<T>(0, {a, b, y}));
  });
}

Status add_bias(Context& context, const AddBiasArgs& a) {
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>((a.rows + kRowsPerBlock - 1) / kRowsPerBlock));
  shape.block = dim3(kRowsPerBlock * kWarp);
  return with_float_type(a.dtype, [&](auto t) {
    using T = decltype(t);
    const T *const x = static_cast<const T*>(a.x), *const bias = static_cast<const T*>(a.bias);
    T* const y = static_cast<T*>(a.y);
    return launch(context, "add_bias", shape, add_bias_kernel<T>, a.rows, a.width, x, bias, y,
                  spans_aligned<T>(a.width, {x, bias, y}));
  });
}

Status sum_rows(Context& context, const SumRowsArgs& a) {
  return with_float_type(a.dtype, [&](auto t) {
    using T = decltype(t);
    return launch(context, "sum_rows", column_sum_shape(a.width), sum_rows_kernel<T>, a.rows,
                  a.width, static_cast<const T*>(a.x), a.y);
  });
}

Status scale(Context& context, const ScaleArgs& a) {
  return with_float_type(a.dtype, [&](auto t) {
    using T = decltype(t);
    const T* const x = static_cast<const T*>(a.x);
    T* const y = static_cast<T*>(a.y);
    return launch(context, "scale", floats_shape<kFloats<T>>(context, a.count), scale_kernel<T>,
                  a.count, a.a, x, y, a.accumulate, spans_aligned<T>(0, {x, y}));
  });
}

Status fill(Context& context, const FillArgs& a) {
  return with_float_type(a.dtype, [&](auto t) {
    using T = decltype(t);
    T* const y = static_cast<T*>(a.y);
    return launch(context, "fill", floats_shape<kFloats<T>>(context, a.count), fill_kernel<T>,
                  a.count, a.value, y, spans_aligned<T>(0, {y}));
  });
}

Status cast(Context& context, const CastArgs& a) {
  return with_float_type(a.from, [&](auto from) {
    return with_float_type(a.to, [&](auto to) {
      using From = decltype(from);
      using To = decltype(to);
      const From* const x = static_cast<const From*>(a.x);
      To* const y = static_cast<To*>(a.y);
      const bool wide = spans_aligned<From>(0, {x}) && spans_aligned<To>(0, {y});
      return launch(context, "cast", floats_shape<8>(context, a.count), cast_kernel<From, To>,
                    a.count, x, y, wide);
    });
  });
}

}  // namespace firesteel
