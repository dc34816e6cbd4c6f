// One warp per row; the row is read a second time, from the cache, to be scaled.
#include "nn/rms_norm/rms_norm.h"

#include "runtime/cuda/column_sum.h"
#include "runtime/cuda/context.h"
#include "runtime/cuda/launch.h"
#include "runtime/cuda/pack.h"
#include "runtime/cuda/reduce.h"

namespace firesteel {
namespace {

constexpr int kRowsPerBlock = 8;

__device__ __forceinline__ int64_t warp_row() {
  return static_cast<int64_t>(blockIdx.x) * kRowsPerBlock + threadIdx.x / kWarp;
}
__device__ __forceinline__ int64_t lane_begin() {
  return threadIdx.x % kWarp * 4;
}

__global__ void __launch_bounds__(kRowsPerBlock* kWarp) rms_norm_kernel(RmsNormArgs a, bool wide) {
  const int64_t row = warp_row();
  if (row >= a.rows) return;
  const float* x = a.x + row * a.width;
  float square = 0.0f;
  for (int64_t i = lane_begin(); i < a.width; i += 4 * kWarp) {
    const Quad q = load_quad(x + i, a.width - i, wide);
#pragma unroll
    for (int e = 0; e < 4; ++e) square = fmaf(q.x[e], q.x[e], square);
  }
  const float mean = warp_sum(square) / static_cast<float>(a.width);
  const float inverse = 1.0f / sqrtf(mean + a.eps);
  for (int64_t i = lane_begin(); i < a.width; i += 4 * kWarp) {
    const Quad q = load_quad(x + i, a.width - i, wide);
    const Quad w = load_quad(a.weight + i, a.width - i, wide);
    Quad y;
#pragma unroll
    for (int e = 0; e < 4; ++e) y.x[e] = q.x[e] * inverse * w.x[e];
    store_quad(a.y + row * a.width + i, y, a.width - i, wide);
  }
  if (threadIdx.x % kWarp == 0) a.inv_rms[row] = inverse;
}

// d_x = inv_rms (w d_y - x inv_rms^2 mean(w d_y x))
__global__ void __launch_bounds__(kRowsPerBlock* kWarp)
    rms_norm_d_x_kernel(RmsNormBackwardArgs a, bool wide) {
  const int64_t row = warp_row();
  if (row >= a.rows) return;
  const float* x = a.x + row * a.width;
  const float* d_y = a.d_y + row * a.width;
  const float inverse = a.inv_rms[row];
  float along = 0.0f;
  for (int64_t i = lane_begin(); i < a.width; i += 4 * kWarp) {
    const Quad q = load_quad(x + i, a.width - i, wide);
    const Quad w = load_quad(a.weight + i, a.width - i, wide);
    const Quad d = load_quad(d_y + i, a.width - i, wide);
#pragma unroll
    for (int e = 0; e < 4; ++e) along = fmaf(w.x[e] * d.x[e], q.x[e], along);
  }
  const float pull = warp_sum(along) / static_cast<float>(a.width) * inverse * inverse;
  for (int64_t i = lane_begin(); i < a.width; i += 4 * kWarp) {
    const Quad q = load_quad(x + i, a.width - i, wide);
    const Quad w = load_quad(a.weight + i, a.width - i, wide);
    const Quad d = load_quad(d_y + i, a.width - i, wide);
    Quad d_x;
#pragma unroll
    for (int e = 0; e < 4; ++e) d_x.x[e] = inverse * fmaf(-pull, q.x[e], w.x[e] * d.x[e]);
    store_quad(a.d_x + row * a.width + i, d_x, a.width - i, wide);
  }
}

__global__ void __launch_bounds__(kColumnsPerBlock* kRowRuns)
    rms_norm_d_weight_kernel(RmsNormBackwardArgs a) {
  column_sums(a.rows, a.width, a.d_weight, [&](int64_t r, int64_t j) {
    const int64_t at = r * a.width + j;
    return static_cast<double>(a.d_y[at]) * static_cast<double>(a.x[at] * a.inv_rms[r]);
  });
}

LaunchShape warp_per_row(int64_t rows) {
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>((rows + kRowsPerBlock - 1) / kRowsPerBlock));
  shape.block = dim3(kRowsPerBlock * kWarp);
  return shape;
}

}  // namespace

Status rms_norm_forward(Context& context, const RmsNormArgs& a) {
  if (a.rows == 0 || a.width == 0) return {};
  const bool wide =
      pack_aligned(a.x, a.width) && pack_aligned(a.y, a.width) && pack_aligned(a.weight, 0);
  return launch(context, "rms_norm", warp_per_row(a.rows), rms_norm_kernel, a, wide);
}

Status rms_norm_backward(Context& context, const RmsNormBackwardArgs& a) {
  if (a.width == 0) return {};
  const bool wide = pack_aligned(a.x, a.width) && pack_aligned(a.d_y, a.width) &&
                    pack_aligned(a.d_x, a.width) && pack_aligned(a.weight, 0);
  if (a.rows > 0) {
    Status status =
        launch(context, "rms_norm_backward", warp_per_row(a.rows), rms_norm_d_x_kernel, a, wide);
    if (!status.ok()) return status;
  }
  return launch(context, "rms_norm_backward", column_sum_shape(a.width), rms_norm_d_weight_kernel,
                a);
}

}  // namespace firesteel
