// A row is one warp's or one block's, and each thread holds sixteen of its elements in registers:
// memory is read once and written once. Rows that are too wide for that (above 8,192) are read
// again, from the cache, beyond what is held.
#include "nn/rms_norm/rms_norm.h"

#include "runtime/cuda/column_sum.h"
#include "runtime/cuda/context.h"
#include "runtime/cuda/floats.h"
#include "runtime/cuda/launch.h"
#include "runtime/cuda/reduce.h"
#include "runtime/float_type.h"

namespace firesteel {
namespace {

constexpr int kHeld = 16;  // elements of a row that a thread holds
constexpr int kWarpsPerBlock = 8;
constexpr int kMostThreads = 512;

template <class T>
constexpr int kSpans = kHeld / kFloats<T>;

// Threads of a row: by its width alone.
int team_of(int64_t width) {
  int threads = kWarp;
  if (width > threads * kHeld) threads = 128;
  while (threads < kMostThreads && width > threads * kHeld) threads *= 2;
  return threads;
}

LaunchShape teams_shape(int64_t count, int team) {
  const int64_t teams = team == kWarp ? kWarpsPerBlock : 1;
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>((count + teams - 1) / teams));
  shape.block = dim3(static_cast<unsigned>(teams * team));
  return shape;
}

// Which team this thread belongs to. Teams of a warp share a block but no barrier.
__device__ __forceinline__ int64_t team_number(int team) {
  return team == kWarp ? static_cast<int64_t>(blockIdx.x) * kWarpsPerBlock + threadIdx.x / kWarp
                       : blockIdx.x;
}
__device__ __forceinline__ float team_sum(float value, int team) {
  return team == kWarp ? warp_sum(value) : block_sum(value);
}

// first(s): the column at which this thread's s-th span begins.
template <class T>
struct Columns {
  int team, lane;
  __device__ __forceinline__ int64_t first(int s) const {
    return (int64_t{s} * team + lane) * kFloats<T>;
  }
  // body(j) for the spans that are not held.
  template <class Body>
  __device__ __forceinline__ void rest(int64_t width, Body body) const {
    for (int64_t j = first(kSpans<T>); j < width; j += int64_t{team} * kFloats<T>) body(j);
  }
};

template <class T>
__global__ void __launch_bounds__(kMostThreads)
    rms_norm_kernel(RmsNormArgs a, int team, bool wide) {
  constexpr int N = kFloats<T>;
  const int64_t row = team_number(team);
  if (row >= a.rows) return;
  const Columns<T> columns{team, static_cast<int>(threadIdx.x) % team};
  const int64_t at = row * a.width;
  const T* x = static_cast<const T*>(a.x) + at;
  const bool adds = a.residual != nullptr;
  const T* residual = adds ? static_cast<const T*>(a.residual) + at : nullptr;
  const T* weight = static_cast<const T*>(a.weight);
  T* sum = adds ? static_cast<T*>(a.sum) + at : nullptr;
  T* y = static_cast<T*>(a.y) + at;

  const auto read = [&](int64_t j) {
    const int64_t left = a.width - j;
    Floats<N> v = load_floats<N>(x + j, left, wide);
    if (adds) {
      const Floats<N> r = load_floats<N>(residual + j, left, wide);
#pragma unroll
      for (int e = 0; e < N; ++e) v.x[e] = widen(narrow<T>(v.x[e] + r.x[e]));
      store_floats(sum + j, v, left, wide);
    }
    return v;
  };
  float square = 0.0f;
  const auto add_squares = [&](const Floats<N>& v) {
#pragma unroll
    for (int e = 0; e < N; ++e) square = fmaf(v.x[e], v.x[e], square);
  };
  Floats<N> held[kSpans<T>];
#pragma unroll
  for (int s = 0; s < kSpans<T>; ++s) {
    held[s] = read(columns.first(s));
    add_squares(held[s]);
  }
  columns.rest(a.width, [&](int64_t j) { add_squares(read(j)); });

  const float mean = team_sum(square, team) / static_cast<float>(a.width);
  const float inverse = 1.0f / sqrtf(mean + a.eps);
  const auto write = [&](int64_t j, Floats<N> v) {
    const Floats<N> w = load_floats<N>(weight + j, a.width - j, wide);
#pragma unroll
    for (int e = 0; e < N; ++e) v.x[e] = v.x[e] * inverse * w.x[e];
    store_floats(y + j, v, a.width - j, wide);
  };
#pragma unroll
  for (int s = 0; s < kSpans<T>; ++s) write(columns.first(s), held[s]);
  const T* normalised = adds ? sum : x;
  columns.rest(a.width,
               [&](int64_t j) { write(j, load_floats<N>(normalised + j, a.width - j, wide)); });
  if (columns.lane == 0) a.inv_rms[row] = inverse;
}

// A team takes a run of rows and keeps their share of d_weight. With g = w d_y:
// d_x = inv_rms (g - x inv_rms^2 mean(g x)) + d_sum.
template <class T>
__global__ void __launch_bounds__(kMostThreads)
    rms_norm_backward_kernel(RmsNormBackwardArgs a, int64_t length, int team, bool wide) {
  constexpr int N = kFloats<T>;
  const int64_t run = team_number(team), first = run * length;
  if (first >= a.rows) return;
  const int64_t last = first + length < a.rows ? first + length : a.rows;
  const Columns<T> columns{team, static_cast<int>(threadIdx.x) % team};
  const T* weight = static_cast<const T*>(a.weight);
  float* partial = static_cast<float*>(a.workspace) + run * a.width;

  Floats<N> d_weight[kSpans<T>];
#pragma unroll
  for (int s = 0; s < kSpans<T>; ++s) {
#pragma unroll
    for (int e = 0; e < N; ++e) d_weight[s].x[e] = 0.0f;
  }
  columns.rest(a.width, [&](int64_t j) {
    for (int e = 0; e < N && j + e < a.width; ++e) partial[j + e] = 0.0f;
  });

  for (int64_t row = first; row < last; ++row) {
    const int64_t at = row * a.width;
    const T* x = static_cast<const T*>(a.x) + at;
    const T* d_y = static_cast<const T*>(a.d_y) + at;
    const T* d_sum = a.d_sum == nullptr ? nullptr : static_cast<const T*>(a.d_sum) + at;
    T* d_x = static_cast<T*>(a.d_x) + at;
    const float inverse = a.inv_rms[row];
    float along = 0.0f;
    Floats<N> v[kSpans<T>], d[kSpans<T>];
#pragma unroll
    for (int s = 0; s < kSpans<T>; ++s) {
      const int64_t j = columns.first(s);
      v[s] = load_floats<N>(x + j, a.width - j, wide);
      d[s] = load_floats<N>(d_y + j, a.width - j, wide);
    }
#pragma unroll
    for (int s = 0; s < kSpans<T>; ++s) {
      const int64_t j = columns.first(s);
      const Floats<N> w = load_floats<N>(weight + j, a.width - j, wide);
#pragma unroll
      for (int e = 0; e < N; ++e) {
        d_weight[s].x[e] = fmaf(d[s].x[e], v[s].x[e] * inverse, d_weight[s].x[e]);
        d[s].x[e] = w.x[e] * d[s].x[e];
        along = fmaf(d[s].x[e], v[s].x[e], along);
      }
    }
    columns.rest(a.width, [&](int64_t j) {
      for (int e = 0; e < N && j + e < a.width; ++e) {
        const float value = widen(x[j + e]), slope = widen(d_y[j + e]);
        partial[j + e] = fmaf(slope, value * inverse, partial[j + e]);
        along = fmaf(widen(weight[j + e]) * slope, value, along);
      }
    });
    const float pull = team_sum(along, team) / static_cast<float>(a.width) * inverse * inverse;
    const auto write = [&](int64_t j, const Floats<N>& value, Floats<N> g) {
#pragma unroll
      for (int e = 0; e < N; ++e) g.x[e] = inverse * fmaf(-pull, value.x[e], g.x[e]);
      if (d_sum != nullptr) {
        const Floats<N> more = load_floats<N>(d_sum + j, a.width - j, wide);
#pragma unroll
        for (int e = 0; e < N; ++e) g.x[e] += more.x[e];
      }
      store_floats(d_x + j, g, a.width - j, wide);
    };
#pragma unroll
    for (int s = 0; s < kSpans<T>; ++s) write(columns.first(s), v[s], d[s]);
    columns.rest(a.width, [&](int64_t j) {
      const int64_t left = a.width - j;
      Floats<N> g = load_floats<N>(d_y + j, left, wide);
      const Floats<N> more = load_floats<N>(weight + j, left, wide);
#pragma unroll
      for (int e = 0; e < N; ++e) g.x[e] *= more.x[e];
      write(j, load_floats<N>(x + j, left, wide), g);
    });
  }
  const bool wide_partial = wide && a.width % 4 == 0;
#pragma unroll
  for (int s = 0; s < kSpans<T>; ++s) {
    const int64_t j = columns.first(s);
#pragma unroll
    for (int q = 0; q < N; q += 4) {
      Floats<4> quad;
#pragma unroll
      for (int e = 0; e < 4; ++e) quad.x[e] = d_weight[s].x[q + e];
      store_floats(partial + j + q, quad, a.width - j - q, wide_partial);
    }
  }
}

__global__ void __launch_bounds__(kColumnsPerBlock* kRowRuns)
    rms_norm_d_weight_kernel(int64_t runs, int64_t width, const float* partial, float* d_weight) {
  column_sums(runs, width, d_weight,
              [&](int64_t r, int64_t j) { return static_cast<double>(partial[r * width + j]); });
}

}  // namespace

Status rms_norm_forward(Context& context, const RmsNormArgs& a) {
  if (a.rows == 0 || a.width == 0) return {};
  const int team = team_of(a.width);
  return with_float_type(a.dtype, [&](auto t) {
    using T = decltype(t);
    const auto typed = [](const void* p) { return static_cast<const T*>(p); };
    const bool wide = spans_aligned<T>(
        a.width, {typed(a.x), typed(a.residual), typed(a.sum), typed(a.weight), typed(a.y)});
    return launch(context, "rms_norm", teams_shape(a.rows, team), rms_norm_kernel<T>, a, team,
                  wide);
  });
}

int64_t rms_norm_backward_workspace(int64_t rows, int64_t width) {
  return rms_norm_runs(rows) * width * static_cast<int64_t>(sizeof(float));
}

Status rms_norm_backward(Context& context, const RmsNormBackwardArgs& a) {
  if (a.width == 0) return {};
  const int64_t runs = rms_norm_runs(a.rows);
  const int team = team_of(a.width);
  const Status status = with_float_type(a.dtype, [&](auto t) {
    using T = decltype(t);
    const auto typed = [](const void* p) { return static_cast<const T*>(p); };
    const bool wide = spans_aligned<T>(
        a.width, {typed(a.x), typed(a.weight), typed(a.d_y), typed(a.d_sum), typed(a.d_x)});
    return launch(context, "rms_norm_backward", teams_shape(runs, team),
                  rms_norm_backward_kernel<T>, a, rms_norm_run(a.rows), team, wide);
  });
  if (!status.ok()) return status;
  return launch(context, "rms_norm_backward", column_sum_shape(a.width), rms_norm_d_weight_kernel,
                runs, a.width, static_cast<const float*>(a.workspace), a.d_weight);
}

}  // namespace firesteel
