// Tiled attention on the CUDA cores. A block owns a few consecutive queries (in dk_dv: keys) of one
// row and one head, a warp some of them, and walks the other side 32 at a time through shared
// memory: a lane is one key (query) while scores are taken and a few elements of the head while
// they are spent. The chain of operations behind a number depends on its row alone, never on the
// tile it fell in, so decoding (one query a block) and training (32) give the same bits.
//
// A score that the causal mask hides is skipped, not multiplied by 0: NaN or inf in a later token
// does not reach an earlier one.
#include "nn/attention/attention.h"
#include "nn/attention/cuda_mma_backward.h"
#include "nn/attention/cuda_mma_forward.h"
#include "nn/attention/cuda_tile.h"
#include "runtime/cuda/context.h"
#include "runtime/cuda/launch.h"
#include "runtime/cuda/ragged.h"
#include "runtime/cuda/reduce.h"

namespace firesteel {
namespace {

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

// Of the training tiles. dk_dv has twice the sums to hold, hence half the keys a warp.
constexpr int kTile = 32;
constexpr int kWarps = 4, kRows = kTile / kWarps;
constexpr int kKeyWarps = 8, kKeyRows = kTile / kKeyWarps;

// One block for each tile of `tile` items and each head. A block holds `tokens` tokens and
// `weights` rows of 32 weights in shared memory.
struct Tiling {
  int64_t items, rows, heads, head_dim;
  int tile, warps, tokens, weights;
};

template <class Args>
Status launch_tiles(Context& context, const char* name, const Tiling& t, void (*kernel)(Args),
                    const Args& args) {
  const int64_t blocks = ragged_tiles(t.items, t.rows, t.tile) * t.heads;
  if (blocks > kMaxGridX) return Status::error(Code::range, "attention: too many tokens and heads");
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(blocks));
  shape.block = dim3(static_cast<unsigned>(t.warps * kWarp));
  const int floats = t.tokens * tile_stride(static_cast<int>(t.head_dim)) + t.weights * kWarp;
  shape.dynamic_smem = sizeof(float) * static_cast<size_t>(floats);
  return launch(context, name, shape, kernel, args);
}

template <int CHUNKS>
Status forward(Context& context, const AttentionArgs& a) {
  // One new query per row, or little more: a tile of 32 would idle but for one.
  if (a.queries <= 4 * a.rows) {
    const Tiling one{a.queries, a.rows, a.heads, a.head_dim, 1, 1, 1 + 2 * kWarp, 1};
    return launch_tiles(context, "attention", one, attention_forward_kernel<CHUNKS, 1, 1>, a);
  }
  const Tiling tiles{a.queries, a.rows, a.heads,           a.head_dim,
                     kTile,     kWarps, kTile + 2 * kWarp, kTile};
  return launch_tiles(context, "attention", tiles, attention_forward_kernel<CHUNKS, kWarps, kRows>,
                      a);
}

template <int CHUNKS>
Status backward(Context& context, const AttentionBackwardArgs& a) {
  Tiling tiles{a.tokens, a.rows, a.heads, a.head_dim, kTile, kWarps, 2 * kTile + 2 * kWarp, kTile};
  const Status status = launch_tiles(context, "attention_backward", tiles,
                                     attention_d_q_kernel<CHUNKS, kWarps, kRows>, a);
  if (!status.ok()) return status;
  tiles.heads = a.kv_heads;
  tiles.warps = kKeyWarps;
  tiles.weights = 2 * kTile;
  return launch_tiles(context, "attention_backward", tiles,
                      attention_dk_dv_kernel<CHUNKS, kKeyWarps, kKeyRows>, a);
}

Status forward_f32(Context& context, const AttentionArgs& a) {
  if (a.head_dim <= 64) return forward<2>(context, a);
  if (a.head_dim <= 128) return forward<4>(context, a);
  return forward<8>(context, a);
}

Status backward_f32(Context& context, const AttentionBackwardArgs& a) {
  if (a.head_dim <= 64) return backward<2>(context, a);
  if (a.head_dim <= 128) return backward<4>(context, a);
  return backward<8>(context, a);
}

// ---- bf16 and f16 ----

// `rows` rows of shared tiles.
template <int DIM, class Args>
Status launch_mma(Context& context, const char* name, void (*kernel)(Args), const Args& args,
                  int64_t blocks, int warps, int rows, size_t more = 0) {
  if (blocks > kMaxGridX) return Status::error(Code::range, "attention: too many tokens and heads");
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(blocks));
  shape.block = dim3(static_cast<unsigned>(warps * kWarp));
  shape.dynamic_smem = static_cast<size_t>(rows * kMmaStride<DIM> * 2) + more;
  return launch(context, name, shape, kernel, args);
}

template <class T>
bool all_wide(int64_t dim, int64_t q_stride, int64_t kv_stride, const void* q, const void* k,
              const void* v, const void* out) {
  const auto aligned = [](const void* p, int64_t stride) {
    return pack_aligned(static_cast<const T*>(p), stride);
  };
  return dim % Pack<T>::size == 0 && aligned(q, q_stride) && aligned(k, kv_stride) &&
         aligned(v, kv_stride) && aligned(out, 0);
}

template <class T, int DIM, int WARPS, int MT>
Status forward_mma(Context& context, MmaForward a) {
  using Plan = MmaPlan<DIM>;
  constexpr int kRows = WARPS * MT * 16;
  a.parts = static_cast<int>((a.heads / a.kv_heads + a.pack - 1) / a.pack);
  a.tile = kRows / a.pack;
  a.tiles = ragged_tiles(a.queries, a.rows, a.tile);
  return launch_mma<DIM>(context, "attention",
                         attention_mma_forward_kernel<T, DIM, Plan::kKeys, WARPS, MT>, a,
                         a.tiles * a.kv_heads * a.parts, WARPS, kRows + 4 * Plan::kKeys);
}

template <class T, int DIM>
Status forward_16(Context& context, const AttentionArgs& args) {
  MmaForward a{};
  static_cast<AttentionArgs&>(a) = args;
  a.wide = all_wide<T>(a.head_dim, a.q_stride, a.kv_stride, a.q, a.k, a.v, a.out);
  if (a.queries <= 4 * a.rows) {  // the heads of a key head share its keys, read once
    const int64_t group = a.heads / a.kv_heads;
    a.pack = group < 16 ? static_cast<int>(group) : 16;
    return forward_mma<T, DIM, 1, 1>(context, a);
  }
  a.pack = 1;
  return forward_mma<T, DIM, MmaPlan<DIM>::kWarps, MmaPlan<DIM>::kForwardTiles>(context, a);
}

template <class T, int DIM>
Status backward_16(Context& context, const AttentionBackwardArgs& args) {
  using Plan = MmaPlan<DIM>;
  MmaBackward a{};
  static_cast<AttentionBackwardArgs&>(a) = args;
  a.log2_sum = static_cast<float*>(a.workspace);
  a.delta = a.log2_sum + a.tokens * a.heads;
  a.wide = all_wide<T>(a.head_dim, a.q_stride, a.kv_stride, a.q, a.k, a.v, a.out) &&
           all_wide<T>(a.head_dim, 0, 0, a.d_out, a.d_q, a.d_k, a.d_v);

  constexpr int kThreads = 256, kLanes = DIM / Pack<T>::size;
  LaunchShape shape;
  const int64_t blocks = (a.tokens * a.heads * kLanes + kThreads - 1) / kThreads;
  if (blocks > kMaxGridX) return Status::error(Code::range, "attention: too many tokens and heads");
  shape.grid = dim3(static_cast<unsigned>(blocks));
  shape.block = dim3(kThreads);
  const Status delta =
      launch(context, "attention_backward", shape, attention_mma_delta_kernel<T, DIM>, a);
  if (!delta.ok()) return delta;

  constexpr int kRows = Plan::kWarps * Plan::kQueryTiles * 16, kKeys = Plan::kBackwardKeys;
  a.tiles = ragged_tiles(a.tokens, a.rows, kRows);
  const Status d_q =
      launch_mma<DIM>(context, "attention_backward",
                      attention_mma_d_q_kernel<T, DIM, kKeys, Plan::kWarps, Plan::kQueryTiles>, a,
                      a.tiles * a.heads, Plan::kWarps, 2 * kRows + 4 * kKeys);
  if (!d_q.ok()) return d_q;

  constexpr int kOwnKeys = Plan::kWarps * 16, kQueries = Plan::kBackwardQueries;
  a.tiles = ragged_tiles(a.tokens, a.rows, kOwnKeys);
  return launch_mma<DIM>(context, "attention_backward",
                         attention_mma_dk_dv_kernel<T, DIM, kQueries, Plan::kWarps>, a,
                         a.tiles * a.kv_heads, Plan::kWarps, 2 * kOwnKeys + 4 * kQueries,
                         4 * kQueries * sizeof(float));
}

template <class T>
Status forward_16(Context& context, const AttentionArgs& a) {
  if (a.head_dim <= 64) return forward_16<T, 64>(context, a);
  if (a.head_dim <= 128) return forward_16<T, 128>(context, a);
  return Status::error(Code::range, "attention: a head of 16-bit values has at most 128");
}

template <class T>
Status backward_16(Context& context, const AttentionBackwardArgs& a) {
  if (a.head_dim <= 64) return backward_16<T, 64>(context, a);
  if (a.head_dim <= 128) return backward_16<T, 128>(context, a);
  return Status::error(Code::range, "attention: a head of 16-bit values has at most 128");
}

}  // namespace

Status attention_forward(Context& context, const AttentionArgs& a) {
  if (a.queries == 0 || a.rows == 0) return {};
  switch (a.dtype) {
    case DType::bf16:
      return forward_16<bf16>(context, a);
    case DType::f16:
      return forward_16<f16>(context, a);
    default:
      return forward_f32(context, a);
  }
}

int64_t attention_backward_workspace(DType dtype, int64_t tokens, int64_t heads) {
  return (dtype == DType::f32 ? 1 : 2) * tokens * heads * static_cast<int64_t>(sizeof(float));
}

Status attention_backward(Context& context, const AttentionBackwardArgs& a) {
  if (a.tokens == 0 || a.rows == 0) return {};
  switch (a.dtype) {
    case DType::bf16:
      return backward_16<bf16>(context, a);
    case DType::f16:
      return backward_16<f16>(context, a);
    default:
      return backward_f32(context, a);
  }
}

}  // namespace firesteel
