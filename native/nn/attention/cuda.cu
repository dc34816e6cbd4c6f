// Which kernels serve which dtype and head, and their grids. f32 goes through the CUDA cores
// (cuda_f32.h), 16-bit values through the tensor cores (cuda_mma_*.h).
#include "nn/attention/attention.h"
#include "nn/attention/cuda_f32.h"
#include "nn/attention/cuda_mma_backward.h"
#include "nn/attention/cuda_mma_forward.h"
#include "runtime/cuda/context.h"
#include "runtime/cuda/launch.h"

namespace firesteel {
namespace {

// ---- f32 ----

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
Status forward_f32(Context& context, const AttentionArgs& a) {
  // One new query per row, or little more: a tile of 32 would idle but for one.
  if (a.queries <= 4 * a.rows) {
    const Tiling one{a.queries, a.rows, a.heads, a.head_dim, 1, 1, 1 + 2 * kWarp, 1};
    return launch_tiles(context, "attention", one, attention_forward_kernel<CHUNKS, 1, 1>, a);
  }
  constexpr int kRows = TilePlan<CHUNKS>::kRows, kWarps = kTile / kRows;
  const Tiling tiles{a.queries, a.rows, a.heads,           a.head_dim,
                     kTile,     kWarps, kTile + 2 * kWarp, kTile};
  return launch_tiles(context, "attention", tiles, attention_forward_kernel<CHUNKS, kWarps, kRows>,
                      a);
}

template <int CHUNKS>
Status backward_f32(Context& context, const AttentionBackwardArgs& a) {
  using Plan = TilePlan<CHUNKS>;
  constexpr int kRows = Plan::kQueryRows, kWarps = kTile / kRows;
  constexpr int kKeyRows = Plan::kKeyRows, kKeyWarps = kTile / kKeyRows;
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
  if (a.head_dim <= 64) return forward_f32<2>(context, a);
  if (a.head_dim <= 128) return forward_f32<4>(context, a);
  return forward_f32<8>(context, a);
}

Status backward_f32(Context& context, const AttentionBackwardArgs& a) {
  if (a.head_dim <= 64) return backward_f32<2>(context, a);
  if (a.head_dim <= 128) return backward_f32<4>(context, a);
  return backward_f32<8>(context, a);
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
