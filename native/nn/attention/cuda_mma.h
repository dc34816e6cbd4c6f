// What the attention kernels of bf16 and f16 do with tiles of rows in shared memory: load them,
// multiply rows with rows, spend weights that are still in the accumulators, and store what came
// out (FlashAttention-2: Dao, 2023).
//
// A warp owns MT * 16 rows of the result. Fragments are those of mma.h: lane 4 g + t holds of every
// 16 x 8 accumulator the columns 2t and 2t + 1 of rows g and g + 8.
#pragma once
#include "runtime/cuda/launch.h"
#include "runtime/cuda/mma.h"
#include "runtime/cuda/ptx.h"
#include "runtime/cuda/reduce.h"

namespace firesteel {

// Elements from one row of a tile to the next: 16 bytes more than a row, so that the eight rows of
// one ldmatrix lie in different banks.
template <int DIM>
constexpr int kMmaStride = DIM + 8;

// tile[i][d] = row_of(i)[d] for i < count and d < dim, zeros beyond both. `wide`: rows may be
// accessed by packs; they are then on their way (cp.async), else there. count >= 1.
template <int DIM, int ROWS, int THREADS, class T, class RowOf>
__device__ __forceinline__ void load_rows(SharedPtr<T> tile, int count, int dim, bool wide,
                                          RowOf row_of) {
  constexpr int kPack = Pack<T>::size, kPacks = DIM / kPack;
#pragma unroll 4
  for (int i = threadIdx.x; i < ROWS * kPacks; i += THREADS) {
    const int row = i / kPacks, d = i % kPacks * kPack;
    const bool live = row < count && d < dim;
    const T* from = row_of(live ? row : 0) + (live ? d : 0);
    const SharedPtr<T> to = tile + (row * kMmaStride<DIM> + d);
    if (wide) {
      cp_async_16(to, from, live ? 16 : 0);
    } else {
      store_pack(to, load_pack_partial(from, live ? dim - d : 0, T{}));
    }
  }
}

// product[m][n] = rows . columns over DIM elements: MT * 16 rows of one tile, N * 8 of another.
template <int DIM, int MT, int N, class T>
__device__ __forceinline__ void multiply_rows(float (&product)[MT][N][4], SharedPtr<T> rows,
                                              SharedPtr<T> columns) {
  constexpr int kStride = kMmaStride<DIM>;
  const int lane = threadIdx.x % kWarp;
  const SharedPtr<T> row = rows + (lane % 16 * kStride + lane / 16 * 8);
  const SharedPtr<T> column = columns + ((lane % 8 + lane / 16 * 8) * kStride + lane / 8 % 2 * 8);
#pragma unroll
  for (int m = 0; m < MT; ++m) {
#pragma unroll
    for (int n = 0; n < N; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) product[m][n][i] = 0.0f;
    }
  }
#pragma unroll
  for (int d = 0; d < DIM; d += 16) {
    uint32_t x[MT][4];
#pragma unroll
    for (int m = 0; m < MT; ++m) ldmatrix_x4(x[m], row + (m * 16 * kStride + d));
#pragma unroll
    for (int n = 0; n < N; n += 2) {
      uint32_t y[4];
      ldmatrix_x4(y, column + (n * 8 * kStride + d));
      const uint32_t left[2] = {y[0], y[1]}, right[2] = {y[2], y[3]};
#pragma unroll
      for (int m = 0; m < MT; ++m) {
        mma_m16n8k16<T>(product[m][n], x[m], left);
        mma_m16n8k16<T>(product[m][n + 1], x[m], right);
      }
    }
  }
}

// Which terms (keys, or in dK and dV queries) of a block the rows of a warp see: row r those up to
// bound(r), or LATER: those from bound(r) on.
template <bool LATER>
struct Sight {
  int base;   // bound of the block's row 0, in terms of this block
  int first;  // row of the block that is the warp's row 0
  int pack;   // rows that share a bound

  __device__ __forceinline__ int bound(int row) const {
    return base + (pack == 1 ? first + row : (first + row) / pack);
  }
  __device__ __forceinline__ bool sees(int row, int term) const {
    return LATER ? term >= bound(row) : term <= bound(row);
  }
  // Of `rows` rows and `terms` terms: every row sees every term, some row sees some term.
  __device__ __forceinline__ bool all(int row, int rows, int term, int terms) const {
    return LATER ? sees(row + rows - 1, term) : sees(row, term + terms - 1);
  }
  __device__ __forceinline__ bool any(int row, int rows, int term, int terms) const {
    return LATER ? sees(row, term + terms - 1) : sees(row + rows - 1, term);
  }
};

// All ones where a half of the register is inf or NaN.
template <class T>
__device__ __forceinline__ uint32_t not_finite(uint32_t pair);
template <>
__device__ __forceinline__ uint32_t not_finite<bf16>(uint32_t pair) {
  return ((pair & 0x7f80u) == 0x7f80u ? 0xffffu : 0u) |
         ((pair & 0x7f800000u) == 0x7f800000u ? 0xffff0000u : 0u);
}
template <>
__device__ __forceinline__ uint32_t not_finite<f16>(uint32_t pair) {
  return ((pair & 0x7c00u) == 0x7c00u ? 0xffffu : 0u) |
         ((pair & 0x7c000000u) == 0x7c000000u ? 0xffff0000u : 0u);
}

// The weight of an unseen term is 0, but 0 times NaN is NaN: takes what is not finite out of y
// ([16 terms, 16 columns]) and adds its products, term by term, to the rows that see the term.
template <class T, bool LATER>
__device__ __forceinline__ void add_not_finite(float (&left)[4], float (&right)[4],
                                               const uint32_t (&x)[4], uint32_t (&y)[4],
                                               const Sight<LATER>& sight, int row, int term) {
  const int lane = threadIdx.x % kWarp;
  uint32_t odd[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const uint32_t bits = not_finite<T>(y[i]);
    odd[i] = y[i] & bits;
    y[i] &= ~bits;
  }
#pragma unroll 1
  for (int j = 0; j < 16; ++j) {
    const uint32_t half = lane % 4 != j % 8 / 2 ? 0u : j % 2 == 0 ? 0xffffu : 0xffff0000u;
    const uint32_t low = j < 8 ? half : 0u, high = j < 8 ? 0u : half;
    const uint32_t one[2] = {odd[0] & low, odd[1] & high};
    const uint32_t other[2] = {odd[2] & low, odd[3] & high};
    float more_left[4] = {}, more_right[4] = {};
    mma_m16n8k16<T>(more_left, x, one);
    mma_m16n8k16<T>(more_right, x, other);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (!sight.sees(row + lane / 4 + i / 2 * 8, term + j)) continue;
      left[i] += more_left[i];
      right[i] += more_right[i];
    }
  }
}

// sum[m] += weight[m] rounded to T, times the N * 8 rows of `tile`. MASKED: some weights are 0
// because their term is not seen.
template <int DIM, bool MASKED, int MT, int N, class T, bool LATER>
__device__ __forceinline__ void spend_rows(float (&sum)[MT][DIM / 8][4],
                                           const float (&weight)[MT][N][4], SharedPtr<T> tile,
                                           const Sight<LATER>& sight) {
  constexpr int kStride = kMmaStride<DIM>;
  const int lane = threadIdx.x % kWarp;
  const SharedPtr<T> corner = tile + (lane % 16 * kStride + lane / 16 * 8);
#pragma unroll
  for (int k = 0; k < N / 2; ++k) {
    if (MASKED && !sight.any(0, MT * 16, k * 16, 16)) continue;
    uint32_t x[MT][4];
#pragma unroll
    for (int m = 0; m < MT; ++m) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float* pair = weight[m][2 * k + i / 2] + i % 2 * 2;
        x[m][i] = pack_halves<T>(pair[0], pair[1]);
      }
    }
#pragma unroll
    for (int n = 0; n < DIM / 8; n += 2) {
      uint32_t y[4];
      ldmatrix_x4<true>(y, corner + (k * 16 * kStride + n * 8));
#pragma unroll
      for (int m = 0; m < MT; ++m) {
        uint32_t z[4] = {y[0], y[1], y[2], y[3]};
        if (MASKED && !sight.all(m * 16, 16, k * 16, 16)) {
          const uint32_t bits =
              not_finite<T>(y[0]) | not_finite<T>(y[1]) | not_finite<T>(y[2]) | not_finite<T>(y[3]);
          if (__any_sync(kFullWarp, bits != 0)) {
            add_not_finite<T>(sum[m][n], sum[m][n + 1], x[m], z, sight, m * 16, k * 16);
          }
        }
        const uint32_t left[2] = {z[0], z[1]}, right[2] = {z[2], z[3]};
        mma_m16n8k16<T>(sum[m][n], x[m], left);
        mma_m16n8k16<T>(sum[m][n + 1], x[m], right);
      }
    }
  }
}

// row_of(r)[d] = factor[r's own] * sum, rounded, for the warp's rows; null: not stored. The rows
// pass through shared memory, where the warp no longer needs those that `words` and `tile`, two
// views of the same bytes, hold.
template <int DIM, int MT, class T, class RowOf>
__device__ __forceinline__ void store_rows(SharedPtr<uint32_t> words, SharedPtr<T> tile,
                                           const float (&sum)[MT][DIM / 8][4],
                                           const float (&factor)[MT][2], int dim, bool wide,
                                           RowOf row_of) {
  constexpr int kStride = kMmaStride<DIM>, kPack = Pack<T>::size, kPacks = DIM / kPack;
  const int lane = threadIdx.x % kWarp;
  __syncwarp();
#pragma unroll
  for (int m = 0; m < MT; ++m) {
#pragma unroll
    for (int n = 0; n < DIM / 8; ++n) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int at = (m * 16 + h * 8 + lane / 4) * kStride + n * 8 + lane % 4 * 2;
        words[at / 2] =
            pack_halves<T>(sum[m][n][2 * h] * factor[m][h], sum[m][n][2 * h + 1] * factor[m][h]);
      }
    }
  }
  __syncwarp();
#pragma unroll 4
  for (int i = lane; i < MT * 16 * kPacks; i += kWarp) {
    const int row = i / kPacks, d = i % kPacks * kPack;
    T* const to = row_of(row);
    if (to == nullptr || d >= dim) continue;
    const Pack<T> pack = load_pack(tile + (row * kStride + d));
    if (wide) {
      store_pack(to + d, pack);
    } else {
      store_pack_partial(to + d, pack, dim - d);
    }
  }
}

// Over the four lanes that share a row; the order does not depend on the lane.
__device__ __forceinline__ float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(kFullWarp, x, 1));
  return fmaxf(x, __shfl_xor_sync(kFullWarp, x, 2));
}
__device__ __forceinline__ float quad_sum(float x) {
  x += __shfl_xor_sync(kFullWarp, x, 1);
  return x + __shfl_xor_sync(kFullWarp, x, 2);
}

// Rows of a block's tiles, by the width of the head. Chosen by registers (0 spills, two blocks a
// multiprocessor or three) and by what a product reads of shared memory, which bounds these
// kernels: MT = 2 halves it.
template <int DIM>
struct MmaPlan;
template <>
struct MmaPlan<64> {
  static constexpr int kWarps = 4;
  static constexpr int kKeys = 64, kForwardTiles = 2;        // forward: keys a step, MT
  static constexpr int kBackwardKeys = 32, kQueryTiles = 2;  // d q
  static constexpr int kBackwardQueries = 32;                // d k and d v: queries a step
};
template <>
struct MmaPlan<128> {
  static constexpr int kWarps = 4;
  static constexpr int kKeys = 32, kForwardTiles = 2;
  static constexpr int kBackwardKeys = 32, kQueryTiles = 1;
  static constexpr int kBackwardQueries = 32;
};

// For generic lambdas.
template <bool VALUE>
struct Known {
  static constexpr bool value = VALUE;
};

constexpr float kLog2E = 1.4426950408889634f;

}  // namespace firesteel
