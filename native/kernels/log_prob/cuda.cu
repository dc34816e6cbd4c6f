// log_prob on CUDA. Forward: one cluster of blocks per row (one block where the card has no
// clusters or the row is short); the row is read once, with one exp2 per element: a thread takes
// the maximum of a tile it holds in registers first. Backward: no reduction, so a row is cut into
// chunks of one block each.
//
// Everything is in the exp2 domain: t = x * c - base with c = log2(e) / temperature folded into one
// FMA. `base` is the row's maximum times c, rounded; that rounding is a common factor, so results
// are computed from t and the maximum itself, never from base alone.
#include "kernels/log_prob/log_prob.h"

#include "runtime/cuda/launch.h"
#include "runtime/cuda/ptx.h"
#include "runtime/cuda/reduce.h"

namespace firesteel {
namespace {

constexpr float kLog2e = 1.44269504088896340736f;
constexpr double kLn2 = 0.693147180559945309417;
constexpr float kLowest = -1000.0f;  // stands for -inf where exp2(t) = 0 is multiplied by t
constexpr int kTile = 4;  // packs a thread loads before it uses the first: 64 bytes in flight

// Rows up to `vocab` elements. By arithmetic, not yet by measurement: a thread gets 30 to 80
// elements of a row, enough blocks for a card's multiprocessors exist from about 32 rows on, and a
// cluster is never larger than 8, which every card with clusters can place.
struct Plan {
  int64_t vocab;
  int threads;
  int cluster;
};
constexpr Plan kClusterPlans[] = {
    {256, 32, 1},    {2048, 64, 1},   {8192, 128, 1},      {16384, 256, 1},
    {32768, 256, 2}, {65536, 256, 4}, {INT64_MAX, 256, 8},
};
constexpr Plan kBlockPlans[] = {
    {256, 32, 1},    {2048, 64, 1},   {8192, 128, 1},
    {32768, 256, 1}, {65536, 512, 1}, {INT64_MAX, 1024, 1},
};
constexpr int kMaxCluster = 8;
constexpr int kMaxPartials = 64;  // warps of a row: 8 blocks of 8, or one of 32

Plan plan_for(const Context& context, int64_t vocab) {
  const Plan* plan = context.max_cluster >= kMaxCluster ? kClusterPlans : kBlockPlans;
  while (vocab > plan->vocab) ++plan;
  return *plan;
}

// What is known of the part of a row that was seen: its maximum, and over its elements the sums of
// exp2(t) and of exp2(t) * t, where t is relative to base_of(top).
struct Part {
  float top, sum, weighted;
};

// While only -inf was seen any base will do, but -inf - (-inf) would be NaN.
__device__ __forceinline__ float base_of(float top, float c) {
  return top == -INFINITY ? 0.0f : top * c;
}

// The same part relative to the base of a larger maximum. NaN and +inf in the row make `sum` NaN,
// and nothing here removes it.
__device__ __forceinline__ Part raise(const Part& part, float top, float c) {
  const float down = part.top == -INFINITY ? 0.0f : base_of(part.top, c) - base_of(top, c);
  const float factor = exp2_approx(down);
  const float shift = fmaxf(down, kLowest);
  return {top, factor * part.sum, factor * fmaf(shift, part.sum, part.weighted)};
}

template <class T>
__device__ __forceinline__ void add_tile(Part* part, const Pack<T> (&tile)[kTile], float c) {
  constexpr int size = Pack<T>::size;
  float top = part->top;
#pragma unroll
  for (int k = 0; k < kTile; ++k) {
#pragma unroll
    for (int i = 0; i < size; ++i) top = fmaxf(top, widen(tile[k].x[i]));
  }
  *part = raise(*part, top, c);
  const float base = base_of(top, c);
  float sum[kTile], weighted[kTile];
#pragma unroll
  for (int k = 0; k < kTile; ++k) {
    sum[k] = weighted[k] = 0.0f;
#pragma unroll
    for (int i = 0; i < size; ++i) {
      const float t = fmaf(widen(tile[k].x[i]), c, -base);
      const float e = exp2_approx(t);
      sum[k] += e;
      weighted[k] = fmaf(e, fmaxf(t, kLowest), weighted[k]);
    }
  }
  static_assert(kTile == 4, "the sums below are written out");
  part->sum += (sum[0] + sum[1]) + (sum[2] + sum[3]);
  part->weighted += (weighted[0] + weighted[1]) + (weighted[2] + weighted[3]);
}

// Packs at p, p + stride, ... (elements), of which the first `left` elements exist; the others are
// -inf. `wide`: the addresses allow 16-byte loads; `whole`: and all elements exist. Which form is
// taken changes no value.
template <class T>
__device__ __forceinline__ void load_tile(Pack<T> (&tile)[kTile], const T* p, int stride, int left,
                                          bool wide, bool whole) {
  if (whole) {
#pragma unroll
    for (int k = 0; k < kTile; ++k) tile[k] = load_pack_streaming(p + k * stride);
    return;
  }
  const T nothing = narrow<T>(-INFINITY);
#pragma unroll
  for (int k = 0; k < kTile; ++k) {
    if (wide && left - k * stride >= Pack<T>::size) {
      tile[k] = load_pack_streaming(p + k * stride);
    } else {
      tile[k] = load_pack_partial(p + k * stride, left - k * stride, nothing);
    }
  }
}

// Elements [begin, end) of the row. Which thread takes which element depends on V alone.
template <class T>
__device__ __forceinline__ Part scan(const T* row, int begin, int end, bool wide, float c) {
  const int stride = static_cast<int>(blockDim.x) * Pack<T>::size;
  const int thread = static_cast<int>(threadIdx.x) * Pack<T>::size;
  Part part = {-INFINITY, 0.0f, 0.0f};
  for (int first = begin; first < end; first += kTile * stride) {
    Pack<T> tile[kTile];
    const bool whole = wide && first + kTile * stride <= end;
    load_tile(tile, row + first + thread, stride, end - first - thread, wide, whole);
    add_tile(&part, tile, c);
  }
  return part;
}

__device__ __forceinline__ void write_row(const LogProbArgs& a, int64_t row, float log_prob,
                                          float entropy, float top, float log2_sum) {
  a.log_prob[row] = log_prob;
  if (a.entropy != nullptr) a.entropy[row] = entropy;
  a.stats[2 * row] = top;
  a.stats[2 * row + 1] = log2_sum;
}

// One warp: the parts of all warps of the row, merged in a fixed order in float64.
template <class T>
__device__ __forceinline__ void finish_row(const LogProbArgs& a, int64_t row, const T* logits,
                                           SharedPtr<Part> parts, int count, float c) {
  const int lane = static_cast<int>(threadIdx.x);
  Part mine[kMaxPartials / kWarp];
  float top = -INFINITY;
#pragma unroll
  for (int k = 0; k < kMaxPartials / kWarp; ++k) {
    mine[k] = {-INFINITY, 0.0f, 0.0f};
    if (k * kWarp + lane < count) mine[k] = parts[k * kWarp + lane];
    top = fmaxf(top, mine[k].top);
  }
  top = warp_max(top);
  double sum = 0.0, weighted = 0.0;
#pragma unroll
  for (int k = 0; k < kMaxPartials / kWarp; ++k) {
    const Part raised = raise(mine[k], top, c);
    sum += static_cast<double>(raised.sum);
    weighted += static_cast<double>(raised.weighted);
  }
  sum = warp_sum(sum);
  weighted = warp_sum(weighted);
  if (lane != 0) return;

  const bool number = sum <= 2.0 * static_cast<double>(a.vocab);  // false for NaN, and for
  if (!number || top == -INFINITY) {                              // z that overflow a float
    record_fault(a.faults, number ? Fault::no_support : Fault::not_a_number, row);
    write_row(a, row, NAN, NAN, NAN, NAN);
    return;
  }
  const float base = base_of(top, c);
  const double log2_sum = ::log2(sum);
  // Undoes the rounding of base: log2 of the sum relative to the maximum itself.
  const double exact =
      log2_sum - (static_cast<double>(top) * static_cast<double>(c) - static_cast<double>(base));
  const double target = static_cast<double>(widen(logits[a.targets[row]]));
  const double log_prob =
      (target - static_cast<double>(top)) * static_cast<double>(a.inv_temperature) - kLn2 * exact;
  const double entropy = kLn2 * (log2_sum - weighted / sum);
  // Rounding may leave a certain token at +1e-8; log-probs are never positive, entropy never
  // negative.
  write_row(a, row, static_cast<float>(fmin(log_prob, 0.0)), static_cast<float>(fmax(entropy, 0.0)),
            top, static_cast<float>(exact));
}

template <class T>
__global__ void __launch_bounds__(1024) forward_kernel(LogProbArgs a, bool wide) {
  constexpr int size = Pack<T>::size;
  FIRESTEEL_SHARED(Part, parts, kMaxPartials);
  const int rank = cluster_rank(), ranks = cluster_size();
  const int64_t row = static_cast<int64_t>(blockIdx.x) / ranks;
  const bool writer = rank == 0 && threadIdx.x == 0;
  if (a.mask != nullptr && a.mask[row] == 0) {
    if (writer) write_row(a, row, 0.0f, 0.0f, 0.0f, 0.0f);
    return;
  }
  const int32_t target = a.targets[row];
  if (target < 0 || target >= a.vocab) {
    if (writer) {
      record_fault(a.faults, Fault::id_out_of_range, row);
      write_row(a, row, NAN, NAN, NAN, NAN);
    }
    return;
  }
  cluster_arrive();  // the first block must have started before the others write to it

  const float c = a.inv_temperature * kLog2e;
  const int vocab = static_cast<int>(a.vocab);
  const T* logits = static_cast<const T*>(a.logits) + row * a.row_stride;
  const int share = (vocab + ranks * size - 1) / (ranks * size) * size;  // whole packs
  const int begin = rank * share, end = begin + share;
  Part part = scan(logits, begin, end < vocab ? end : vocab, wide, c);

  part = raise(part, warp_max(part.top), c);
  part.sum = warp_sum(part.sum);
  part.weighted = warp_sum(part.weighted);
  const int warps = static_cast<int>(blockDim.x) / kWarp;
  cluster_wait();
  if (threadIdx.x % kWarp == 0) {
    cluster_peer(parts + 0, 0)[rank * warps + static_cast<int>(threadIdx.x) / kWarp] = part;
  }
  cluster_sync();
  if (rank == 0 && threadIdx.x < kWarp) finish_row(a, row, logits, parts + 0, ranks * warps, c);
}

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

  const float top = a.stats[2 * row], log2_sum = a.stats[2 * row + 1];
  const bool trained = (a.mask == nullptr || a.mask[row] != 0) && top == top;
  Pack<T> tile[kTile];
  if (trained) {
    load_tile(tile, logits, stride, vocab - first, wide, whole);
    const float c = a.inv_temperature * kLog2e;
    const int target = a.targets[row] - first;
    const float d_log_prob = a.d_log_prob[row] * a.inv_temperature;
    float d_entropy = 0.0f, entropy = 0.0f;
    if (a.d_entropy != nullptr) {
      d_entropy = a.d_entropy[row] * a.inv_temperature;
      entropy = a.entropy[row];
    }
#pragma unroll
    for (int k = 0; k < kTile; ++k) {
#pragma unroll
      for (int i = 0; i < size; ++i) {
        const float t = fmaf(widen(tile[k].x[i]) - top, c, -log2_sum);
        const float p = exp2_approx(t);
        const float hot = k * stride + i == target ? 1.0f : 0.0f;
        const float log_p = fmaxf(t, kLowest) * static_cast<float>(kLn2);
        tile[k].x[i] = narrow<T>((hot - p) * d_log_prob - p * (log_p + entropy) * d_entropy);
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

Status too_many_rows(int64_t tokens, int64_t blocks_per_row) {
  return Status::error(Code::range, "expected at most " +
                                        std::to_string(kMaxGridX / blocks_per_row) +
                                        " rows, received " + std::to_string(tokens));
}

template <class T>
Status forward(Context& context, const LogProbArgs& a) {
  const Plan plan = plan_for(context, a.vocab);
  if (a.tokens > kMaxGridX / plan.cluster) return too_many_rows(a.tokens, plan.cluster);
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(a.tokens * plan.cluster));
  shape.block = dim3(static_cast<unsigned>(plan.threads));
  shape.cluster = plan.cluster;
  const bool wide = pack_aligned(static_cast<const T*>(a.logits), a.row_stride);
  return launch(context, "log_prob_forward", shape, forward_kernel<T>, a, wide);
}

template <class T>
Status backward(Context& context, const LogProbBackwardArgs& a) {
  const int64_t packs = (a.vocab + Pack<T>::size - 1) / Pack<T>::size;
  int64_t threads = kWarp;
  while (threads < kBackwardThreads && threads * kTile < packs) threads *= 2;
  const int64_t chunks = (packs + threads * kTile - 1) / (threads * kTile);
  if (a.tokens > kMaxGridX / chunks) return too_many_rows(a.tokens, chunks);
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(a.tokens * chunks));
  shape.block = dim3(static_cast<unsigned>(threads));
  const bool wide = pack_aligned(static_cast<const T*>(a.logits), a.row_stride) &&
                    pack_aligned(static_cast<const T*>(a.d_logits), a.d_row_stride);
  return launch(context, "log_prob_backward", shape, backward_kernel<T>, a,
                static_cast<int>(chunks), wide);
}

}  // namespace

Status log_prob_forward(Context& context, const LogProbArgs& a) {
  switch (a.dtype) {
    case DType::f32:
      return forward<float>(context, a);
    case DType::bf16:
      return forward<bf16>(context, a);
    case DType::f16:
      return forward<f16>(context, a);
    default:
      return Status::error(Code::dtype, "expected logits of f32, bf16 or f16");
  }
}

Status log_prob_backward(Context& context, const LogProbBackwardArgs& a) {
  switch (a.dtype) {
    case DType::f32:
      return backward<float>(context, a);
    case DType::bf16:
      return backward<bf16>(context, a);
    case DType::f16:
      return backward<f16>(context, a);
    default:
      return Status::error(Code::dtype, "expected logits of f32, bf16 or f16");
  }
}

}  // namespace firesteel
