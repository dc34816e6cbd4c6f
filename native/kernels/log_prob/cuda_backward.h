// The backward kernel of log_prob: no reduction, so a row is cut into chunks of one block each.
// Included by cuda.cu alone.
#pragma once
#include "kernels/log_prob/cuda_tile.h"

namespace firesteel {
namespace {

constexpr int kBackwardThreads = 256;

template <class T>
__global__ void __launch_bounds__(kBackwardThreads)
    backward_kernel(LogProbBackwardArgs a, int chunks, bool wide) {
  constexpr int size = Pack<T>::size;
  const int64_t row = static_cast<int64_t>(blockIdx.x) / chunks;
  const int chunk = static_cast<int>(static_cast<int64_t>(blockIdx.x) % chunks);
  const int stride = static_cast<int>(blockDim.x) * size;
  const int begin = chunk * kTile * stride;  // of the block's elements
  const int first = begin + static_cast<int>(threadIdx.x) * size;
  const int vocab = static_cast<int>(a.vocab);
  const bool whole = wide && begin + kTile * stride <= vocab;
  const T* logits = static_cast<const T*>(a.logits) + row * a.row_stride + first;
  T* d_logits = static_cast<T*>(a.d_logits) + row * a.d_row_stride + first;

  const bool trained = is_trained(a, row);
  const float inverse = trained ? inverse_temperature(a, row) : 0.0f;
  const bool usable = inverse == inverse;
  if (!usable && chunk == 0 && threadIdx.x == 0) {
    record_fault(a.faults, Fault::parameter_out_of_range, a.first_row + row);
  }
  LogProbSlopes slopes = {};
  if (trained && usable) slopes = slopes_of(a, row, inverse);
  Pack<T> tile[kTile];
  if (trained && usable && !slopes.zero) {
    load_tile(tile, logits, stride, vocab - first, wide, whole);
    const float top = a.stats[2 * row], log2_sum = a.stats[2 * row + 1];
    const float c = exponent_scale(inverse);
    const int32_t column = target_column(a, row, a.vocab_start);
    const int target = column < 0 ? -1 : column - first;
#pragma unroll
    for (int k = 0; k < kTile; ++k) {
#pragma unroll
      for (int i = 0; i < size; ++i) {
        const float t = fmaf(widen(tile[k].x[i]) - top, c, -log2_sum);
        const float p = exp2_approx(t);
        const float add = k * stride + i == target ? slopes.each + slopes.hit : slopes.each;
        const float slope = fmaf(fmaxf(t, kLowest), slopes.slope, slopes.base);
        tile[k].x[i] = narrow<T>(fmaf(p, slope, add));
      }
    }
  } else {
    for (Pack<T>& pack : tile) {
      for (T& x : pack.x) x = narrow<T>(0.0f);
    }
  }
#pragma unroll
  for (int k = 0; k < kTile; ++k) {
    if (whole || (wide && vocab - first - k * stride >= size)) {
      store_pack_streaming(d_logits + k * stride, tile[k]);
    } else {
      store_pack_partial(d_logits + k * stride, tile[k], vocab - first - k * stride);
    }
  }
}

}  // namespace
}  // namespace firesteel
