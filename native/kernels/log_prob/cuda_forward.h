// The row kernel of log_prob's forward pass and of a shard's partial statistics: one cluster of
// blocks per row (one block where the card has no clusters or the row is short). The row is read
// once, with one exp2 per element: a thread takes the maximum of a tile it holds in registers
// first. Included by cuda.cu alone.
//
// Everything is in the exp2 domain: t = x * c - base with c = log2(e) / temperature folded into one
// FMA. `base` is the row's maximum times c, rounded; that rounding is a common factor, which
// finish_row takes out again. Where it would be more than a factor of 2 the row is read once more.
#pragma once
#include "kernels/log_prob/cuda_tile.h"

namespace firesteel {
namespace {

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

// What is known of the part of a row that was seen: its maximum, over its elements the sums of
// exp2(t) and of exp2(t) * t, where t is relative to base_of(top), and the sum of the logits.
struct Part {
  float top, sum, weighted;
  double total;
};

// While only -inf was seen any base will do, but -inf - (-inf) would be NaN.
__device__ __forceinline__ float base_of(float top, float c) {
  return top == -INFINITY ? 0.0f : top * c;
}

// The same part relative to the base of a larger maximum. NaN and +inf in the row make `sum` NaN,
// and nothing here removes it.
__device__ __forceinline__ Part rebased(const Part& part, float top, float c) {
  const float down = part.top == -INFINITY ? 0.0f : base_of(part.top, c) - base_of(top, c);
  const float factor = exp2_approx(down);
  const float shift = fmaxf(down, kLowest);
  return {top, factor * part.sum, factor * fmaf(shift, part.sum, part.weighted), part.total};
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
  *part = rebased(*part, top, c);
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

// The sum of a tile's elements, of which those from `left` on do not exist. Scaled, so that it does
// not overflow, and in pairs: five roundings at most.
template <class T>
__device__ __forceinline__ double tile_total(const Pack<T> (&tile)[kTile], int stride, int left) {
  constexpr int size = Pack<T>::size;
  constexpr float share = 1.0f / (kTile * size);
  float sum[kTile];
#pragma unroll
  for (int k = 0; k < kTile; ++k) {
    float x[size];
#pragma unroll
    for (int i = 0; i < size; ++i) {
      x[i] = k * stride + i < left ? widen(tile[k].x[i]) * share : 0.0f;
    }
#pragma unroll
    for (int width = size / 2; width > 0; width /= 2) {
#pragma unroll
      for (int i = 0; i < width; ++i) x[i] += x[i + width];
    }
    sum[k] = x[0];
  }
  const float mean = (sum[0] + sum[1]) + (sum[2] + sum[3]);
  return static_cast<double>(mean) * (kTile * size);
}

// Elements [begin, end) of the row. Which thread takes which element depends on V alone.
template <class T>
__device__ __forceinline__ Part scan(const T* row, int begin, int end, bool wide, bool with_total,
                                     float c) {
  const int stride = static_cast<int>(blockDim.x) * Pack<T>::size;
  const int thread = static_cast<int>(threadIdx.x) * Pack<T>::size;
  Part part = {-INFINITY, 0.0f, 0.0f, 0.0};
  for (int first = begin; first < end; first += kTile * stride) {
    Pack<T> tile[kTile];
    const int left = end - first - thread;
    const bool whole = wide && first + kTile * stride <= end;
    load_tile(tile, row + first + thread, stride, left, wide, whole);
    if (with_total) part.total += tile_total(tile, stride, left);
    add_tile(&part, tile, c);
  }
  return part;
}

struct Sums {
  double sum, weighted;
};

// From here on the rounding of base is more than 1.
constexpr float kFar = 0x1p25f;

// The sums of a whole row by one warp, with the maximum subtracted before anything is multiplied.
// Slow: for rows of absurd logits or of a temperature next to 0.
template <class T>
__device__ __forceinline__ Sums scan_far(const T* row, int vocab, float top, float c) {
  Sums sums = {0.0, 0.0};
  for (int v = static_cast<int>(threadIdx.x); v < vocab; v += kWarp) {
    const float t = (widen(row[v]) - top) * c;
    const float e = exp2_approx(t);
    sums.sum += static_cast<double>(e);
    sums.weighted += static_cast<double>(e * fmaxf(t, kLowest));
  }
  return sums;
}

// Where the row kernel writes: the shard's partials, or else the outputs of a whole row.
struct RowTarget {
  LogProbPartial* partials;
  int64_t vocab_start;
  LogProbOutputs out;
};

__device__ __forceinline__ void conclude(const RowTarget& to, int64_t row,
                                         const LogProbPartial& partial, int64_t vocab) {
  if (to.partials != nullptr) {
    to.partials[row] = partial;
    return;
  }
  const int fault = write_row(to.out, row, partial, vocab);
  if (fault >= 0) record_fault(to.out.faults, static_cast<Fault>(fault), to.out.first_row + row);
}

// One warp: the parts of all warps of the row, merged in a fixed order in float64.
template <class T>
__device__ __forceinline__ void finish_row(const LogProbRows& a, const RowTarget& to, int64_t row,
                                           const T* logits, SharedPtr<Part> parts, int count,
                                           float c) {
  const int lane = static_cast<int>(threadIdx.x);
  Part mine[kMaxPartials / kWarp];
  float top = -INFINITY;
#pragma unroll
  for (int k = 0; k < kMaxPartials / kWarp; ++k) {
    mine[k] = {-INFINITY, 0.0f, 0.0f, 0.0};
    if (k * kWarp + lane < count) mine[k] = parts[k * kWarp + lane];
    top = fmaxf(top, mine[k].top);
  }
  top = warp_max(top);
  Sums sums = {0.0, 0.0};
  double total = 0.0;
#pragma unroll
  for (int k = 0; k < kMaxPartials / kWarp; ++k) {
    const Part part = rebased(mine[k], top, c);
    sums.sum += static_cast<double>(part.sum);
    sums.weighted += static_cast<double>(part.weighted);
    total += part.total;
  }
  const float base = base_of(top, c);
  const bool far = fabsf(base) >= kFar;
  if (far) sums = scan_far(logits, static_cast<int>(a.vocab), top, c);
  const double sum = warp_sum(sums.sum), weighted = warp_sum(sums.weighted);
  total = warp_sum(total);
  if (lane != 0) return;

  LogProbPartial partial = unread(a, row, to.vocab_start);
  if (sum == sum) {  // else all of it stays NaN
    const int32_t column = target_column(a, row, to.vocab_start);
    if (column >= 0) partial.target = static_cast<double>(widen(logits[column]));
    // Relative to the maximum itself instead of the rounded base.
    const double exact = static_cast<double>(top) * static_cast<double>(c);
    const double off = far || top == -INFINITY ? 0.0 : exact - static_cast<double>(base);
    const double factor = double_exp2(-off);
    partial.max = static_cast<double>(top);
    partial.sum = sum * factor;
    partial.weighted = (weighted - off * sum) * factor;
    partial.total = total;
  }
  conclude(to, row, partial, a.vocab);
}

template <class T>
__global__ void __launch_bounds__(1024)
    row_kernel(LogProbRows a, RowTarget to, bool wide, bool with_total) {
  constexpr int size = Pack<T>::size;
  FIRESTEEL_SHARED(Part, parts, kMaxPartials);
  const int rank = cluster_rank(), ranks = cluster_size();
  const int row = static_cast<int>(blockIdx.x) / ranks;  // a grid has fewer than 2^31 blocks
  const float inverse = inverse_if_read(a, row, to.vocab_start, to.partials == nullptr);
  if (inverse == 0.0f) {
    if (rank == 0 && threadIdx.x == 0) conclude(to, row, unread(a, row, to.vocab_start), a.vocab);
    return;
  }
  cluster_arrive();  // the first block must have started before the others write to it

  const float c = exponent_scale(inverse);
  const int vocab = static_cast<int>(a.vocab);
  const T* logits = static_cast<const T*>(a.logits) + int64_t{row} * a.row_stride;
  const int share = (vocab + ranks * size - 1) / (ranks * size) * size;  // whole packs
  const int begin = rank * share, end = begin + share;
  Part part = scan(logits, begin, end < vocab ? end : vocab, wide, with_total, c);

  part = rebased(part, warp_max(part.top), c);
  part.sum = warp_sum(part.sum);
  part.weighted = warp_sum(part.weighted);
  if (with_total) part.total = warp_sum(part.total);
  const int warps = static_cast<int>(blockDim.x) / kWarp;
  cluster_wait();
  if (threadIdx.x % kWarp == 0) {
    cluster_peer(parts + 0, 0)[rank * warps + static_cast<int>(threadIdx.x) / kWarp] = part;
  }
  cluster_sync();
  if (rank == 0 && threadIdx.x < kWarp) {
    finish_row(a, to, row, logits, parts + 0, ranks * warps, c);
  }
}

}  // namespace
}  // namespace firesteel
