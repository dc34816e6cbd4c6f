// Up to nine launches, no atomics but on integers. What a loss depends on is summed first: trained
// tokens per row, log-ratios per tile, unit and row, what the batch divides by. Units that share a
// ratio then sum their pulls. Losses and gradients come from one pass over the tokens, metrics from
// one over the rows. Tiles, units and parts of metrics are added in an order that their sizes
// decide.
#include "kernels/surrogate/checks.h"
#include "kernels/surrogate/surrogate.h"
#include "kernels/surrogate/tiles.h"
#include "runtime/cuda/context.h"
#include "runtime/cuda/launch.h"
#include "runtime/cuda/ptx.h"

namespace firesteel {
namespace {

constexpr int kFinishThreads = 512;

// ---- sums that come before any loss

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

// ---- what the sum of losses is divided by

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

__global__ void __launch_bounds__(kFinishThreads, 1) batch_kernel(SurrogateCall call) {
  const SurrogateArgs& a = call.a;
  int64_t trained = 0, active = 0, groups = 0;
#pragma unroll 4
  for (int64_t r = threadIdx.x; r < a.rows; r += kFinishThreads) {
    const int count = call.row_counts[r].trained;
    trained += count;
    active += count > 0 ? 1 : 0;
  }
  if (is_grouped(a.aggregation)) {
    for (int64_t g = threadIdx.x; g < a.groups; g += kFinishThreads)
      groups += call.group_counted[g];
  }
  trained = block_sum(trained);
  active = block_sum(active);
  groups = block_sum(groups);
  if (threadIdx.x == 0) {
    *call.batch = {static_cast<double>(trained), static_cast<double>(active),
                   static_cast<double>(groups)};
  }
}

// ---- losses and gradients

__device__ __forceinline__ SurrogateUnit unit_of_tile(const SurrogateCall& call,
                                                      const TokenTile& tile) {
  const SurrogateArgs& a = call.a;
  SurrogateStatistics row{};
  row.trained = static_cast<double>(call.row_counts[tile.row].trained);
  const double share = is_grouped(a.aggregation) ? call.row_shares[tile.row]
                                                 : row_share(a.aggregation, row.trained, a.horizon);
  const BatchCounts batch = call.counts_batch ? *call.batch : BatchCounts{0.0, 0.0, 0.0};
  const double coefficient = share / denominator_of(a, batch);
  SurrogateStatistics own = row;
  if (needs_statistics(call.plan)) {
    own = call.unit_sums[tile.unit];
    row = call.plan.level == RatioLevel::segment ? call.row_sums[tile.row] : own;
  }
  return unit_of(call.plan, is_shaped(a, tile.row), coefficient,
                 entropy_slope(a, coefficient, batch), own, row);
}

__global__ void __launch_bounds__(kThreads) pull_kernel(SurrogateCall call) {
  const SurrogateArgs& a = call.a;
  for_tiles(call, [&](const TokenTile& tile) {
    double sum = 0.0;
    int faults = 0;
    if (tile.count > 0) {
      const SurrogateUnit unit = unit_of_tile(call, tile);
      const int count = unit.shaped || unit.failed ? 0 : tile.count;
      for (int i = lane_of_warp(); i < count; i += kWarp) {
        if (!is_trained(a, tile.begin + i)) continue;
        const TokenTerm<float> t =
            token_term<false>(call.plan, unit, read_token(a, tile, tile.begin + i));
        const float own = own_gradient<false>(call.plan, unit, t, 1.0f);
        if (t.valid && fabsf(own) < kLargestPart) {
          sum += static_cast<double>(t.pull);
        } else {
          ++faults;
        }
      }
    }
    const PullSum pulls{warp_sum(sum), static_cast<double>(warp_sum(faults))};
    if (lane_of_warp() == 0) call.tile_pulls[tile.number] = pulls;
  });
}

__global__ void __launch_bounds__(kThreads) unit_pulls_kernel(SurrogateCall call) {
  const int64_t u = grid_warp();
  if (u >= call.units) return;
  const int64_t end = ragged_first_tile(call.unit_offsets, u + 1, kTile);
  PullSum own{};
  for (int64_t i = ragged_first_tile(call.unit_offsets, u, kTile) + lane_of_warp(); i < end;
       i += kWarp) {
    own.sum += call.tile_pulls[i].sum;
    own.faults += call.tile_pulls[i].faults;
  }
  const PullSum pulls{warp_sum(own.sum), warp_sum(own.faults)};
  if (lane_of_warp() == 0) call.unit_pulls[u] = pulls;
}

// A thread's share of the metrics that are summed over tokens.
struct TokenMetrics {
  double policy_loss = 0.0, kl_loss = 0.0, entropy_loss = 0.0, kl = 0.0, entropy = 0.0;
  double ratio = 0.0, log_ratio_squared = 0.0, mismatch = 0.0, sampler_difference = 0.0;
  float ratio_min = INFINITY, ratio_max = -INFINITY;
  float mismatch_min = INFINITY, mismatch_max = -INFINITY, sampler_difference_max = -INFINITY;
  int ratio_tokens = 0, clamped = 0, mismatch_changed = 0;
};

// Of the tokens of one tile.
struct TileMetrics {
  double policy = 0.0, kl_loss = 0.0, entropy = 0.0;
  int clipped_low = 0, clipped_high = 0, dropped = 0;
};

__device__ __forceinline__ void add_token(const SurrogatePlan& s, bool shaped,
                                          const TokenTerm<float>& t, float entropy,
                                          TileMetrics& tile, TokenMetrics& all) {
  tile.policy += static_cast<double>(t.policy);
  tile.kl_loss += static_cast<double>(t.kl_loss);
  tile.entropy += static_cast<double>(entropy);
  all.kl += static_cast<double>(t.kl);
  if (shaped) return;
  all.ratio_tokens += 1;
  tile.clipped_low += t.clipped_low ? 1 : 0;
  tile.clipped_high += t.clipped_high ? 1 : 0;
  tile.dropped |= t.dropped ? 1 : 0;
  const double log_ratio = static_cast<double>(t.log_ratio);
  all.ratio += static_cast<double>(t.ratio);
  all.log_ratio_squared += 0.5 * log_ratio * log_ratio;
  all.ratio_min = fminf(all.ratio_min, t.ratio);
  all.ratio_max = fmaxf(all.ratio_max, t.ratio);
  all.clamped += t.clamped ? 1 : 0;
  all.mismatch += static_cast<double>(t.mismatch);
  all.mismatch_min = fminf(all.mismatch_min, t.mismatch);
  all.mismatch_max = fmaxf(all.mismatch_max, t.mismatch);
  all.mismatch_changed += t.mismatch_changed ? 1 : 0;
  if (!s.sampler || !s.old) return;
  all.sampler_difference += static_cast<double>(t.sampler_difference);
  all.sampler_difference_max = fmaxf(all.sampler_difference_max, t.sampler_difference);
}

__device__ __forceinline__ void store_or_not(float* p, int64_t i, float x) {
  if (p != nullptr) p[i] = x;
}

__device__ __forceinline__ void take_tile(const SurrogateCall& call, const TokenTile& tile,
                                          TokenMetrics& all) {
  const SurrogateArgs& a = call.a;
  const SurrogatePlan& plan = call.plan;
  SurrogateUnit unit = unit_of_tile(call, tile);
  const bool shares = plan.shares_ratio && !unit.shaped;
  if (shares) {
    const PullSum pulls = call.unit_pulls[tile.unit];
    unit.failed = unit.failed || pulls.faults > 0.0;
    share_pull(plan, pulls.sum, call.unit_sums[tile.unit].trained, unit);
  }
  TileMetrics sums;
  for (int i = lane_of_warp(); i < tile.count; i += kWarp) {
    const int64_t t = tile.begin + i;
    float gradient = 0.0f, bias = 0.0f, mismatch = 0.0f, entropy_gradient = 0.0f;
    if (is_trained(a, t)) {
      bool valid = !unit.failed;
      if (valid) {
        const TokenInput<float> x = read_token(a, tile, t);
        const TokenTerm<float> term = token_term<false>(plan, unit, x);
        const float own = own_gradient<false>(plan, unit, term, x.ratio_scale);
        const float all_of_it = own + (plan.pools && shares && term.moves ? unit.share : 0.0f);
        valid = term.valid && fabsf(all_of_it) < INFINITY;
        if (valid) {
          gradient = all_of_it;
          entropy_gradient = static_cast<float>(unit.entropy);
          mismatch = term.mismatch;
          // What d_log_prob has got of it.
          bias =
              term.moves ? x.ratio_scale * term.pull * static_cast<float>(unit.coefficient) : 0.0f;
          add_token(plan, unit.shaped, term, x.entropy, sums, all);
        }
      }
      if (!valid) record_fault(a.faults, Fault::not_a_number, tile.row);
    }
    a.d_log_prob[t] = gradient;
    store_or_not(a.d_entropy, t, entropy_gradient);
    store_or_not(a.d_ratio_bias, t, bias);
    store_or_not(a.mismatch_weight, t, mismatch);
  }
  if (!unit.failed) {
    all.policy_loss += unit.coefficient * sums.policy;
    // Where it is a metric only the estimate may be infinite.
    const double beta = static_cast<double>(plan.beta) * unit.coefficient;
    if (beta != 0.0) all.kl_loss += beta * sums.kl_loss;
    all.entropy_loss += unit.entropy * sums.entropy;
    all.entropy += sums.entropy;
  }
  const int low = warp_sum(sums.clipped_low), high = warp_sum(sums.clipped_high);
  const int dropped = warp_sum(sums.dropped);
  if (lane_of_warp() != 0) return;
  RowCounts& counts = call.row_counts[tile.row];
  if (low > 0) atomicAdd(&counts.clipped_low, low);
  if (high > 0) atomicAdd(&counts.clipped_high, high);
  if (dropped > 0) atomicAdd(&counts.dropped, dropped);
}

__global__ void __launch_bounds__(kThreads, 4) token_kernel(SurrogateCall call) {
  TokenMetrics all;
  for_tiles(call, [&](const TokenTile& tile) {
    if (tile.count > 0) take_tile(call, tile, all);
  });

  // By warps, then the warps of the block in order.
  FIRESTEEL_SHARED(double, parts, kWarpsPerBlock* kMetricCount);
  double m[kMetricCount];
#pragma unroll
  for (int i = 0; i < kMetricCount; ++i) m[i] = no_metric(i);
  m[kPolicyLoss] = warp_sum(all.policy_loss);
  m[kKlLoss] = warp_sum(all.kl_loss);
  m[kEntropyLoss] = warp_sum(all.entropy_loss);
  m[kKlSum] = warp_sum(all.kl);
  m[kEntropySum] = warp_sum(all.entropy);
  m[kRatioTokens] = warp_sum(all.ratio_tokens);
  m[kRatioSum] = warp_sum(all.ratio);
  m[kRatioMin] = static_cast<double>(warp_min(all.ratio_min));
  m[kRatioMax] = static_cast<double>(warp_max(all.ratio_max));
  m[kLogRatioSquared] = warp_sum(all.log_ratio_squared);
  m[kClampedRatios] = warp_sum(all.clamped);
  m[kMismatchSum] = warp_sum(all.mismatch);
  m[kMismatchMin] = static_cast<double>(warp_min(all.mismatch_min));
  m[kMismatchMax] = static_cast<double>(warp_max(all.mismatch_max));
  m[kMismatchChanged] = warp_sum(all.mismatch_changed);
  m[kSamplerDifferenceSum] = warp_sum(all.sampler_difference);
  m[kSamplerDifferenceMax] = static_cast<double>(warp_max(all.sampler_difference_max));
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  if (lane_of_warp() == 0) {
#pragma unroll
    for (int i = 0; i < kMetricCount; ++i) parts[warp * kMetricCount + i] = m[i];
  }
  __syncthreads();
  const int i = static_cast<int>(threadIdx.x);
  if (i >= kMetricCount) return;
  double sum = parts[i];
  for (int w = 1; w < kWarpsPerBlock; ++w) {
    const double part = parts[w * kMetricCount + i];
    sum = merge_metric(i, sum, part);
  }
  call.parts[blockIdx.x].of[i] = sum;
}

// ---- metrics

// `first`: where the parts of this kernel begin.
__global__ void __launch_bounds__(kThreads) row_metrics_kernel(SurrogateCall call, int64_t first) {
  const int64_t r = grid_thread();
  int64_t trained = 0;
  int active = 0, counted = 0, dropped = 0;
  int64_t clipped_low = 0, clipped_high = 0;
  double low = 0.0, high = 0.0, low_min = INFINITY, high_max = -INFINITY;
  if (r < call.a.rows) {
    const RowCounts row = call.row_counts[r];
    trained = row.trained;
    active = trained > 0 ? 1 : 0;
    counted = active != 0 && !is_shaped(call.a, r) ? 1 : 0;
    if (counted != 0) {
      clipped_low = row.clipped_low;
      clipped_high = row.clipped_high;
      low = low_min = static_cast<double>(row.clipped_low) / static_cast<double>(trained);
      high = high_max = static_cast<double>(row.clipped_high) / static_cast<double>(trained);
      dropped = row.dropped > 0 ? 1 : 0;
    }
  }
  double m[kMetricCount];
#pragma unroll
  for (int i = 0; i < kMetricCount; ++i) m[i] = no_metric(i);
  m[kTrainedTokens] = static_cast<double>(block_sum(trained));
  m[kActiveRows] = block_sum(active);
  m[kRatioRows] = block_sum(counted);
  m[kClippedLow] = static_cast<double>(block_sum(clipped_low));
  m[kClippedHigh] = static_cast<double>(block_sum(clipped_high));
  m[kClippedLowRows] = block_sum(low);
  m[kClippedHighRows] = block_sum(high);
  m[kClippedLowRowMin] = block_min(low_min);
  m[kClippedHighRowMax] = block_max(high_max);
  m[kDroppedRows] = block_sum(dropped);
  if (threadIdx.x != 0) return;
#pragma unroll
  for (int i = 0; i < kMetricCount; ++i) call.parts[first + blockIdx.x].of[i] = m[i];
}

// One column of threads per metric, each column cut into runs over the parts.
__global__ void __launch_bounds__(kFinishThreads, 1)
    finish_kernel(SurrogateCall call, int64_t parts) {
  static_assert(kMetricCount <= kWarp, "a warp holds all metrics");
  FIRESTEEL_SHARED(double, runs, kFinishThreads);
  const int metric = lane_of_warp(), run = static_cast<int>(threadIdx.x) / kWarp;
  double sum = no_metric(metric);
  if (metric < kMetricCount) {
#pragma unroll 4
    for (int64_t i = run; i < parts; i += kFinishThreads / kWarp) {
      sum = merge_metric(metric, sum, call.parts[i].of[metric]);
    }
  }
  runs[threadIdx.x] = sum;
  __syncthreads();
  if (run == 0 && metric < kMetricCount) {
    for (int i = 1; i < kFinishThreads / kWarp; ++i) {
      const double part = runs[i * kWarp + metric];
      sum = merge_metric(metric, sum, part);
    }
    call.a.metrics[metric] = sum;
    runs[metric] = sum;
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  const double policy = runs[kPolicyLoss], kl = runs[kKlLoss], entropy = runs[kEntropyLoss];
  *call.a.loss = policy + kl + entropy;
}

}  // namespace

int64_t surrogate_workspace(int64_t tokens, int64_t rows, int64_t segments, int64_t groups) {
  // Units are rows or segments.
  SurrogateCall call{};
  call.units = rows > segments ? rows : segments;
  call.tiles = ragged_tiles(tokens, call.units, kTile);
  return lay_out(call, rows, groups, nullptr);
}

Status surrogate(Context& context, const SurrogateArgs& a) {
  if (const char* refusal = surrogate_refusal(a)) return Status::error(Code::option, refusal);
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

  const auto blocks = [](int64_t count, int threads) {
    LaunchShape shape;
    shape.grid = dim3(static_cast<unsigned>(count));
    shape.block = dim3(static_cast<unsigned>(threads));
    return shape;
  };
  const auto warps = [&](int64_t count) {
    return blocks(blocks_of(count, kWarpsPerBlock), kThreads);
  };
  Status status;
  const auto run = [&](const LaunchShape& shape, auto kernel, auto... more) {
    if (!status.ok()) return;
    const Status launched = launch(context, "surrogate", shape, kernel, call, more...);
    status.code = launched.code;
    status.message = launched.message;
  };
  const int64_t tokens = token_blocks(call.tiles), rows = row_blocks(a.rows);
  const bool sums_up = needs_statistics(call.plan);
  run(elementwise_shape(context, a.rows, kThreads), clear_kernel);
  if (sums_up || a.mask != nullptr) run(blocks(tokens, kThreads), statistics_kernel);
  if (sums_up) run(warps(call.units), unit_sums_kernel);
  if (sums_up && in_segments) run(warps(a.rows), row_sums_kernel);
  if (is_grouped(a.aggregation)) run(warps(a.groups), groups_kernel);
  if (call.counts_batch) run(blocks(1, kFinishThreads), batch_kernel);
  if (call.plan.shares_ratio) {
    run(blocks(tokens, kThreads), pull_kernel);
    run(warps(call.units), unit_pulls_kernel);
  }
  run(blocks(tokens, kThreads), token_kernel);
  run(blocks(rows, kThreads), row_metrics_kernel, tokens);
  run(blocks(1, kFinishThreads), finish_kernel, tokens + rows);
  return status;
}

}  // namespace firesteel
