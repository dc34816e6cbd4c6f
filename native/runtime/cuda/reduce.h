// Reductions over a warp and over a block, in an order that the block's size alone decides.
// Every thread gets the result, bit for bit the same in all of them.
#pragma once
#include <math.h>
#include <stdint.h>

#include "runtime/cuda/launch.h"

namespace firesteel {

constexpr int kWarp = 32;
constexpr unsigned kFullWarp = 0xffffffffu;

struct Sum {
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a + b;
  }
  template <class T>
  __device__ static __forceinline__ T identity() {
    return T(0);
  }
};

// NaN is passed over, as in fmax: where it matters, carry it in a sum beside the maximum.
struct Max {
  __device__ __forceinline__ float operator()(float a, float b) const { return fmaxf(a, b); }
  __device__ __forceinline__ double operator()(double a, double b) const { return fmax(a, b); }
  __device__ __forceinline__ int operator()(int a, int b) const { return a > b ? a : b; }
  __device__ __forceinline__ int64_t operator()(int64_t a, int64_t b) const {
    return a > b ? a : b;
  }
  template <class T>
  __device__ static __forceinline__ T identity() {
    return static_cast<T>(-INFINITY);
  }
};
template <>
__device__ __forceinline__ int Max::identity<int>() {
  return INT32_MIN;
}
template <>
__device__ __forceinline__ int64_t Max::identity<int64_t>() {
  return INT64_MIN;
}

struct Min {
  __device__ __forceinline__ float operator()(float a, float b) const { return fminf(a, b); }
  __device__ __forceinline__ double operator()(double a, double b) const { return fmin(a, b); }
  __device__ __forceinline__ int operator()(int a, int b) const { return a < b ? a : b; }
  __device__ __forceinline__ int64_t operator()(int64_t a, int64_t b) const {
    return a < b ? a : b;
  }
  template <class T>
  __device__ static __forceinline__ T identity() {
    return static_cast<T>(INFINITY);
  }
};
template <>
__device__ __forceinline__ int Min::identity<int>() {
  return INT32_MAX;
}
template <>
__device__ __forceinline__ int64_t Min::identity<int64_t>() {
  return INT64_MAX;
}

// Butterfly: partners add the same two numbers, so all lanes hold the same bits at every step.
template <class Op, class T>
__device__ __forceinline__ T warp_reduce(T value, Op op) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    value = op(value, __shfl_xor_sync(kFullWarp, value, distance));
  }
  return value;
}

// Warps first, then their results by a butterfly over warp numbers. Ends with a barrier: the
// scratch may be used again at once. The block is one-dimensional.
template <class Op, class T>
__device__ __forceinline__ T block_reduce(T value, Op op) {
  FIRESTEEL_SHARED(T, partial, kWarp);
  value = warp_reduce(value, op);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int warps = static_cast<int>(blockDim.x) / kWarp;
  if (lane == 0) partial[warp] = value;
  __syncthreads();
  T each = Op::template identity<T>();
  if (lane < warps) each = partial[lane];
  value = warp_reduce(each, op);
  __syncthreads();
  return value;
}

// T: float, double, int or int64_t.
template <class T>
__device__ __forceinline__ T warp_sum(T value) {
  return warp_reduce(value, Sum{});
}
template <class T>
__device__ __forceinline__ T warp_max(T value) {
  return warp_reduce(value, Max{});
}
template <class T>
__device__ __forceinline__ T warp_min(T value) {
  return warp_reduce(value, Min{});
}
template <class T>
__device__ __forceinline__ T block_sum(T value) {
  return block_reduce(value, Sum{});
}
template <class T>
__device__ __forceinline__ T block_max(T value) {
  return block_reduce(value, Max{});
}
template <class T>
__device__ __forceinline__ T block_min(T value) {
  return block_reduce(value, Min{});
}

}  // namespace firesteel
