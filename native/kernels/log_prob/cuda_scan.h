// The statistics of a row by the warps of a cluster of blocks: parts (cuda_plan.h) and their merge.
// The row is read once, with one exp2 per element: a lane takes the maximum of a tile it holds in
// registers first.
//
// Everything is in the exp2 domain: t = x * c - base with c = log2(e) / temperature folded into one
// FMA. `base` is the row's maximum times c, rounded; that rounding is a common factor, which
// merge_parts takes out again. Where it would be more than a factor of 2 the row is read once more.
#pragma once
#include "kernels/log_prob/cuda_plan.h"

namespace firesteel {
namespace {

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
__device__ __forceinline__ float max_of(const PackWords (&tile)[kTilePacks]) {
  PackWords top = tile[0];
#pragma unroll
  for (int k = 1; k < kTilePacks; ++k) {
#pragma unroll
    for (int i = 0; i < 4; ++i) top.w[i] = max_words<T>(top.w[i], tile[k].w[i]);
  }
#pragma unroll
  for (int i = 1; i < 4; ++i) top.w[0] = max_words<T>(top.w[0], top.w[i]);
  const float first = widen_at<T>(top, 0);
  return sizeof(T) == 4 ? first : fmaxf(first, widen_at<T>(top, 1));
}

template <class T>
__device__ __forceinline__ void add_tile(Part* part, const PackWords (&tile)[kTilePacks], float c) {
  constexpr int size = Pack<T>::size;
  const float top = fmaxf(part->top, max_of<T>(tile));
  *part = rebased(*part, top, c);
  const float base = base_of(top, c);
  float sum[2] = {}, weighted[2] = {};
#pragma unroll
  for (int k = 0; k < kTilePacks; ++k) {
#pragma unroll
    for (int i = 0; i < size; ++i) {
      const float t = fmaf(widen_at<T>(tile[k], i), c, -base);
      const float e = exp2_approx(t);
      sum[i % 2] += e;
      weighted[i % 2] = fmaf(e, fmaxf(t, kLowest), weighted[i % 2]);
    }
  }
  part->sum += sum[0] + sum[1];
  part->weighted += weighted[0] + weighted[1];
}

// The sum of a tile's elements, of which those from `left` on do not exist. Scaled, so that it does
// not overflow, and in pairs: five roundings at most.
template <class T>
__device__ __forceinline__ double tile_total(const PackWords (&tile)[kTilePacks], int left) {
  constexpr int size = Pack<T>::size;
  constexpr float share = 1.0f / 32.0f;
  static_assert(kTilePacks * size <= 32, "sums of that many shares do not overflow");
  float sum = 0.0f;
#pragma unroll
  for (int k = 0; k < kTilePacks; ++k) {
    const PackWords pack = opaque(tile[k]);
    float x[size];
#pragma unroll
    for (int i = 0; i < size; ++i) {
      x[i] = k * kWarp * size + i < left ? widen_at<T>(pack, i) * share : 0.0f;
    }
#pragma unroll
    for (int width = size / 2; width > 0; width /= 2) {
#pragma unroll
      for (int i = 0; i < width; ++i) x[i] += x[i + width];
    }
    sum += x[0];
  }
  return static_cast<double>(sum) * 32.0;
}

// Parts first, first + step, ... of the row by this warp, into `out` of its block. `keep` is handed
// the chunks of every whole segment.
template <class T, class Keep>
__device__ __forceinline__ void scan(const Row<T>& row, const Plan& plan, int first, int step,
                                     bool with_total, float c, SharedPtr<Part> out, Keep keep) {
  const int lane = lane_of_row();
  Part seen = {-INFINITY, 0.0f, 0.0f, 0.0};
  Tile<T> tile;
  int segment = first;
  fetch_tile(tile, row, segment);
  prefetch_segments(row, first + plan.parts, plan.parts);
  for (bool more = true; more;) {
    int next = segment + plan.parts;
    const bool last = next >= plan.segments;
    if (last) next = (segment & (plan.parts - 1)) + step;
    more = !last || next < plan.parts;
    if (segment < row.whole) {
      keep(tile, segment);
      align_tile(tile, phase_of(row.at));
    } else {
      load_end(tile, row, segment);
    }
    // The next segment is on its way while this one is summed, and the rest of its part as far as
    // the second-level cache.
    Tile<T> ahead = {};
    if (more) fetch_tile(ahead, row, next);
    if (more && last) prefetch_segments(row, next + plan.parts, plan.parts);
    if (with_total) {
      const int begin = segment * kSegment<T> + lane * Pack<T>::size;
      seen.total += tile_total<T>(tile.pack, row.vocab - begin);
    }
    add_tile<T>(&seen, tile.pack, c);
    if (last) {
      seen = rebased(seen, warp_max(seen.top), c);
      seen.sum = warp_sum(seen.sum);
      seen.weighted = warp_sum(seen.weighted);
      if (with_total) seen.total = warp_sum(seen.total);
      if (lane == 0) out[segment & (plan.parts - 1)] = seen;
      seen = {-INFINITY, 0.0f, 0.0f, 0.0};
    }
    tile = ahead;
    segment = next;
  }
}

// Sends this warp's parts from its block to the first `receivers` blocks of the cluster. All blocks
// have started.
__device__ __forceinline__ void send_parts(SharedPtr<Part> parts, int count, int first, int step,
                                           int receivers) {
  __syncwarp();
  const int to = lane_of_row();
  if (to >= receivers || to == cluster_rank()) return;
  SharedPtr<Part> peer = cluster_peer(parts, to);
  for (int p = first; p < count; p += step) {
    const Part part = parts[p];
    peer[p] = part;
  }
}

struct Sums {
  double sum, weighted;
};

// From here on the rounding of base is more than 1.
constexpr float kFar = 0x1p25f;

// The sums of a whole row by one warp, with the maximum subtracted before anything is multiplied.
// Slow: for rows of absurd logits or of a temperature next to 0.
template <class T>
__device__ __forceinline__ Sums scan_far(const Row<T>& row, float top, float c) {
  Sums sums = {0.0, 0.0};
  for (int v = lane_of_row(); v < row.vocab; v += kWarp) {
    const float t = (widen(row.at[v]) - top) * c;
    const float e = exp2_approx(t);
    sums.sum += static_cast<double>(e);
    sums.weighted += static_cast<double>(e * fmaxf(t, kLowest));
  }
  return sums;
}

// The target's logit, or +inf.
template <class T>
__device__ __forceinline__ float target_logit(const LogProbRows& a, int64_t t, int64_t vocab_start,
                                              const Row<T>& row) {
  const int32_t column = target_column(a, t, vocab_start);
  return column < 0 ? INFINITY : widen(row.at[column]);
}

struct Merged {
  LogProbPartial row;  // in lane 0
  bool far;            // the row was read again
};

// By one warp, in float64: the parts of row t in their order by lanes, and lanes in a fixed one.
template <class T>
__device__ __forceinline__ Merged merge_parts(const LogProbRows& a, int64_t t, int64_t vocab_start,
                                              const Row<T>& row, float target,
                                              SharedPtr<Part> parts, int count, float c) {
  const int lane = lane_of_row();
  float top = -INFINITY;
  for (int p = lane; p < count; p += kWarp) {
    const Part part = parts[p];
    top = fmaxf(top, part.top);
  }
  top = warp_max(top);
  Sums sums = {0.0, 0.0};
  double total = 0.0;
  for (int p = lane; p < count; p += kWarp) {
    const Part one = parts[p];
    const Part part = rebased(one, top, c);
    sums.sum += static_cast<double>(part.sum);
    sums.weighted += static_cast<double>(part.weighted);
    total += part.total;
  }
  const float base = base_of(top, c);
  const bool far = fabsf(base) >= kFar;
  if (far) sums = scan_far(row, top, c);
  const double sum = warp_sum(sums.sum), weighted = warp_sum(sums.weighted);
  total = warp_sum(total);

  Merged merged = {unread(a, t, vocab_start), far};
  if (sum == sum) {  // else all of it stays NaN
    LogProbPartial& out = merged.row;
    out.target = static_cast<double>(target);
    // Relative to the maximum itself instead of the rounded base.
    const double exact = static_cast<double>(top) * static_cast<double>(c);
    const double off = far || top == -INFINITY ? 0.0 : exact - static_cast<double>(base);
    const double factor = double_exp2(-off);
    out.max = static_cast<double>(top);
    out.sum = sum * factor;
    out.weighted = (weighted - off * sum) * factor;
    out.total = total;
  }
  return merged;
}

}  // namespace
}  // namespace firesteel
