// The backward kernel of log_prob: no reduction, so a row is cut into the chunks of 16 bytes in
// which its gradient lies, kTilePacks of them a thread. Included by cuda.cu alone.
#pragma once
#include "kernels/log_prob/cuda_gradient.h"

namespace firesteel {
namespace {

constexpr int kBackwardThreads = 256;

template <class T>
__global__ void __launch_bounds__(kBackwardThreads)
    backward_kernel(LogProbBackwardArgs a, int blocks_per_row) {
  constexpr int size = Pack<T>::size;
  const int64_t row = static_cast<int64_t>(blockIdx.x) / blocks_per_row;
  const int block = static_cast<int>(static_cast<int64_t>(blockIdx.x) % blocks_per_row);
  const int vocab = static_cast<int>(a.vocab);
  const T* logits = static_cast<const T*>(a.logits) + row * a.row_stride;
  T* d_logits = static_cast<T*>(a.d_logits) + row * a.d_row_stride;
  const int phase = phase_of(d_logits);
  // Where the two lie differently logits are read one by one.
  const bool wide = phase_of(logits) == phase;
  const int stride = static_cast<int>(blockDim.x) * size;
  const int begin = block * kTilePacks * stride - phase;  // of the block's elements
  const int first = begin + static_cast<int>(threadIdx.x) * size;
  const bool whole = begin >= 0 && begin + kTilePacks * stride <= vocab;

  const bool trained = is_trained(a, row);
  const float inverse = trained ? inverse_temperature(a, row) : 0.0f;
  const bool usable = inverse == inverse;
  if (!usable && block == 0 && threadIdx.x == 0) {
    record_fault(a.faults, Fault::parameter_out_of_range, a.first_row + row);
  }
  RowGradient g = {};
  if (trained && usable) g.slopes = slopes_of(a, row, inverse);
  Pack<T> tile[kTilePacks];
  if (trained && usable && !g.slopes.zero) {
    if (whole && wide) {
#pragma unroll
      for (int k = 0; k < kTilePacks; ++k)
        tile[k] = load_pack_streaming(logits + first + k * stride);
    } else {
#pragma unroll
      for (int k = 0; k < kTilePacks; ++k) {
        tile[k] = load_chunk(logits, first + k * stride, vocab, wide);
      }
    }
    g.top = a.stats[2 * row];
    g.log2_sum = a.stats[2 * row + 1];
    g.c = exponent_scale(inverse);
    const int target = target_column(a, row, a.vocab_start) - first;
#pragma unroll
    for (int k = 0; k < kTilePacks; ++k) tile[k] = gradient_pack(g, tile[k], target - k * stride);
  } else {
    for (Pack<T>& pack : tile) pack = zero_pack<T>();
  }
#pragma unroll
  for (int k = 0; k < kTilePacks; ++k) {
    if (whole) {
      store_pack_streaming(d_logits + first + k * stride, tile[k]);
    } else {
      store_chunk(d_logits, first + k * stride, vocab, tile[k]);
    }
  }
}

}  // namespace
}  // namespace firesteel
