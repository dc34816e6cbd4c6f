// Tiled attention on the CUDA cores. A block owns a few consecutive queries (in dk_dv: keys) of one
// row and one head, a warp some of them, and walks the other side 32 at a time through shared
// memory: a lane is one key (query) while scores are taken and a few elements of the head while
// they are spent. The chain of operations behind a number depends on its row alone, never on the
// tile it fell in, so decoding (one query a block) and training (32) give the same bits.
//
// A score that the causal mask hides is skipped, not multiplied by 0: NaN or inf in a later token
// does not reach an earlier one.
#pragma once
#include "nn/attention/attention.h"
#include "nn/attention/cuda_tile.h"
#include "runtime/cuda/ragged.h"

namespace firesteel {

__device__ __forceinline__ const float* f32(const void* x) {
  return static_cast<const float*>(x);
}
__device__ __forceinline__ float* f32(void* x) {
  return static_cast<float*>(x);
}

// WARPS * ROWS queries of one row and head; CHUNKS * 32 >= head_dim. Here and below the launch
// bounds ask for one block per multiprocessor: left alone, ptxas spills registers to fit another.
template <int CHUNKS, int WARPS, int ROWS>
__global__ void __launch_bounds__(WARPS* kWarp, 1) attention_forward_kernel(AttentionArgs a) {
  constexpr int kQueries = WARPS * ROWS;
  const int dim = static_cast<int>(a.head_dim), stride = tile_stride(dim);
  const int64_t head = blockIdx.x % a.heads, kv_head = head / (a.heads / a.kv_heads);
  const RaggedTile at = ragged_tile(a.query_offsets, a.rows, kQueries, blockIdx.x / a.heads);
  if (at.count == 0) return;
  const int64_t first_query = at.first + at.begin;
  const int64_t first_key = a.key_offsets[at.row];
  const int row_keys = static_cast<int>(a.key_offsets[at.row + 1] - first_key);
  const int first_position = row_keys - at.items + at.begin;
  const int seen_keys = first_position + at.count;

  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const SharedPtr<float> queries = dynamic_smem<float>();
  const SharedPtr<float> keys = queries + kQueries * stride;
  const SharedPtr<float> values = keys + kWarp * stride;
  const SharedPtr<float> weights = values + kWarp * stride + warp * ROWS * kWarp;
  const SharedPtr<float> own_queries = queries + warp * ROWS * stride;
  const int own_position = first_position + warp * ROWS;

  load_tile(queries, kQueries, at.count, dim,
            [&](int i) { return f32(a.q) + (first_query + i) * a.q_stride + head * dim; });

  float max[ROWS], total[ROWS], sum[ROWS][CHUNKS] = {};
#pragma unroll
  for (int i = 0; i < ROWS; ++i) {
    max[i] = -INFINITY;
    total[i] = 0.0f;
  }
  for (int k0 = 0; k0 < seen_keys; k0 += kWarp) {
    const auto offset = [&](int j) {
      const int64_t key = first_key + k0 + j, slot = a.key_index ? a.key_index[key] : key;
      return slot * a.kv_stride + kv_head * dim;
    };
    __syncthreads();
    load_tile(keys, kWarp, seen_keys - k0, dim, [&](int j) { return f32(a.k) + offset(j); });
    load_tile(values, kWarp, seen_keys - k0, dim, [&](int j) { return f32(a.v) + offset(j); });
    __syncthreads();

    float score[ROWS];
    dots(keys + lane * stride, own_queries, dim, score);
#pragma unroll
    for (int i = 0; i < ROWS; ++i) {
      const bool sees = k0 + lane <= own_position + i;
      score[i] = sees ? score[i] * a.scale : -INFINITY;
      const float new_max = fmaxf(max[i], warp_max(score[i]));
      // Nothing but -inf so far: any finite reference keeps the differences from being NaN.
      const float reference = new_max == -INFINITY ? 0.0f : new_max;
      const float weight = sees ? expf(score[i] - reference) : 0.0f;
      const float shrink = expf(max[i] - reference);
      total[i] = fmaf(total[i], shrink, warp_sum(weight));
      max[i] = new_max;
#pragma unroll
      for (int c = 0; c < CHUNKS; ++c) sum[i][c] *= shrink;
      weights[i * kWarp + lane] = weight;
    }
    __syncwarp();
    spend(weights, values, dim, sum, [&](int i, int j) { return k0 + j <= own_position + i; });
  }

#pragma unroll
  for (int i = 0; i < ROWS; ++i) {
    const int query = warp * ROWS + i;
    if (query >= at.count) continue;
    const int64_t to = (first_query + query) * a.heads + head;
    store_token(f32(a.out) + to * dim, dim, sum[i], 1.0f / total[i]);
    if (a.stats != nullptr && lane == 0) {
      a.stats[2 * to] = max[i];
      a.stats[2 * to + 1] = total[i];
    }
  }
}

// d_q, and delta = out . d_out of every query for dk_dv.
template <int CHUNKS, int WARPS, int ROWS>
__global__ void __launch_bounds__(WARPS* kWarp, 1) attention_d_q_kernel(AttentionBackwardArgs a) {
  constexpr int kQueries = WARPS * ROWS;
  const int dim = static_cast<int>(a.head_dim), stride = tile_stride(dim);
  const int64_t head = blockIdx.x % a.heads, kv_head = head / (a.heads / a.kv_heads);
  const RaggedTile at = ragged_tile(a.row_offsets, a.rows, kQueries, blockIdx.x / a.heads);
  if (at.count == 0) return;
  const int64_t first_query = at.first + at.begin;
  const int seen_keys = at.begin + at.count;

  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const SharedPtr<float> queries = dynamic_smem<float>();
  const SharedPtr<float> d_outs = queries + kQueries * stride;
  const SharedPtr<float> keys = d_outs + kQueries * stride;
  const SharedPtr<float> values = keys + kWarp * stride;
  const SharedPtr<float> d_scores = values + kWarp * stride + warp * ROWS * kWarp;
  const SharedPtr<float> own_queries = queries + warp * ROWS * stride;
  const SharedPtr<float> own_d_outs = d_outs + warp * ROWS * stride;
  const int own_position = at.begin + warp * ROWS;

  load_tile(queries, kQueries, at.count, dim,
            [&](int i) { return f32(a.q) + (first_query + i) * a.q_stride + head * dim; });
  load_tile(d_outs, kQueries, at.count, dim,
            [&](int i) { return f32(a.d_out) + ((first_query + i) * a.heads + head) * dim; });
  __syncthreads();

  float* const deltas = static_cast<float*>(a.workspace);
  float max[ROWS], inverse[ROWS], delta[ROWS], sum[ROWS][CHUNKS] = {};
#pragma unroll
  for (int i = 0; i < ROWS; ++i) {
    const bool live = warp * ROWS + i < at.count;
    const int64_t query = (first_query + warp * ROWS + i) * a.heads + head;
    max[i] = live ? a.stats[2 * query] : 0.0f;
    inverse[i] = live ? 1.0f / a.stats[2 * query + 1] : 0.0f;
    float part = 0.0f;
    for (int d = lane; live && d < dim; d += kWarp) {
      part = fmaf(f32(a.out)[query * dim + d], own_d_outs[i * stride + d], part);
    }
    delta[i] = warp_sum(part);
    if (live && lane == 0) deltas[query] = delta[i];
  }

  for (int k0 = 0; k0 < seen_keys; k0 += kWarp) {
    __syncthreads();
    load_tile(keys, kWarp, seen_keys - k0, dim,
              [&](int j) { return f32(a.k) + (at.first + k0 + j) * a.kv_stride + kv_head * dim; });
    load_tile(values, kWarp, seen_keys - k0, dim,
              [&](int j) { return f32(a.v) + (at.first + k0 + j) * a.kv_stride + kv_head * dim; });
    __syncthreads();

    float score[ROWS], d_weight[ROWS];
    dots(keys + lane * stride, own_queries, dim, score);
    dots(values + lane * stride, own_d_outs, dim, d_weight);
#pragma unroll
    for (int i = 0; i < ROWS; ++i) {
      const float weight = expf(score[i] * a.scale - max[i]) * inverse[i];
      d_scores[i * kWarp + lane] = weight * (d_weight[i] - delta[i]);
    }
    __syncwarp();
    spend(d_scores, keys, dim, sum, [&](int i, int j) { return k0 + j <= own_position + i; });
  }

#pragma unroll
  for (int i = 0; i < ROWS; ++i) {
    const int query = warp * ROWS + i;
    if (query >= at.count) continue;
    store_token(f32(a.d_q) + ((first_query + query) * a.heads + head) * dim, dim, sum[i], a.scale);
  }
}

// d_k and d_v of WARPS * ROWS keys of one row and key head: the sum over the head's queries, heads
// outermost, then queries ascending.
template <int CHUNKS, int WARPS, int ROWS>
__global__ void __launch_bounds__(WARPS* kWarp, 1) attention_dk_dv_kernel(AttentionBackwardArgs a) {
  constexpr int kKeys = WARPS * ROWS;
  static_assert(kKeys == kWarp, "the first query tile starts at the first key");
  const int dim = static_cast<int>(a.head_dim), stride = tile_stride(dim);
  const int64_t kv_head = blockIdx.x % a.kv_heads, heads_each = a.heads / a.kv_heads;
  const RaggedTile at = ragged_tile(a.row_offsets, a.rows, kKeys, blockIdx.x / a.kv_heads);
  if (at.count == 0) return;

  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const SharedPtr<float> keys = dynamic_smem<float>();
  const SharedPtr<float> values = keys + kKeys * stride;
  const SharedPtr<float> queries = values + kKeys * stride;
  const SharedPtr<float> d_outs = queries + kWarp * stride;
  const SharedPtr<float> weights = d_outs + kWarp * stride + warp * 2 * ROWS * kWarp;
  const SharedPtr<float> d_scores = weights + ROWS * kWarp;
  const SharedPtr<float> own_keys = keys + warp * ROWS * stride;
  const SharedPtr<float> own_values = values + warp * ROWS * stride;
  const int own_position = at.begin + warp * ROWS;

  load_tile(keys, kKeys, at.count, dim, [&](int j) {
    return f32(a.k) + (at.first + at.begin + j) * a.kv_stride + kv_head * dim;
  });
  load_tile(values, kKeys, at.count, dim, [&](int j) {
    return f32(a.v) + (at.first + at.begin + j) * a.kv_stride + kv_head * dim;
  });

  const float* const deltas = static_cast<const float*>(a.workspace);
  float sum_k[ROWS][CHUNKS] = {}, sum_v[ROWS][CHUNKS] = {};
  for (int64_t head = kv_head * heads_each; head < (kv_head + 1) * heads_each; ++head) {
    for (int q0 = at.begin; q0 < at.items; q0 += kWarp) {
      __syncthreads();
      load_tile(queries, kWarp, at.items - q0, dim,
                [&](int i) { return f32(a.q) + (at.first + q0 + i) * a.q_stride + head * dim; });
      load_tile(d_outs, kWarp, at.items - q0, dim,
                [&](int i) { return f32(a.d_out) + ((at.first + q0 + i) * a.heads + head) * dim; });
      __syncthreads();

      const bool live = q0 + lane < at.items;
      const int64_t query = (at.first + q0 + lane) * a.heads + head;
      const float max = live ? a.stats[2 * query] : 0.0f;
      const float inverse = live ? 1.0f / a.stats[2 * query + 1] : 0.0f;
      const float delta = live ? deltas[query] : 0.0f;
      float score[ROWS], d_weight[ROWS];
      dots(queries + lane * stride, own_keys, dim, score);
      dots(d_outs + lane * stride, own_values, dim, d_weight);
#pragma unroll
      for (int j = 0; j < ROWS; ++j) {
        const float weight = expf(score[j] * a.scale - max) * inverse;
        weights[j * kWarp + lane] = weight;
        d_scores[j * kWarp + lane] = weight * (d_weight[j] - delta);
      }
      __syncwarp();
      const auto sees = [&](int j, int i) {
        return q0 + i < at.items && own_position + j <= q0 + i;
      };
      spend(weights, d_outs, dim, sum_v, sees);
      spend(d_scores, queries, dim, sum_k, sees);
    }
  }

#pragma unroll
  for (int j = 0; j < ROWS; ++j) {
    const int key = warp * ROWS + j;
    if (key >= at.count) continue;
    const int64_t to = ((at.first + at.begin + key) * a.kv_heads + kv_head) * dim;
    store_token(f32(a.d_k) + to, dim, sum_k[j], a.scale);
    store_token(f32(a.d_v) + to, dim, sum_v[j], 1.0f);
  }
}

// Queries of a tile in training, and keys of one in dk_dv.
constexpr int kTile = 32;

// Rows a warp holds, by the width of the head in units of 32: wide heads leave registers for fewer
// (test/build/cudaBudgets.ts).
template <int CHUNKS>
struct TilePlan {
  static constexpr int kRows = CHUNKS <= 4 ? 8 : 4;
  static constexpr int kQueryRows = CHUNKS <= 2 ? 8 : 4;
  static constexpr int kKeyRows = CHUNKS <= 4 ? 4 : 2;  // twice the sums
};

}  // namespace firesteel
