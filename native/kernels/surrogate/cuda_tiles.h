// How the CUDA kernels of surrogate divide their work: units (rows, or segments where the level has
// them) into tiles of tokens, one warp per tile; and what they leave in memory for each other.
#pragma once
#include "kernels/surrogate/math.h"
#include "kernels/surrogate/surrogate.h"
#include "kernels/surrogate/unit.h"
#include "runtime/cuda/launch.h"
#include "runtime/cuda/ptx.h"
#include "runtime/cuda/ragged.h"
#include "runtime/cuda/reduce.h"

namespace firesteel {

// A tile is decided by its unit alone. A warp takes as many neighbouring tiles as leaves about
// kWarps warps: enough to fill any card, few enough that their sums are quickly added up.
constexpr int kTile = 256;  // tokens
constexpr int kThreads = 128;
constexpr int kWarpsPerBlock = kThreads / kWarp;
constexpr int64_t kWarps = 4096;

// Integers, so that tiles may add to them in any order.
struct RowCounts {
  int trained, clipped_low, clipped_high, dropped;
};
struct PullSum {
  double sum, faults;
};
struct Metrics {
  double of[kMetricCount];
};

// Everything a kernel is handed.
struct SurrogateCall {
  SurrogateArgs a;
  SurrogatePlan plan;
  const int32_t* unit_offsets;
  int64_t units, tiles;
  int tiles_per_warp;
  bool counts_batch;  // `batch` is filled

  RowCounts* row_counts;             // [R]
  BatchCounts* batch;                // [1]
  SurrogateStatistics* tile_sums;    // [tiles]
  SurrogateStatistics* unit_sums;    // [units]
  SurrogateStatistics* row_sums;     // [R], used where units are segments
  PullSum *tile_pulls, *unit_pulls;  // [tiles], [units]
  double* row_shares;                // [R], for the aggregations over groups
  int* group_counted;                // [G]
  Metrics* parts;                    // one for each block that sums metrics
};

inline int64_t blocks_of(int64_t items, int64_t per_block) {
  return (items + per_block - 1) / per_block;
}
inline int64_t tiles_per_warp(int64_t tiles) {
  return tiles <= kWarps ? 1 : blocks_of(tiles, kWarps);
}
inline int64_t token_blocks(int64_t tiles) {
  return blocks_of(blocks_of(tiles, tiles_per_warp(tiles)), kWarpsPerBlock);
}
// At least token_blocks of that many tiles or fewer.
inline int64_t most_token_blocks(int64_t tiles) {
  return blocks_of(tiles < kWarps ? tiles : kWarps, kWarpsPerBlock);
}
inline int64_t row_blocks(int64_t rows) {
  return blocks_of(rows, kThreads);
}

// Lays out the workspace from `memory` on, 16 bytes aligned; returns its size.
template <class T>
int64_t take_array(T*& array, int64_t count, char* memory, int64_t used) {
  array = reinterpret_cast<T*>(memory + used);
  return used + (count * static_cast<int64_t>(sizeof(T)) + 15) / 16 * 16;
}
inline int64_t lay_out(SurrogateCall& call, int64_t rows, int64_t groups, char* memory) {
  int64_t used = take_array(call.batch, 1, memory, 0);
  used = take_array(call.row_counts, rows, memory, used);
  used = take_array(call.tile_sums, call.tiles, memory, used);
  used = take_array(call.unit_sums, call.units, memory, used);
  used = take_array(call.row_sums, rows, memory, used);
  used = take_array(call.tile_pulls, call.tiles, memory, used);
  used = take_array(call.unit_pulls, call.units, memory, used);
  used = take_array(call.row_shares, rows, memory, used);
  used = take_array(call.group_counted, groups, memory, used);
  return take_array(call.parts, most_token_blocks(call.tiles) + row_blocks(rows), memory, used);
}

struct TokenTile {
  int64_t number, unit, row;
  int64_t begin;  // of its tokens
  int count;      // 0: nothing to do
};

__device__ __forceinline__ int lane_of_warp() {
  return static_cast<int>(threadIdx.x) % kWarp;
}
__device__ __forceinline__ int64_t grid_warp() {
  return static_cast<int64_t>(blockIdx.x) * kWarpsPerBlock + threadIdx.x / kWarp;
}

// The first of n offsets that is not below `value`, or n.
__device__ __forceinline__ int64_t lower_bound(const int32_t* offsets, int64_t n, int32_t value) {
  int64_t low = 0, high = n;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (offsets[middle] < value) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

// body(tile) for the tiles of this thread's warp; all lanes together.
template <class Body>
__device__ __forceinline__ void for_tiles(const SurrogateCall& call, Body body) {
  const int64_t first = grid_warp() * call.tiles_per_warp;
  int64_t unit = -1;
  for (int64_t n = first; n < first + call.tiles_per_warp && n < call.tiles; ++n) {
    const RaggedTile at = unit < 0 ? ragged_tile(call.unit_offsets, call.units, kTile, n)
                                   : ragged_next_tile(call.unit_offsets, unit, kTile, n);
    unit = at.row;
    TokenTile tile{n, unit, unit, at.first + at.begin, at.count};
    if (call.plan.level == RatioLevel::segment && at.count > 0) {
      // The last row that begins at or before the segment.
      const int32_t begin = static_cast<int32_t>(at.first);
      tile.row = lower_bound(call.a.row_offsets, call.a.rows + 1, begin + 1) - 1;
    }
    body(tile);
  }
}

__device__ __forceinline__ bool is_trained(const SurrogateArgs& a, int64_t token) {
  return a.mask == nullptr || a.mask[token] != 0;
}
__device__ __forceinline__ bool is_shaped(const SurrogateArgs& a, int64_t row) {
  return a.shaped != nullptr && a.shaped[row] != 0;
}

__device__ __forceinline__ float read_or(const float* p, int64_t i, float absent) {
  return p != nullptr ? p[i] : absent;
}

__device__ __forceinline__ TokenInput<float> read_token(const SurrogateArgs& a,
                                                        const TokenTile& tile, int64_t t) {
  TokenInput<float> x;
  x.log_prob = a.log_prob[t];
  x.old_log_prob = read_or(a.old_log_prob, t, 0.0f);
  x.ref_log_prob = read_or(a.ref_log_prob, t, 0.0f);
  x.sampler_log_prob = read_or(a.sampler_log_prob, t, 0.0f);
  x.advantage = a.advantage[a.advantage_unit == AdvantageUnit::row       ? tile.row
                            : a.advantage_unit == AdvantageUnit::segment ? tile.unit
                                                                         : t];
  x.weight = read_or(a.weight, t, 1.0f);
  const int64_t limit = a.limits_per_row ? tile.row : t;
  x.low = read_or(a.low, limit, a.terms.low);
  x.high = read_or(a.high, limit, a.terms.high);
  x.ratio_scale = read_or(a.ratio_scale, t, 1.0f);
  x.ratio_bias = read_or(a.ratio_bias, t, 0.0f);
  x.entropy = read_or(a.entropy, t, 0.0f);
  return x;
}

}  // namespace firesteel
