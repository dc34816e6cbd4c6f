#include "nn/adamw/adamw.h"
#include "nn/adamw/math.h"
#include "runtime/cuda/context.h"
#include "runtime/cuda/launch.h"
#include "runtime/cuda/pack.h"
#include "runtime/cuda/reduce.h"

namespace firesteel {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kRun = 16384;  // elements that one block of sum_squares adds up
constexpr int kFinishThreads = 1024;

int64_t runs(int64_t count) {
  return (count + kRun - 1) / kRun;
}

__global__ void __launch_bounds__(kThreads)
    square_runs_kernel(int64_t count, const float* x, double* partial, bool wide) {
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * kRun;
  const int64_t end = begin + kRun < count ? begin + kRun : count;
  double sum = 0.0;
  for (int64_t i = begin + threadIdx.x * Quad::size; i < end; i += kThreads * Quad::size) {
    const Quad q = load_quad(x + i, end - i, wide);
#pragma unroll
    for (int e = 0; e < Quad::size; ++e) {
      sum = ::fma(static_cast<double>(q.x[e]), static_cast<double>(q.x[e]), sum);
    }
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kFinishThreads)
    square_total_kernel(int64_t runs, const double* partial, double* total) {
  double sum = 0.0;
  for (int64_t i = threadIdx.x; i < runs; i += kFinishThreads) sum += partial[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) total[0] += sum;
}

__global__ void adamw_kernel(AdamwArgs a, bool wide) {
  AdamwFactors factors{1.0f,  a.lr,           a.beta1,       a.beta2,
                       a.eps, a.weight_decay, a.correction1, a.correction2};
  if (a.grad_square != nullptr) {
    const double square = a.grad_square[0];
    if (!isfinite(square)) return;
    factors.clip = fminf(1.0f, a.max_grad_norm / (static_cast<float>(::sqrt(square)) + 1e-6f));
  }
  for_quads(a.count, [&](int64_t i, int64_t left) {
    const Quad grad = load_quad(a.grad + i, left, wide);
    Quad param = load_quad(a.param + i, left, wide);
    Quad m = load_quad(a.m + i, left, wide), v = load_quad(a.v + i, left, wide);
#pragma unroll
    for (int e = 0; e < Quad::size; ++e) {
      const AdamwState<float> next =
          adamw_step(factors, AdamwState<float>{param.x[e], m.x[e], v.x[e]}, grad.x[e]);
      param.x[e] = next.param;
      m.x[e] = next.m;
      v.x[e] = next.v;
    }
    store_quad(a.param + i, param, left, wide);
    store_quad(a.m + i, m, left, wide);
    store_quad(a.v + i, v, left, wide);
  });
}

}  // namespace

int64_t sum_squares_workspace(int64_t count) {
  return runs(count) * static_cast<int64_t>(sizeof(double));
}

Status sum_squares(Context& context, const SumSquaresArgs& a) {
  if (a.count == 0) return {};
  double* partial = static_cast<double*>(a.workspace);
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(runs(a.count)));
  shape.block = dim3(kThreads);
  Status status = launch(context, "sum_squares", shape, square_runs_kernel, a.count, a.x, partial,
                         all_aligned(a.x));
  if (!status.ok()) return status;
  shape.grid = dim3(1);
  shape.block = dim3(kFinishThreads);
  return launch(context, "sum_squares", shape, square_total_kernel, runs(a.count), partial,
                a.total);
}

Status adamw(Context& context, const AdamwArgs& a) {
  return launch(context, "adamw", quads_shape(context, a.count), adamw_kernel, a,
                all_aligned(a.param, a.grad, a.m, a.v));
}

}  // namespace firesteel
