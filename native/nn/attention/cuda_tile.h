// What the three attention kernels do with 32 tokens in shared memory: load them, take the products
// of each lane's token with a warp's own rows, and spend a warp's weights on them.
#pragma once
#include "runtime/cuda/launch.h"
#include "runtime/cuda/ptx.h"
#include "runtime/cuda/reduce.h"

namespace firesteel {

// Elements from one token of a shared tile to the next: a multiple of 4, and odd in units of 16
// bytes so that 32 lanes reading one token each do not meet in the same banks.
__host__ __device__ constexpr int tile_stride(int head_dim) {
  return ((head_dim + 3) / 4 | 1) * 4;
}

// tile[i][d] = token_of(i)[d] for i < count, zeros beyond count (up to size) and beyond head_dim.
template <class TokenOf>
__device__ __forceinline__ void load_tile(SharedPtr<float> tile, int size, int count, int head_dim,
                                          TokenOf token_of) {
  const int lane = threadIdx.x % kWarp, stride = tile_stride(head_dim);
  for (int i = threadIdx.x / kWarp; i < size; i += blockDim.x / kWarp) {
    const float* token = i < count ? token_of(i) : nullptr;
    for (int d = lane; d < stride; d += kWarp) {
      tile[i * stride + d] = token != nullptr && d < head_dim ? token[d] : 0.0f;
    }
  }
}

// dot[i] = own_lane . rows[i], d ascending.
template <int ROWS>
__device__ __forceinline__ void dots(SharedPtr<float> lane_token, SharedPtr<float> rows,
                                     int head_dim, float (&dot)[ROWS]) {
  const int stride = tile_stride(head_dim);
#pragma unroll
  for (int i = 0; i < ROWS; ++i) dot[i] = 0.0f;
  for (int d = 0; d < head_dim; d += 4) {
    const Pack<float> x = load_pack(lane_token + d);
#pragma unroll
    for (int i = 0; i < ROWS; ++i) {
      const Pack<float> y = load_pack(rows + i * stride + d);
#pragma unroll
      for (int e = 0; e < 4; ++e) dot[i] = fmaf(x.x[e], y.x[e], dot[i]);
    }
  }
}

// sum[i][c] += sum over lanes j that row i sees of weight[i][j] * tile[j][lane + 32 c], j
// ascending.
template <int ROWS, int CHUNKS, class Sees>
__device__ __forceinline__ void spend(SharedPtr<float> weights, SharedPtr<float> tile, int head_dim,
                                      float (&sum)[ROWS][CHUNKS], Sees sees) {
  const int lane = threadIdx.x % kWarp, stride = tile_stride(head_dim);
  for (int j0 = 0; j0 < kWarp; j0 += 4) {
    Pack<float> weight[ROWS];
#pragma unroll
    for (int i = 0; i < ROWS; ++i) weight[i] = load_pack(weights + i * kWarp + j0);
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      float x[CHUNKS];
#pragma unroll
      for (int c = 0; c < CHUNKS; ++c) {
        const int d = lane + c * kWarp;
        x[c] = 0.0f;
        if (d < head_dim) x[c] = tile[(j0 + e) * stride + d];
      }
#pragma unroll
      for (int i = 0; i < ROWS; ++i) {
        if (!sees(i, j0 + e)) continue;
#pragma unroll
        for (int c = 0; c < CHUNKS; ++c) sum[i][c] = fmaf(weight[i].x[e], x[c], sum[i][c]);
      }
    }
  }
}

// out[d] = factor * sum[d] for this lane's elements of one token.
template <int CHUNKS>
__device__ __forceinline__ void store_token(float* out, int head_dim, const float (&sum)[CHUNKS],
                                            float factor) {
#pragma unroll
  for (int c = 0; c < CHUNKS; ++c) {
    const int d = static_cast<int>(threadIdx.x) % kWarp + c * kWarp;
    if (d < head_dim) out[d] = sum[c] * factor;
  }
}

}  // namespace firesteel
