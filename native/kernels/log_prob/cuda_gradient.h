// The gradient of logits, element by element, for the backward kernel and for token_loss.
#pragma once
#include "kernels/log_prob/cuda_row.h"

namespace firesteel {
namespace {

// What the elements of a row share.
struct RowGradient {
  float top, log2_sum;  // the statistics of forward
  float c;              // log2(e) / temperature
  LogProbSlopes slopes;
};

__device__ __forceinline__ float gradient_of(const RowGradient& g, float x, float add) {
  const float t = fmaf(x - g.top, g.c, -g.log2_sum);
  const float p = exp2_approx(t);
  return fmaf(p, fmaf(fmaxf(t, kLowest), g.slopes.slope, g.slopes.base), add);
}

// `target`: which of the elements is the target, if it is one of them.
template <class T>
__device__ __forceinline__ Pack<T> gradient_pack(const RowGradient& g, const Pack<T>& x,
                                                 int target) {
  constexpr int size = Pack<T>::size;
  const PackWords words = words_of(x);
  float d[size];
#pragma unroll
  for (int i = 0; i < size; ++i) d[i] = gradient_of(g, widen_at<T>(words, i), g.slopes.each);
  if (target >= 0 && target < size) {
#pragma unroll
    for (int i = 0; i < size; ++i) {
      if (i == target) d[i] = gradient_of(g, widen_at<T>(words, i), g.slopes.each + g.slopes.hit);
    }
  }
  return narrow_pack<T>(d);
}

template <class T>
__device__ __forceinline__ Pack<T> zero_pack() {
  return pack_of<T>({{0, 0, 0, 0}});
}

}  // namespace
}  // namespace firesteel
