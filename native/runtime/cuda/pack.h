// Packs of four floats, and of their masks, where the end of a row or an odd address may forbid the
// wide access. Which form is taken never changes a value, so views at any offset give the same
// bits.
#pragma once
#include <stdint.h>

#include "runtime/cuda/launch.h"
#include "runtime/cuda/ptx.h"

namespace firesteel {

using Quad = Pack<float>;

template <class... T>
bool all_aligned(const T*... arrays) {
  return (pack_aligned(arrays, 0) && ...);
}

// The `left` floats at p, at most four; the others read as 0. `wide`: p is aligned.
__device__ __forceinline__ Quad load_quad(const float* p, int64_t left, bool wide) {
  if (wide && left >= Quad::size) return load_pack(p);
  return load_pack_partial(p, left, 0.0f);
}
__device__ __forceinline__ void store_quad(float* p, const Quad& quad, int64_t left, bool wide) {
  if (wide && left >= Quad::size) {
    store_pack(p, quad);
  } else {
    store_pack_partial(p, quad, left);
  }
}

// The masks of a quad. Those that do not exist are 0.
struct alignas(4) ByteQuad {
  uint8_t x[Quad::size];
};

// Whether rows of bytes at p, p + stride, ... may be accessed four at a time.
inline bool bytes_aligned(const uint8_t* p, int64_t stride) {
  return reinterpret_cast<uintptr_t>(p) % sizeof(ByteQuad) == 0 && stride % Quad::size == 0;
}

__device__ __forceinline__ ByteQuad load_bytes(const uint8_t* p, int64_t left, bool wide) {
  if (wide && left >= Quad::size) return *reinterpret_cast<const ByteQuad*>(p);
  const int n = pack_count<float>(left);
  ByteQuad bytes;
#pragma unroll
  for (int i = 0; i < Quad::size; ++i) bytes.x[i] = i < n ? p[i] : 0;
  return bytes;
}
// Stands for a mask that is not given.
__device__ __forceinline__ ByteQuad all_ones(int64_t left) {
  const int n = pack_count<float>(left);
  ByteQuad bytes;
#pragma unroll
  for (int i = 0; i < Quad::size; ++i) bytes.x[i] = i < n ? 1 : 0;
  return bytes;
}

// Enough threads for one quad each, at most eight blocks per multiprocessor.
inline LaunchShape quads_shape(const Context& context, int64_t count) {
  return elementwise_shape(context, (count + Quad::size - 1) / Quad::size);
}

// body(i, left) for the first element i of every quad that falls to this thread.
template <class Body>
__device__ __forceinline__ void for_quads(int64_t count, Body body) {
  for (int64_t i = grid_thread() * Quad::size; i < count; i += grid_threads() * Quad::size) {
    body(i, count - i);
  }
}

}  // namespace firesteel
