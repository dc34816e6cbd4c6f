// How the CUDA kernels of surrogate sum metrics: in threads over tokens, by blocks into parts, and
// all parts at the end.
#pragma once
#include "kernels/surrogate/cuda_tiles.h"

namespace firesteel {
namespace {

constexpr int kFinishThreads = 512;

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

// The part of the block: by warps, then its warps in order. Every thread of the block calls it.
__device__ __forceinline__ void write_part(const TokenMetrics& all, Metrics* part) {
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
  part->of[i] = sum;
}

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
}  // namespace firesteel
