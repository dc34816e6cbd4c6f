// Tiles of a row: what a thread of log_prob's kernels holds in registers at a time. Included by
// cuda.cu alone.
#pragma once
#include "kernels/log_prob/math.h"
#include "runtime/cuda/launch.h"
#include "runtime/cuda/ptx.h"
#include "runtime/cuda/reduce.h"

namespace firesteel {
namespace {

constexpr float kLowest = -1000.0f;  // stands for -inf where exp2(t) = 0 is multiplied by t
constexpr int kTile = 4;  // packs a thread loads before it uses the first: 64 bytes in flight

// Packs at p, p + stride, ... (elements), of which the first `left` elements exist; the others are
// -inf. `wide`: the addresses allow 16-byte loads; `whole`: and all elements exist. Which form is
// taken changes no value.
template <class T>
__device__ __forceinline__ void load_tile(Pack<T> (&tile)[kTile], const T* p, int stride, int left,
                                          bool wide, bool whole) {
  if (whole) {
#pragma unroll
    for (int k = 0; k < kTile; ++k) tile[k] = load_pack_streaming(p + k * stride);
    return;
  }
  const T nothing = narrow<T>(-INFINITY);
#pragma unroll
  for (int k = 0; k < kTile; ++k) {
    if (wide && left - k * stride >= Pack<T>::size) {
      tile[k] = load_pack_streaming(p + k * stride);
    } else {
      tile[k] = load_pack_partial(p + k * stride, left - k * stride, nothing);
    }
  }
}

}  // namespace
}  // namespace firesteel
