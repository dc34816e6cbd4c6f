// Packs of four floats where the end of a row or an odd address may forbid the 16-byte access.
// Which form is taken never changes a value, so views at any offset give the same bits.
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
