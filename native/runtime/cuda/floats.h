// N neighbouring elements of any float type as floats: one access of 8 or 16 bytes, widened when
// they are read and rounded when they are written. Where the end of a row or an odd address forbids
// the wide access, element by element; which form is taken never changes a value, so views at any
// offset give the same bits.
#pragma once
#include <stdint.h>

#include <initializer_list>

#include "runtime/cuda/launch.h"
#include "runtime/cuda/ptx.h"

namespace firesteel {

template <int N>
struct Floats {
  static constexpr int size = N;
  float x[N];
};

// What 16 bytes hold.
template <class T>
constexpr int kFloats = 16 / static_cast<int>(sizeof(T));

template <int N, class T>
struct alignas(N * sizeof(T)) Span {
  T x[N];
};

// Whether all of N elements at p, p + stride, p + 2 * stride, ... (elements) may be accessed at
// once.
template <int N, class T>
bool span_aligned(const T* p, int64_t stride) {
  return reinterpret_cast<uintptr_t>(p) % sizeof(Span<N, T>) == 0 && stride % N == 0;
}
// Of arrays of one type.
template <class T>
bool spans_aligned(int64_t stride, std::initializer_list<const T*> arrays) {
  bool aligned = true;
  for (const T* p : arrays) aligned = aligned && span_aligned<kFloats<T>>(p, stride);
  return aligned;
}

// The `left` elements at p, at most N; the others read as 0. `wide`: p is aligned.
template <int N, class T>
__device__ __forceinline__ Floats<N> load_floats(const T* p, int64_t left, bool wide) {
  Floats<N> y;
  if (wide && left >= N) {
#ifdef FIRESTEEL_EMULATED
    emulator::require_aligned(p, sizeof(Span<N, T>));
#endif
    const Span<N, T> span = *reinterpret_cast<const Span<N, T>*>(p);
#pragma unroll
    for (int i = 0; i < N; ++i) y.x[i] = widen(span.x[i]);
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i) y.x[i] = i < left ? widen(p[i]) : 0.0f;
  }
  return y;
}
template <int N, class T>
__device__ __forceinline__ void store_floats(T* p, const Floats<N>& x, int64_t left, bool wide) {
  if (wide && left >= N) {
#ifdef FIRESTEEL_EMULATED
    emulator::require_aligned(p, sizeof(Span<N, T>));
#endif
    Span<N, T> span;
#pragma unroll
    for (int i = 0; i < N; ++i) span.x[i] = narrow<T>(x.x[i]);
    *reinterpret_cast<Span<N, T>*>(p) = span;
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      if (i < left) p[i] = narrow<T>(x.x[i]);
    }
  }
}

// Enough threads for N elements each, at most eight blocks per multiprocessor.
template <int N>
LaunchShape floats_shape(const Context& context, int64_t count) {
  return elementwise_shape(context, (count + N - 1) / N);
}

// body(i, left) for the first element i of every N that fall to this thread.
template <int N, class Body>
__device__ __forceinline__ void for_floats(int64_t count, Body body) {
  for (int64_t i = grid_thread() * N; i < count; i += grid_threads() * N) body(i, count - i);
}

}  // namespace firesteel
