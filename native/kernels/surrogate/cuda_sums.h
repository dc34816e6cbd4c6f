// The CUDA kernels of surrogate that come before any loss: trained tokens per row, sums per tile,
// unit and row, and what the batch divides by.
#pragma once
#include "kernels/surrogate/cuda_tiles.h"

namespace firesteel {
namespace {

constexpr int kBatchThreads = 512;

__global__ void __launch_bounds__(kThreads) clear_kernel(SurrogateCall call) {
  const SurrogateArgs& a = call.a;
  for (int64_t r = grid_thread(); r < a.rows; r += grid_threads()) {
    call.row_counts[r] = {a.mask == nullptr ? a.row_offsets[r + 1] - a.row_offsets[r] : 0, 0, 0, 0};
  }
}

__device__ __forceinline__ double exact(const LogRatio<float>& x) {
  return static_cast<double>(x.value) + static_cast<double>(x.rest);
}

__global__ void __launch_bounds__(kThreads) statistics_kernel(SurrogateCall call) {
  const SurrogateArgs& a = call.a;
  const bool sums_up = needs_statistics(call.plan);
  for_tiles(call, [&](const TokenTile& tile) {
    const bool shaped = tile.count > 0 && is_shaped(a, tile.row);
    int trained = 0;
    SurrogateStatistics sums{};
    for (int i = lane_of_warp(); i < tile.count; i += kWarp) {
      const int64_t t = tile.begin + i;
      if (!is_trained(a, t)) continue;
      ++trained;
      if (!sums_up) continue;
      const TokenSums<float> token = token_sums(call.plan, shaped, read_token(a, tile, t));
      sums.log_ratio += exact(token.log_ratio);
      sums.mismatch += exact(token.mismatch);
      sums.correction += exact(token.correction);
      sums.off_policy += exact(token.off_policy);
    }
    trained = warp_sum(trained);
    const bool first = lane_of_warp() == 0;
    if (first && trained > 0 && a.mask != nullptr) {
      atomicAdd(&call.row_counts[tile.row].trained, trained);
    }
    if (!sums_up) return;
    sums = {static_cast<double>(trained), warp_sum(sums.log_ratio), warp_sum(sums.mismatch),
            warp_sum(sums.correction), warp_sum(sums.off_policy)};
    if (first) call.tile_sums[tile.number] = sums;
  });
}

// The sum of from[begin .. end) by one warp.
__device__ __forceinline__ SurrogateStatistics warp_total(const SurrogateStatistics* from,
                                                          int64_t begin, int64_t end) {
  SurrogateStatistics sums{};
  for (int64_t i = begin + lane_of_warp(); i < end; i += kWarp) {
    const SurrogateStatistics one = from[i];
    sums.trained += one.trained;
    sums.log_ratio += one.log_ratio;
    sums.mismatch += one.mismatch;
    sums.correction += one.correction;
    sums.off_policy += one.off_policy;
  }
  return {warp_sum(sums.trained), warp_sum(sums.log_ratio), warp_sum(sums.mismatch),
          warp_sum(sums.correction), warp_sum(sums.off_policy)};
}

__global__ void __launch_bounds__(kThreads) unit_sums_kernel(SurrogateCall call) {
  const int64_t u = grid_warp();
  if (u >= call.units) return;
  const SurrogateStatistics sums =
      warp_total(call.tile_sums, ragged_first_tile(call.unit_offsets, u, kTile),
                 ragged_first_tile(call.unit_offsets, u + 1, kTile));
  if (lane_of_warp() == 0) call.unit_sums[u] = sums;
}

// Where units are segments.
__global__ void __launch_bounds__(kThreads) row_sums_kernel(SurrogateCall call) {
  const int64_t r = grid_warp();
  if (r >= call.a.rows) return;
  const int32_t* segments = call.unit_offsets;
  const SurrogateStatistics sums =
      warp_total(call.unit_sums, lower_bound(segments, call.units, call.a.row_offsets[r]),
                 lower_bound(segments, call.units, call.a.row_offsets[r + 1]));
  if (lane_of_warp() == 0) call.row_sums[r] = sums;
}

__global__ void __launch_bounds__(kThreads) groups_kernel(SurrogateCall call) {
  const SurrogateArgs& a = call.a;
  const int64_t g = grid_warp();
  if (g >= a.groups) return;
  const bool by_sign = a.aggregation == Aggregation::balanced;
  const int64_t begin = a.group_offsets[g] + lane_of_warp(), end = a.group_offsets[g + 1];
  GroupCounts own{};
  for (int64_t r = begin; r < end; r += kWarp) {
    add_row(own, call.row_counts[r].trained, by_sign && a.advantage[r] > 0.0f,
            by_sign && a.advantage[r] < 0.0f);
  }
  const GroupCounts group{warp_sum(own.rows),          warp_sum(own.tokens),
                          warp_sum(own.positive_rows), warp_sum(own.positive_tokens),
                          warp_sum(own.negative_rows), warp_sum(own.negative_tokens)};
  const float weight = read_or(a.group_weight, g, 1.0f);
  for (int64_t r = begin; r < end; r += kWarp) {
    call.row_shares[r] =
        grouped_row_share(a.aggregation, group, by_sign ? a.advantage[r] : 0.0f, weight);
  }
  if (lane_of_warp() == 0) call.group_counted[g] = group.tokens > 0.0 ? 1 : 0;
}

__global__ void __launch_bounds__(kBatchThreads, 1) batch_kernel(SurrogateCall call) {
  const SurrogateArgs& a = call.a;
  int64_t trained = 0, active = 0, groups = 0;
#pragma unroll 4
  for (int64_t r = threadIdx.x; r < a.rows; r += kBatchThreads) {
    const int count = call.row_counts[r].trained;
    trained += count;
    active += count > 0 ? 1 : 0;
  }
  if (is_grouped(a.aggregation)) {
    for (int64_t g = threadIdx.x; g < a.groups; g += kBatchThreads) groups += call.group_counted[g];
  }
  trained = block_sum(trained);
  active = block_sum(active);
  groups = block_sum(groups);
  if (threadIdx.x == 0) {
    *call.batch = {static_cast<double>(trained), static_cast<double>(active),
                   static_cast<double>(groups)};
  }
}

// ---- on the host

inline SurrogateCall call_of(const SurrogateArgs& a) {
  SurrogateCall call{};
  call.a = a;
  call.plan = plan_of(a);
  const bool in_segments = call.plan.level == RatioLevel::segment;
  call.unit_offsets = in_segments ? a.segment_offsets : a.row_offsets;
  call.units = in_segments ? a.segments : a.rows;
  call.tiles = ragged_tiles(a.tokens, call.units, kTile);
  call.tiles_per_warp = static_cast<int>(tiles_per_warp(call.tiles));
  call.counts_batch = (a.denominator == 0.0 && a.aggregation != Aggregation::token_sum) ||
                      (a.entropy_token_mean && a.entropy_denominator == 0.0);
  lay_out(call, a.rows, a.groups, static_cast<char*>(a.workspace));
  return call;
}

inline LaunchShape blocks_shape(int64_t count, int threads) {
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(count));
  shape.block = dim3(static_cast<unsigned>(threads));
  return shape;
}
inline LaunchShape warps_shape(int64_t count) {
  return blocks_shape(blocks_of(count, kWarpsPerBlock), kThreads);
}

// One kernel after the other, until one cannot be launched.
struct SurrogateLaunches {
  Context& context;
  const SurrogateCall& call;
  Status status;

  template <class Kernel, class... More>
  void run(const LaunchShape& shape, Kernel kernel, More... more) {
    if (!status.ok()) return;
    const Status launched = launch(context, "surrogate", shape, kernel, call, more...);
    status.code = launched.code;
    status.message = launched.message;
  }
};

// All that unit_of_tile reads.
inline void run_sums(SurrogateLaunches& launches) {
  const SurrogateCall& call = launches.call;
  const SurrogateArgs& a = call.a;
  const LaunchShape tokens = blocks_shape(token_blocks(call.tiles), kThreads);
  const bool sums_up = needs_statistics(call.plan);
  launches.run(elementwise_shape(launches.context, a.rows, kThreads), clear_kernel);
  if (sums_up || a.mask != nullptr) launches.run(tokens, statistics_kernel);
  if (sums_up) launches.run(warps_shape(call.units), unit_sums_kernel);
  if (sums_up && call.plan.level == RatioLevel::segment) {
    launches.run(warps_shape(a.rows), row_sums_kernel);
  }
  if (is_grouped(a.aggregation)) launches.run(warps_shape(a.groups), groups_kernel);
  if (call.counts_batch) launches.run(blocks_shape(1, kBatchThreads), batch_kernel);
}

}  // namespace
}  // namespace firesteel
