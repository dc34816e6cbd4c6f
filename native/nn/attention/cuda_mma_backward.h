// Gradients of attention of bf16 and f16 on tensor cores: FlashAttention-2 (Dao, 2023), algorithm
// 2, with its one loop told apart into two kernels, so that every sum has one owner and one order:
// d q by blocks of queries over their keys, d k and d v by blocks of keys over their queries. That
// multiplies scores and d weights twice (7 products instead of 5) and needs no atomics.
#pragma once
#include "nn/attention/attention.h"
#include "nn/attention/cuda_mma.h"
#include "runtime/cuda/ragged.h"

namespace firesteel {

struct MmaBackward : AttentionBackwardArgs {
  float *log2_sum, *delta;  // [heads, T]: log2 sum exp of the scaled scores; out . d_out
  int64_t tiles;            // ragged tiles of a block's rows
  bool wide;                // rows of all arrays may be accessed by packs
};

// DIM / 8 lanes for every token and head.
template <class T, int DIM>
__global__ void attention_mma_delta_kernel(const MmaBackward a) {
  constexpr int kPack = Pack<T>::size, kLanes = DIM / kPack;
  const int64_t rows = a.tokens * a.heads, thread = grid_thread();
  const int64_t row = thread / kLanes;
  const int dim = static_cast<int>(a.head_dim), d = static_cast<int>(thread % kLanes) * kPack;
  const int64_t left = row < rows ? dim - d : 0;
  const int64_t from = left > 0 ? row * dim + d : 0;
  const T *out = static_cast<const T*>(a.out) + from,
          *d_out = static_cast<const T*>(a.d_out) + from;
  const bool wide = a.wide && left > 0;
  const Pack<T> x = wide ? load_pack(out) : load_pack_partial(out, left, T{});
  const Pack<T> y = wide ? load_pack(d_out) : load_pack_partial(d_out, left, T{});
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kPack; ++i) sum = fmaf(widen(x.x[i]), widen(y.x[i]), sum);
#pragma unroll
  for (int distance = kLanes / 2; distance > 0; distance /= 2) {
    sum += __shfl_xor_sync(kFullWarp, sum, distance);
  }
  if (row >= rows || d != 0) return;
  const int64_t at = row % a.heads * a.tokens + row / a.heads;
  a.log2_sum[at] = fmaf(a.stats[2 * row], kLog2E, log2f(a.stats[2 * row + 1]));
  a.delta[at] = sum;
}

template <class T, int DIM, int KEYS, int WARPS, int MT>
__global__ void __launch_bounds__(WARPS* kWarp) attention_mma_d_q_kernel(const MmaBackward a) {
  constexpr int kRows = WARPS * MT * 16, kStride = kMmaStride<DIM>, kThreads = WARPS * kWarp;
  const int dim = static_cast<int>(a.head_dim);
  const int64_t head = blockIdx.x % a.heads, kv_head = head / (a.heads / a.kv_heads);
  // Late tiles see the most keys: they start first.
  const RaggedTile at =
      ragged_tile(a.row_offsets, a.rows, kRows, a.tiles - 1 - blockIdx.x / a.heads);
  if (at.count == 0) return;
  const int64_t first_query = at.first + at.begin;
  const int seen_keys = at.begin + at.count;

  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, own = warp * MT * 16;
  const SharedPtr<T> queries = dynamic_smem<T>();
  const SharedPtr<T> d_outs = queries + kRows * kStride;
  const SharedPtr<T> keys = d_outs + kRows * kStride;
  const SharedPtr<T> values = keys + 2 * KEYS * kStride;
  const SharedPtr<T> own_queries = queries + own * kStride, own_d_outs = d_outs + own * kStride;

  const auto load_keys = [&](int k0) {
    const int64_t from = (at.first + k0) * a.kv_stride + kv_head * dim;
    const T *k = static_cast<const T*>(a.k) + from, *v = static_cast<const T*>(a.v) + from;
    const int buffer = k0 / KEYS % 2 * KEYS * kStride;
    load_rows<DIM, KEYS, kThreads>(keys + buffer, seen_keys - k0, dim, a.wide,
                                   [&](int j) { return k + j * a.kv_stride; });
    load_rows<DIM, KEYS, kThreads>(values + buffer, seen_keys - k0, dim, a.wide,
                                   [&](int j) { return v + j * a.kv_stride; });
    cp_async_commit();
  };
  load_rows<DIM, kRows, kThreads>(queries, at.count, dim, a.wide, [&](int i) {
    return static_cast<const T*>(a.q) + (first_query + i) * a.q_stride + head * dim;
  });
  load_rows<DIM, kRows, kThreads>(d_outs, at.count, dim, a.wide, [&](int i) {
    return static_cast<const T*>(a.d_out) + ((first_query + i) * a.heads + head) * dim;
  });
  load_keys(0);

  const float factor = a.scale * kLog2E;
  float log2_sum[MT][2], delta[MT][2], scales[MT][2], sum[MT][DIM / 8][4];
#pragma unroll
  for (int m = 0; m < MT; ++m) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int r = own + m * 16 + h * 8 + lane / 4;
      const int64_t query = head * a.tokens + first_query + (r < at.count ? r : 0);
      log2_sum[m][h] = a.log2_sum[query];
      delta[m][h] = a.delta[query];
      scales[m][h] = a.scale;
    }
#pragma unroll
    for (int n = 0; n < DIM / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) sum[m][n][i] = 0.0f;
    }
  }

  const auto attend = [&](auto masked, const Sight<false>& sight, int buffer) {
    constexpr bool kMasked = decltype(masked)::value;
    float d_score[MT][KEYS / 8][4], d_weight[MT][KEYS / 8][4];
    multiply_rows<DIM>(d_score, own_queries, keys + buffer);
    multiply_rows<DIM>(d_weight, own_d_outs, values + buffer);
#pragma unroll
    for (int m = 0; m < MT; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int bound = sight.bound(m * 16 + h * 8 + lane / 4);
#pragma unroll
        for (int i = 0; i < KEYS / 4; ++i) {
          float& x = d_score[m][i / 2][2 * h + i % 2];
          const float weight = exp2_approx(fmaf(x, factor, -log2_sum[m][h]));
          const bool sees = !kMasked || i / 2 * 8 + lane % 4 * 2 + i % 2 <= bound;
          x = sees ? weight * (d_weight[m][i / 2][2 * h + i % 2] - delta[m][h]) : 0.0f;
        }
      }
    }
    spend_rows<DIM, kMasked>(sum, d_score, keys + buffer, sight);
  };

  for (int k0 = 0; k0 < seen_keys; k0 += KEYS) {
    cp_async_wait<0>();
    __syncthreads();
    if (k0 + KEYS < seen_keys) load_keys(k0 + KEYS);
    const Sight<false> sight{at.begin - k0, own, 1};
    const int buffer = k0 / KEYS % 2 * KEYS * kStride;
    if (sight.all(0, MT * 16, 0, KEYS)) {
      attend(Known<false>{}, sight, buffer);
    } else if (sight.any(0, MT * 16, 0, KEYS)) {
      attend(Known<true>{}, sight, buffer);
    }
  }
  store_rows<DIM>(dynamic_smem<uint32_t>() + own * kStride / 2, own_queries, sum, scales, dim,
                  a.wide, [&](int r) {
                    return own + r < at.count ? static_cast<T*>(a.d_q) +
                                                    ((first_query + own + r) * a.heads + head) * dim
                                              : nullptr;
                  });
}

// The sums run over the key head's queries, heads outermost, then queries ascending.
template <class T, int DIM, int QUERIES, int WARPS>
__global__ void __launch_bounds__(WARPS* kWarp) attention_mma_dk_dv_kernel(const MmaBackward a) {
  constexpr int kRows = WARPS * 16, kStride = kMmaStride<DIM>, kThreads = WARPS * kWarp;
  static_assert(QUERIES <= kThreads, "a thread loads the statistics of one query");
  const int dim = static_cast<int>(a.head_dim);
  const int64_t kv_head = blockIdx.x % a.kv_heads, heads = a.heads / a.kv_heads;
  const RaggedTile at = ragged_tile(a.row_offsets, a.rows, kRows, blockIdx.x / a.kv_heads);
  if (at.count == 0) return;
  const int64_t first_key = at.first + at.begin;
  // Queries from the block's first key on, in blocks of QUERIES, for each head: so many steps.
  const int blocks = (at.items - at.begin + QUERIES - 1) / QUERIES;
  const int steps = blocks * static_cast<int>(heads);

  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, own = warp * 16;
  const SharedPtr<T> keys = dynamic_smem<T>();
  const SharedPtr<T> values = keys + kRows * kStride;
  const SharedPtr<T> queries = values + kRows * kStride;
  const SharedPtr<T> d_outs = queries + 2 * QUERIES * kStride;
  const SharedPtr<float> statistics =  // [2][log2_sum, delta][QUERIES]
      dynamic_smem<float>((2 * kRows + 4 * QUERIES) * kStride * sizeof(T));
  const SharedPtr<T> own_keys = keys + own * kStride, own_values = values + own * kStride;

  const auto load_queries = [&](int step) {
    const int q0 = at.begin + step % blocks * QUERIES;
    const int64_t head = kv_head * heads + step / blocks, query = at.first + q0;
    const T* const q = static_cast<const T*>(a.q) + query * a.q_stride + head * dim;
    const T* const d_out = static_cast<const T*>(a.d_out) + (query * a.heads + head) * dim;
    const int buffer = step % 2 * QUERIES * kStride;
    load_rows<DIM, QUERIES, kThreads>(queries + buffer, at.items - q0, dim, a.wide,
                                      [&](int i) { return q + i * a.q_stride; });
    load_rows<DIM, QUERIES, kThreads>(d_outs + buffer, at.items - q0, dim, a.wide,
                                      [&](int i) { return d_out + i * a.heads * dim; });
    cp_async_commit();
  };
  struct Statistics {
    float log2_sum, delta;
  };
  const auto read_statistics = [&](int step) -> Statistics {
    const int q0 = at.begin + step % blocks * QUERIES, i = static_cast<int>(threadIdx.x);
    if (i >= QUERIES || q0 + i >= at.items) return {0.0f, 0.0f};
    const int64_t query = (kv_head * heads + step / blocks) * a.tokens + at.first + q0 + i;
    return {a.log2_sum[query], a.delta[query]};
  };
  const auto keep_statistics = [&](int step, const Statistics& of) {
    if (threadIdx.x >= QUERIES) return;
    statistics[step % 2 * 2 * QUERIES + threadIdx.x] = of.log2_sum;
    statistics[(step % 2 * 2 + 1) * QUERIES + threadIdx.x] = of.delta;
  };
  load_rows<DIM, kRows, kThreads>(keys, at.count, dim, a.wide, [&](int j) {
    return static_cast<const T*>(a.k) + (first_key + j) * a.kv_stride + kv_head * dim;
  });
  load_rows<DIM, kRows, kThreads>(values, at.count, dim, a.wide, [&](int j) {
    return static_cast<const T*>(a.v) + (first_key + j) * a.kv_stride + kv_head * dim;
  });
  load_queries(0);
  keep_statistics(0, read_statistics(0));

  const float factor = a.scale * kLog2E;
  float sum_k[1][DIM / 8][4], sum_v[1][DIM / 8][4];
#pragma unroll
  for (int n = 0; n < DIM / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) sum_k[0][n][i] = sum_v[0][n][i] = 0.0f;
  }

  // `live` queries of the block exist.
  const auto attend = [&](auto masked, const Sight<true>& sight, int live, int step) {
    constexpr bool kMasked = decltype(masked)::value;
    const int buffer = step % 2 * QUERIES * kStride;
    const SharedPtr<float> of_block = statistics + step % 2 * 2 * QUERIES;
    float weight[1][QUERIES / 8][4], d_score[1][QUERIES / 8][4];
    multiply_rows<DIM>(weight, own_keys, queries + buffer);
    multiply_rows<DIM>(d_score, own_values, d_outs + buffer);
#pragma unroll
    for (int i = 0; i < QUERIES / 4; ++i) {
      const int query = i / 2 * 8 + lane % 4 * 2 + i % 2;
      const float log2_sum = of_block[query], delta = of_block[QUERIES + query];
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float &p = weight[0][i / 2][2 * h + i % 2], &d = d_score[0][i / 2][2 * h + i % 2];
        const bool sees = !kMasked || (query < live && sight.sees(h * 8 + lane / 4, query));
        p = sees ? exp2_approx(fmaf(p, factor, -log2_sum)) : 0.0f;
        d = sees ? p * (d - delta) : 0.0f;
      }
    }
    spend_rows<DIM, kMasked>(sum_v, weight, d_outs + buffer, sight);
    spend_rows<DIM, kMasked>(sum_k, d_score, queries + buffer, sight);
  };

  for (int step = 0; step < steps; ++step) {
    cp_async_wait<0>();
    __syncthreads();
    Statistics next{};
    if (step + 1 < steps) {
      load_queries(step + 1);
      next = read_statistics(step + 1);
    }
    const int q0 = step % blocks * QUERIES, live = at.items - at.begin - q0;
    const Sight<true> sight{-q0, own, 1};
    if (live >= QUERIES && sight.all(0, 16, 0, QUERIES)) {
      attend(Known<false>{}, sight, live, step);
    } else if (sight.any(0, 16, 0, QUERIES)) {
      attend(Known<true>{}, sight, live, step);
    }
    if (step + 1 < steps) keep_statistics(step + 1, next);
  }

  const float scales[1][2] = {{a.scale, a.scale}}, ones[1][2] = {{1.0f, 1.0f}};
  const SharedPtr<uint32_t> words = dynamic_smem<uint32_t>() + own * kStride / 2;
  const auto row_of = [&](void* base, int j) {
    const int64_t key = (first_key + own + j) * a.kv_heads + kv_head;
    return own + j < at.count ? static_cast<T*>(base) + key * dim : nullptr;
  };
  store_rows<DIM>(words, own_keys, sum_k, scales, dim, a.wide,
                  [&](int j) { return row_of(a.d_k, j); });
  store_rows<DIM>(words + kRows * kStride / 2, own_values, sum_v, ones, dim, a.wide,
                  [&](int j) { return row_of(a.d_v, j); });
}

}  // namespace firesteel
