// gather and scatter take one warp per row; scatter_add one block per id, of which only the one at
// the id's first occurrence works: it adds all later rows of the same id in order.
#include "nn/embed/embed.h"

#include "runtime/cuda/context.h"
#include "runtime/cuda/floats.h"
#include "runtime/cuda/launch.h"
#include "runtime/cuda/ptx.h"
#include "runtime/cuda/reduce.h"
#include "runtime/float_type.h"

namespace firesteel {
namespace {

constexpr int kRowsPerBlock = 8;

__device__ __forceinline__ int64_t warp_row() {
  return static_cast<int64_t>(blockIdx.x) * kRowsPerBlock + threadIdx.x / kWarp;
}

// body(j, left) for the first column of every span of a row that falls to this lane.
template <class T, class Body>
__device__ __forceinline__ void for_lane_spans(int64_t width, Body body) {
  constexpr int N = kFloats<T>;
  for (int64_t j = threadIdx.x % kWarp * N; j < width; j += kWarp * N) body(j, width - j);
}

template <class T>
__device__ __forceinline__ void copy_row(const T* from, T* to, int64_t width, bool wide) {
  for_lane_spans<T>(width, [&](int64_t j, int64_t left) {
    store_floats(to + j, load_floats<kFloats<T>>(from + j, left, wide), left, wide);
  });
}

template <class T>
__global__ void __launch_bounds__(kRowsPerBlock* kWarp)
    gather_rows_kernel(GatherRowsArgs a, bool wide) {
  const int64_t t = warp_row();
  if (t >= a.count) return;
  const int64_t id = a.ids[t];
  T* y = static_cast<T*>(a.y) + t * a.width;
  if (id >= 0 && id < a.table_rows) {
    return copy_row(static_cast<const T*>(a.table) + id * a.width, y, a.width, wide);
  }
  if (threadIdx.x % kWarp == 0) record_fault(a.faults, Fault::id_out_of_range, t);
  for (int64_t j = threadIdx.x % kWarp; j < a.width; j += kWarp) y[j] = narrow<T>(NAN);
}

template <class T>
__global__ void __launch_bounds__(kRowsPerBlock* kWarp)
    scatter_rows_kernel(ScatterRowsArgs a, bool wide) {
  const int64_t t = warp_row();
  if (t >= a.count) return;
  const int64_t id = a.ids[t];
  if (id < 0 || id >= a.table_rows) {
    if (threadIdx.x % kWarp == 0) record_fault(a.faults, Fault::id_out_of_range, t);
    return;
  }
  copy_row(static_cast<const T*>(a.x) + t * a.x_stride, static_cast<T*>(a.table) + id * a.width,
           a.width, wide);
}

constexpr int kThreads = 128;
constexpr int kIdsPerThread = 4;
constexpr int kIds = kThreads * kIdsPerThread;  // looked at between two barriers
constexpr int kColumns = 8;                     // that a thread holds sums for

template <class T>
__global__ void __launch_bounds__(kThreads) scatter_add_rows_kernel(ScatterAddRowsArgs a) {
  FIRESTEEL_SHARED(unsigned, same, kIds / kWarp);  // bit j of word i: id 32 i + j is this one
  const int64_t first = blockIdx.x;
  const int id = a.ids[first];
  if (id < 0 || id >= a.table_rows) return;

  // Backwards, for a frequent id has occurred not long ago.
  for (int64_t end = first; end > 0; end -= kIds) {
    int seen = 0;
#pragma unroll
    for (int k = 0; k < kIdsPerThread; ++k) {
      const int64_t t = end - 1 - k * kThreads - static_cast<int>(threadIdx.x);
      if (t >= 0 && a.ids[t] == id) seen = 1;
    }
    if (__syncthreads_or(seen)) return;
  }

  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  float* const row = a.d_table + id * a.width;
  for (int64_t j0 = 0; j0 < a.width; j0 += kThreads * kColumns) {
    float sum[kColumns];
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      const int64_t j = j0 + c * kThreads + threadIdx.x;
      sum[c] = j < a.width ? row[j] : 0.0f;
    }
    for (int64_t begin = first; begin < a.count; begin += kIds) {
#pragma unroll
      for (int k = 0; k < kIdsPerThread; ++k) {
        const int64_t t = begin + k * kThreads + threadIdx.x;
        const unsigned word = __ballot_sync(kFullWarp, t < a.count && a.ids[t] == id);
        if (lane == 0) same[k * (kThreads / kWarp) + warp] = word;
      }
      __syncthreads();
      for (int i = 0; i < kIds / kWarp; ++i) {
        for (unsigned word = same[i]; word != 0; word &= word - 1) {
          const T* d_y =
              static_cast<const T*>(a.d_y) + (begin + i * kWarp + __ffs(word) - 1) * a.width;
#pragma unroll
          for (int c = 0; c < kColumns; ++c) {
            const int64_t j = j0 + c * kThreads + threadIdx.x;
            if (j < a.width) sum[c] += widen(d_y[j]);
          }
        }
      }
      __syncthreads();
    }
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      const int64_t j = j0 + c * kThreads + threadIdx.x;
      if (j < a.width) row[j] = sum[c];
    }
  }
}

LaunchShape warp_per_row(int64_t rows) {
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>((rows + kRowsPerBlock - 1) / kRowsPerBlock));
  shape.block = dim3(kRowsPerBlock * kWarp);
  return shape;
}

}  // namespace

Status gather_rows(Context& context, const GatherRowsArgs& a) {
  return with_float_type(a.dtype, [&](auto t) {
    using T = decltype(t);
    const bool wide =
        spans_aligned<T>(a.width, {static_cast<const T*>(a.table), static_cast<const T*>(a.y)});
    return launch(context, "gather_rows", warp_per_row(a.count), gather_rows_kernel<T>, a, wide);
  });
}

Status scatter_rows(Context& context, const ScatterRowsArgs& a) {
  return with_float_type(a.dtype, [&](auto t) {
    using T = decltype(t);
    const bool wide = spans_aligned<T>(a.x_stride, {static_cast<const T*>(a.x)}) &&
                      spans_aligned<T>(a.width, {static_cast<const T*>(a.table)});
    return launch(context, "scatter_rows", warp_per_row(a.count), scatter_rows_kernel<T>, a, wide);
  });
}

Status scatter_add_rows(Context& context, const ScatterAddRowsArgs& a) {
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(a.count));
  shape.block = dim3(kThreads);
  return with_float_type(a.dtype, [&](auto t) {
    return launch(context, "scatter_add_rows", shape, scatter_add_rows_kernel<decltype(t)>, a);
  });
}

}  // namespace firesteel
