// Attention of bf16 and f16 on tensor cores: FlashAttention-2 (Dao, 2023), algorithm 1. A block
// owns WARPS * MT * 16 rows, which are queries of one row and head, or, where a row has few of
// them, (query, head) pairs of one key head. It walks the keys in blocks of KEYS from the row's
// first, the next block on its way while this one is multiplied. Statistics are f32; a weight is
// exp2 of its score's distance from the maximum so far, rounded to T for the product with v.
//
// The chain of operations behind a number depends on its row of queries and keys alone: neither on
// where in a tile it falls nor on WARPS and MT. So decoding and training give the same bits.
#pragma once
#include "nn/attention/attention.h"
#include "nn/attention/cuda_mma.h"
#include "runtime/cuda/ragged.h"

namespace firesteel {

struct MmaForward : AttentionArgs {
  int pack;       // heads of one key head that share a block
  int parts;      // ceil(heads / kv_heads / pack)
  int64_t tiles;  // ragged tiles of `queries` queries
  int tile;       // WARPS * MT * 16 / pack queries
  bool wide;      // rows of all arrays may be accessed by packs
};

template <class T, int DIM, int KEYS, int WARPS, int MT>
__global__ void __launch_bounds__(WARPS* kWarp) attention_mma_forward_kernel(const MmaForward a) {
  constexpr int kRows = WARPS * MT * 16, kStride = kMmaStride<DIM>, kThreads = WARPS * kWarp;
  const int dim = static_cast<int>(a.head_dim), group = static_cast<int>(a.heads / a.kv_heads);
  // Late tiles see the most keys: they start first.
  const int64_t per_tile = a.kv_heads * a.parts, place = blockIdx.x % per_tile;
  const RaggedTile at =
      ragged_tile(a.query_offsets, a.rows, a.tile, a.tiles - 1 - blockIdx.x / per_tile);
  if (at.count == 0) return;
  const int64_t kv_head = place / a.parts;
  const int first_head = static_cast<int>(place % a.parts) * a.pack;
  const int heads = group - first_head < a.pack ? group - first_head : a.pack;
  const int64_t head = kv_head * group + first_head;
  const int64_t first_query = at.first + at.begin, first_key = a.key_offsets[at.row];
  const int row_keys = static_cast<int>(a.key_offsets[at.row + 1] - first_key);
  const int first_position = row_keys - at.items + at.begin;
  const int seen_keys = first_position + at.count;

  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, own = warp * MT * 16;
  const SharedPtr<T> queries = dynamic_smem<T>();
  const SharedPtr<T> keys = queries + kRows * kStride;
  const SharedPtr<T> values = keys + 2 * KEYS * kStride;
  const SharedPtr<T> own_queries = queries + own * kStride;

  const auto load_keys = [&](int k0) {
    const auto row_of = [&](const void* base, int j) {
      const int64_t key = first_key + k0 + j, slot = a.key_index ? a.key_index[key] : key;
      return static_cast<const T*>(base) + slot * a.kv_stride + kv_head * dim;
    };
    const int buffer = k0 / KEYS % 2 * KEYS * kStride;
    load_rows<DIM, KEYS, kThreads>(keys + buffer, seen_keys - k0, dim, a.wide,
                                   [&](int j) { return row_of(a.k, j); });
    load_rows<DIM, KEYS, kThreads>(values + buffer, seen_keys - k0, dim, a.wide,
                                   [&](int j) { return row_of(a.v, j); });
    cp_async_commit();
  };
  // Row r of the block is head r % pack of query r / pack; the first is always one of them.
  const auto element = [&](int r, int64_t stride) {
    return (first_query + r / a.pack) * stride + (head + r % a.pack) * dim;
  };
  const auto is_live = [&](int r) { return r / a.pack < at.count && r % a.pack < heads; };
  load_rows<DIM, kRows, kThreads>(queries, kRows, dim, a.wide, [&](int r) {
    return static_cast<const T*>(a.q) + element(is_live(r) ? r : 0, a.q_stride);
  });
  load_keys(0);

  const float factor = fabsf(a.scale) * kLog2E;
  float max[MT][2], total[MT][2], sum[MT][DIM / 8][4];
#pragma unroll
  for (int m = 0; m < MT; ++m) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      max[m][h] = -INFINITY;
      total[m][h] = 0.0f;
    }
#pragma unroll
    for (int n = 0; n < DIM / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) sum[m][n][i] = 0.0f;
    }
  }

  const auto attend = [&](auto masked, const Sight<false>& sight, int buffer) {
    constexpr bool kMasked = decltype(masked)::value;
    float score[MT][KEYS / 8][4];
    multiply_rows<DIM>(score, own_queries, keys + buffer);
    float shrink[MT][2];
    bool shrinks = false;
#pragma unroll
    for (int m = 0; m < MT; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int bound = sight.bound(m * 16 + h * 8 + lane / 4);
        float top = max[m][h];
#pragma unroll
        for (int i = 0; i < KEYS / 4; ++i) {
          float& x = score[m][i / 2][2 * h + i % 2];
          if (a.scale < 0.0f) x = -x;
          if (kMasked && i / 2 * 8 + lane % 4 * 2 + i % 2 > bound) x = -INFINITY;
          top = fmaxf(top, x);
        }
        top = quad_max(top);
        // Nothing but -inf so far: any finite reference keeps the differences from being NaN.
        const float reference = top == -INFINITY ? 0.0f : top * factor;
        // Not fused: exactly 1 where the maximum stays, as in a block that the row does not see.
        shrink[m][h] = max[m][h] == -INFINITY ? 0.0f : exp2_approx(max[m][h] * factor - reference);
        shrinks = shrinks || shrink[m][h] != 1.0f;
        max[m][h] = top;
        float part = 0.0f;
#pragma unroll
        for (int i = 0; i < KEYS / 4; ++i) {
          float& x = score[m][i / 2][2 * h + i % 2];
          const bool sees = !kMasked || i / 2 * 8 + lane % 4 * 2 + i % 2 <= bound;
          x = sees ? exp2_approx(fmaf(x, factor, -reference)) : 0.0f;
          part += x;
        }
        total[m][h] = fmaf(total[m][h], shrink[m][h], part);
      }
    }
    if (__any_sync(kFullWarp, shrinks)) {
#pragma unroll
      for (int m = 0; m < MT; ++m) {
#pragma unroll
        for (int n = 0; n < DIM / 8; ++n) {
#pragma unroll
          for (int i = 0; i < 4; ++i) sum[m][n][i] *= shrink[m][i / 2];
        }
      }
    }
    spend_rows<DIM, kMasked>(sum, score, values + buffer, sight);
  };

  for (int k0 = 0; k0 < seen_keys; k0 += KEYS) {
    cp_async_wait<0>();
    __syncthreads();
    if (k0 + KEYS < seen_keys) load_keys(k0 + KEYS);
    const Sight<false> sight{first_position - k0, own, a.pack};
    const int buffer = k0 / KEYS % 2 * KEYS * kStride;
    if (sight.all(0, MT * 16, 0, KEYS)) {
      attend(Known<false>{}, sight, buffer);
    } else if (sight.any(0, MT * 16, 0, KEYS)) {
      attend(Known<true>{}, sight, buffer);
    }
  }

  float inverse[MT][2];
#pragma unroll
  for (int m = 0; m < MT; ++m) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float whole = quad_sum(total[m][h]);
      inverse[m][h] = 1.0f / whole;
      const int r = own + m * 16 + h * 8 + lane / 4;
      if (a.stats == nullptr || lane % 4 != 0 || !is_live(r)) continue;
      float* const stats = a.stats + 2 * ((first_query + r / a.pack) * a.heads + head + r % a.pack);
      stats[0] = max[m][h] * fabsf(a.scale);
      stats[1] = whole;
    }
  }
  store_rows<DIM>(dynamic_smem<uint32_t>() + own * kStride / 2, own_queries, sum, inverse, dim,
                  a.wide, [&](int r) {
                    return is_live(own + r)
                               ? static_cast<T*>(a.out) + element(own + r, a.heads * dim)
                               : nullptr;
                  });
}

}  // namespace firesteel
