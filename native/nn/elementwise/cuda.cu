#include "nn/elementwise/elementwise.h"

#include "runtime/cuda/column_sum.h"
#include "runtime/cuda/context.h"
#include "runtime/cuda/launch.h"
#include "runtime/cuda/pack.h"
#include "runtime/cuda/ptx.h"
#include "runtime/cuda/reduce.h"

namespace firesteel {
namespace {

__global__ void add_kernel(AddArgs args, bool wide) {
  for_quads(args.count, [&](int64_t i, int64_t left) {
    const Quad a = load_quad(args.a + i, left, wide), b = load_quad(args.b + i, left, wide);
    Quad y;
#pragma unroll
    for (int e = 0; e < Quad::size; ++e) y.x[e] = a.x[e] + b.x[e];
    store_quad(args.y + i, y, left, wide);
  });
}

__global__ void scale_kernel(ScaleArgs args, bool wide) {
  for_quads(args.count, [&](int64_t i, int64_t left) {
    const Quad x = load_quad(args.x + i, left, wide);
    Quad y;
    if (args.accumulate) {
      y = load_quad(args.y + i, left, wide);
#pragma unroll
      for (int e = 0; e < Quad::size; ++e) y.x[e] = fmaf(args.a, x.x[e], y.x[e]);
    } else {
#pragma unroll
      for (int e = 0; e < Quad::size; ++e) y.x[e] = args.a * x.x[e];
    }
    store_quad(args.y + i, y, left, wide);
  });
}

__global__ void fill_kernel(FillArgs args, bool wide) {
  for_quads(args.count, [&](int64_t i, int64_t left) {
    Quad y;
#pragma unroll
    for (int e = 0; e < Quad::size; ++e) y.x[e] = args.value;
    store_quad(args.y + i, y, left, wide);
  });
}

constexpr int kRowsPerBlock = 8;

// One warp per row, so that no element needs a division to find its column.
__global__ void __launch_bounds__(kRowsPerBlock* kWarp) add_bias_kernel(AddBiasArgs a, bool wide) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kRowsPerBlock + threadIdx.x / kWarp;
  if (row >= a.rows) return;
  for (int64_t j = threadIdx.x % kWarp * Quad::size; j < a.width; j += kWarp * Quad::size) {
    const int64_t left = a.width - j;
    const Quad x = load_quad(a.x + row * a.width + j, left, wide);
    const Quad bias = load_quad(a.bias + j, left, wide);
    Quad y;
#pragma unroll
    for (int e = 0; e < Quad::size; ++e) y.x[e] = x.x[e] + bias.x[e];
    store_quad(a.y + row * a.width + j, y, left, wide);
  }
}

__global__ void __launch_bounds__(kColumnsPerBlock* kRowRuns) sum_rows_kernel(SumRowsArgs a) {
  column_sums(a.rows, a.width, a.y,
              [&](int64_t r, int64_t j) { return static_cast<double>(a.x[r * a.width + j]); });
}

template <class From, class To>
__global__ void cast_kernel(int64_t count, const From* x, To* y) {
  for (int64_t i = grid_thread(); i < count; i += grid_threads()) y[i] = narrow<To>(widen(x[i]));
}

template <class From, class To>
Status cast_to(Context& context, const CastArgs& a) {
  return launch(context, "cast", elementwise_shape(context, a.count), cast_kernel<From, To>,
                a.count, static_cast<const From*>(a.x), static_cast<To*>(a.y));
}

template <class From>
Status cast_from(Context& context, const CastArgs& a) {
  switch (a.to) {
    case DType::f32:
      return cast_to<From, float>(context, a);
    case DType::bf16:
      return cast_to<From, bf16>(context, a);
    case DType::f16:
      return cast_to<From, f16>(context, a);
    default:
      return Status::error(Code::dtype, "cast: expected f32, bf16 or f16 as the result");
  }
}

}  // namespace

Status add(Context& context, const AddArgs& a) {
  return launch(context, "add", quads_shape(context, a.count), add_kernel, a,
                all_aligned(a.a, a.b, a.y));
}

Status add_bias(Context& context, const AddBiasArgs& a) {
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>((a.rows + kRowsPerBlock - 1) / kRowsPerBlock));
  shape.block = dim3(kRowsPerBlock * kWarp);
  const bool wide =
      pack_aligned(a.x, a.width) && pack_aligned(a.y, a.width) && pack_aligned(a.bias, 0);
  return launch(context, "add_bias", shape, add_bias_kernel, a, wide);
}

Status sum_rows(Context& context, const SumRowsArgs& a) {
  return launch(context, "sum_rows", column_sum_shape(a.width), sum_rows_kernel, a);
}

Status scale(Context& context, const ScaleArgs& a) {
  return launch(context, "scale", quads_shape(context, a.count), scale_kernel, a,
                all_aligned(a.x, a.y));
}

Status fill(Context& context, const FillArgs& a) {
  return launch(context, "fill", quads_shape(context, a.count), fill_kernel, a, all_aligned(a.y));
}

Status cast(Context& context, const CastArgs& a) {
  switch (a.from) {
    case DType::f32:
      return cast_from<float>(context, a);
    case DType::bf16:
      return cast_from<bf16>(context, a);
    case DType::f16:
      return cast_from<f16>(context, a);
    default:
      return Status::error(Code::dtype, "cast: expected f32, bf16 or f16 as the source");
  }
}

}  // namespace firesteel
