// Blocks of a launch are dealt out tensor after tensor, so that one launch serves several. A thread
// takes four elements at a time: 16 bytes of every float array, 8 of a rounded one.
#include "nn/adamw/adamw.h"

#include "nn/adamw/blocks.h"
#include "nn/adamw/math.h"
#include "runtime/cuda/context.h"
#include "runtime/cuda/floats.h"
#include "runtime/cuda/launch.h"
#include "runtime/cuda/reduce.h"
#include "runtime/float_type.h"

namespace firesteel {
namespace {

using Quad = Floats<4>;

constexpr int kThreads = 256;
constexpr int64_t kRun = 16384;  // elements that one block of sum_squares adds up
constexpr int64_t kStep = 8192;  // elements of a block of adamw: eight rounds
constexpr int kFinishThreads = 1024;

// body(i, left, wide) for the first element i of every quad of a block that falls to this thread.
template <class Body>
__device__ __forceinline__ void for_quads_of(const TensorBlock& block, Body body) {
  const int64_t end = block.begin + block.count;
  for (int64_t i = block.begin + threadIdx.x * Quad::size; i < end; i += kThreads * Quad::size) {
    body(i, end - i);
  }
}

// Addresses at which quads lie: blocks begin at multiples of four.
template <class T>
__device__ __forceinline__ bool quads_at(const T* p) {
  return reinterpret_cast<uintptr_t>(p) % sizeof(Span<4, T>) == 0;
}

__global__ void __launch_bounds__(kThreads) square_runs_kernel(SumSquaresArgs a) {
  const TensorBlock block = tensor_block(a, kRun, blockIdx.x);
  const float* x = a.tensor[block.tensor].x;
  const bool wide = quads_at(x);
  double sum = 0.0;
  for_quads_of(block, [&](int64_t i, int64_t left) {
    const Quad q = load_floats<4>(x + i, left, wide);
#pragma unroll
    for (int e = 0; e < Quad::size; ++e) {
      sum = ::fma(static_cast<double>(q.x[e]), static_cast<double>(q.x[e]), sum);
    }
  });
  sum = block_sum(sum);
  if (threadIdx.x == 0) static_cast<double*>(a.workspace)[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kFinishThreads)
    square_total_kernel(int64_t runs, const double* partial, double* total) {
  double sum = 0.0;
  for (int64_t i = threadIdx.x; i < runs; i += kFinishThreads) sum += partial[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) total[0] += sum;
}

// T: float where there is nothing to round.
template <class T>
__global__ void __launch_bounds__(kThreads) adamw_kernel(AdamwArgs a) {
  AdamwFactors factors{1.0f,  a.lr,           a.beta1,       a.beta2,
                       a.eps, a.weight_decay, a.correction1, a.correction2};
  if (a.grad_square != nullptr) {
    const double square = a.grad_square[0];
    if (!isfinite(square)) return;
    factors.clip = fminf(1.0f, a.max_grad_norm / (static_cast<float>(::sqrt(square)) + 1e-6f));
  }
  constexpr bool kRounds = sizeof(T) < sizeof(float);
  const TensorBlock block = tensor_block(a, kStep, blockIdx.x);
  const float* grads = a.tensor[block.tensor].grad;
  float* weights = a.tensor[block.tensor].weight;
  float* ms = a.tensor[block.tensor].m;
  float* vs = a.tensor[block.tensor].v;
  T* rounded = static_cast<T*>(a.tensor[block.tensor].rounded);
  const bool wide = quads_at(grads) && quads_at(weights) && quads_at(ms) && quads_at(vs) &&
                    (!kRounds || quads_at(rounded));
  for_quads_of(block, [&](int64_t i, int64_t left) {
    const Quad grad = load_floats<4>(grads + i, left, wide);
    Quad weight = load_floats<4>(weights + i, left, wide);
    Quad m = load_floats<4>(ms + i, left, wide), v = load_floats<4>(vs + i, left, wide);
#pragma unroll
    for (int e = 0; e < Quad::size; ++e) {
      const AdamwState<float> next =
          adamw_step(factors, AdamwState<float>{weight.x[e], m.x[e], v.x[e]}, grad.x[e]);
      weight.x[e] = next.weight;
      m.x[e] = next.m;
      v.x[e] = next.v;
    }
    store_floats(weights + i, weight, left, wide);
    store_floats(ms + i, m, left, wide);
    store_floats(vs + i, v, left, wide);
    if (kRounds) store_floats(rounded + i, weight, left, wide);
  });
}

}  // namespace

int64_t sum_squares_workspace(const SumSquaresArgs& a) {
  return tensor_blocks(a, kRun) * static_cast<int64_t>(sizeof(double));
}

Status sum_squares(Context& context, const SumSquaresArgs& a) {
  const int64_t runs = tensor_blocks(a, kRun);
  if (runs == 0) return {};
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(runs));
  shape.block = dim3(kThreads);
  const Status status = launch(context, "sum_squares", shape, square_runs_kernel, a);
  if (!status.ok()) return status;
  shape.grid = dim3(1);
  shape.block = dim3(kFinishThreads);
  return launch(context, "sum_squares", shape, square_total_kernel, runs,
                static_cast<const double*>(a.workspace), a.total);
}

Status adamw(Context& context, const AdamwArgs& a) {
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(tensor_blocks(a, kStep)));
  shape.block = dim3(kThreads);
  return with_float_type(a.dtype, [&](auto t) {
    return launch(context, "adamw", shape, adamw_kernel<decltype(t)>, a);
  });
}

}  // namespace firesteel
