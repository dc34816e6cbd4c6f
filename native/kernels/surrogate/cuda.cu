// Four launches, no atomics: trained tokens of every tile of every row; their totals, from which
// the denominator follows; losses and gradients, with the sums of every tile; the sums of all
// tiles. A tile's plan depends on its row alone, and tiles are added in a fixed order.
#include "kernels/surrogate/math.h"
#include "kernels/surrogate/surrogate.h"
#include "runtime/cuda/context.h"
#include "runtime/cuda/launch.h"
#include "runtime/cuda/ptx.h"
#include "runtime/cuda/ragged.h"
#include "runtime/cuda/reduce.h"

namespace firesteel {
namespace {

constexpr int kTile = 1024;  // tokens
constexpr int kThreads = 128;
constexpr int kFinishThreads = 512;

struct Totals {
  double trained_tokens, active_rows;
};

struct TileSums {
  double policy_loss, kl_loss;  // with the row's coefficient
  double kl, clipped_low, clipped_high, ratio, ratio_min, ratio_max, log_ratio_squared;
};

struct Workspace {
  Totals* totals;
  TileSums* sums;   // [tiles]
  int32_t* counts;  // [tiles] trained tokens
};

Workspace divide(void* workspace, int64_t tiles) {
  Totals* totals = static_cast<Totals*>(workspace);
  TileSums* sums = reinterpret_cast<TileSums*>(totals + 1);
  return {totals, sums, reinterpret_cast<int32_t*>(sums + tiles)};
}

__device__ __forceinline__ bool is_trained(const SurrogateArgs& a, int64_t token) {
  return a.mask == nullptr || a.mask[token] != 0;
}

__global__ void __launch_bounds__(kThreads) count_kernel(SurrogateArgs a, Workspace w) {
  const RaggedTile at = ragged_tile(a.row_offsets, a.rows, kTile, blockIdx.x);
  int count = 0;
  for (int i = threadIdx.x; i < at.count; i += kThreads) {
    count += is_trained(a, at.first + at.begin + i) ? 1 : 0;
  }
  count = block_sum(count);
  if (threadIdx.x == 0) w.counts[blockIdx.x] = count;
}

__global__ void __launch_bounds__(kFinishThreads, 1) totals_kernel(SurrogateArgs a, Workspace w) {
  int64_t trained = 0, active = 0;
  for (int64_t r = threadIdx.x; r < a.rows; r += kFinishThreads) {
    int64_t count = 0;
    const int64_t end = a.row_offsets[r + 1] / kTile + r + 1;
    for (int64_t i = a.row_offsets[r] / kTile + r; i < end; ++i) count += w.counts[i];
    trained += count;
    active += count > 0 ? 1 : 0;
  }
  trained = block_sum(trained);
  active = block_sum(active);
  if (threadIdx.x == 0) {
    *w.totals = {static_cast<double>(trained), static_cast<double>(active)};
  }
}

__global__ void __launch_bounds__(kThreads, 1)
    token_kernel(SurrogateArgs a, SurrogateTerms terms, Workspace w) {
  const RaggedTile at = ragged_tile(a.row_offsets, a.rows, kTile, blockIdx.x);
  const int64_t row_tile = blockIdx.x - at.begin / kTile;
  int row_tokens = 0;
  for (int i = threadIdx.x; i * kTile < at.items; i += kThreads)
    row_tokens += w.counts[row_tile + i];
  row_tokens = block_sum(row_tokens);
  const double denominator =
      a.denominator != 0.0
          ? a.denominator
          : default_denominator(a.aggregation, w.totals->trained_tokens, w.totals->active_rows);
  const double coefficient = row_coefficient(a.aggregation, row_tokens, denominator, a.horizon);

  double policy = 0.0, kl = 0.0, ratio = 0.0, log_ratio_squared = 0.0;
  int clipped_low = 0, clipped_high = 0;
  float ratio_min = INFINITY, ratio_max = -INFINITY;
  for (int i = threadIdx.x; i < at.count; i += kThreads) {
    const int64_t t = at.first + at.begin + i;
    float gradient = 0.0f;
    if (is_trained(a, t)) {
      const float advantage = a.advantage[a.advantage_per_token ? t : at.row];
      const float weight = a.weight != nullptr ? a.weight[t] : 1.0f;
      const float reference = terms.reference ? a.ref_log_prob[t] : 0.0f;
      const TokenTerm<float> term =
          token_term(terms, a.log_prob[t], a.old_log_prob[t], reference, advantage, weight);
      if (is_valid(term, advantage, weight)) {
        gradient = static_cast<float>(coefficient * static_cast<double>(term.gradient));
        policy += static_cast<double>(term.policy);
        kl += static_cast<double>(term.kl);
        ratio += static_cast<double>(term.ratio);
        const double log_ratio = static_cast<double>(term.log_ratio);
        log_ratio_squared += 0.5 * log_ratio * log_ratio;
        clipped_low += term.ratio < terms.low && advantage < 0.0f ? 1 : 0;
        clipped_high += term.ratio > terms.high && advantage > 0.0f ? 1 : 0;
        ratio_min = fminf(ratio_min, term.ratio);
        ratio_max = fmaxf(ratio_max, term.ratio);
      } else {
        record_fault(a.faults, Fault::not_a_number, at.row);
      }
    }
    a.d_log_prob[t] = gradient;
  }

  TileSums sums;
  sums.policy_loss = block_sum(policy) * coefficient;
  sums.kl = block_sum(kl);
  // With beta 0 the estimate is a metric only, and may be infinite.
  sums.kl_loss = terms.beta != 0.0f ? static_cast<double>(terms.beta) * sums.kl * coefficient : 0.0;
  sums.clipped_low = block_sum(clipped_low);
  sums.clipped_high = block_sum(clipped_high);
  sums.ratio = block_sum(ratio);
  sums.ratio_min = static_cast<double>(block_min(ratio_min));
  sums.ratio_max = static_cast<double>(block_max(ratio_max));
  sums.log_ratio_squared = block_sum(log_ratio_squared);
  if (threadIdx.x == 0) w.sums[blockIdx.x] = sums;
}

__global__ void __launch_bounds__(kFinishThreads, 1)
    finish_kernel(SurrogateArgs a, int64_t tiles, Workspace w) {
  TileSums sums{};
  sums.ratio_min = INFINITY;
  sums.ratio_max = -INFINITY;
  for (int64_t i = threadIdx.x; i < tiles; i += kFinishThreads) {
    const TileSums tile = w.sums[i];
    sums.policy_loss += tile.policy_loss;
    sums.kl_loss += tile.kl_loss;
    sums.kl += tile.kl;
    sums.clipped_low += tile.clipped_low;
    sums.clipped_high += tile.clipped_high;
    sums.ratio += tile.ratio;
    sums.ratio_min = fmin(sums.ratio_min, tile.ratio_min);
    sums.ratio_max = fmax(sums.ratio_max, tile.ratio_max);
    sums.log_ratio_squared += tile.log_ratio_squared;
  }
  double metrics[kMetricCount];
  metrics[kTrainedTokens] = w.totals->trained_tokens;
  metrics[kActiveRows] = w.totals->active_rows;
  metrics[kPolicyLossSum] = block_sum(sums.policy_loss);
  metrics[kKlLossSum] = block_sum(sums.kl_loss);
  metrics[kKlTokenSum] = block_sum(sums.kl);
  metrics[kClippedLow] = block_sum(sums.clipped_low);
  metrics[kClippedHigh] = block_sum(sums.clipped_high);
  metrics[kRatioSum] = block_sum(sums.ratio);
  metrics[kRatioMin] = block_min(sums.ratio_min);
  metrics[kRatioMax] = block_max(sums.ratio_max);
  metrics[kLogRatioSquared] = block_sum(sums.log_ratio_squared);
  if (threadIdx.x != 0) return;
  *a.loss = metrics[kPolicyLossSum] + metrics[kKlLossSum];
  for (int m = 0; m < kMetricCount; ++m) a.metrics[m] = metrics[m];
}

}  // namespace

int64_t surrogate_workspace(int64_t tokens, int64_t rows) {
  const int64_t tile_bytes = sizeof(TileSums) + sizeof(int32_t);
  return static_cast<int64_t>(sizeof(Totals)) + ragged_tiles(tokens, rows, kTile) * tile_bytes;
}

Status surrogate(Context& context, const SurrogateArgs& a) {
  const int64_t tiles = ragged_tiles(a.tokens, a.rows, kTile);
  if (tiles > kMaxGridX) return Status::error(Code::range, "surrogate: too many rows");
  const Workspace workspace = divide(a.workspace, tiles);
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(tiles));
  shape.block = dim3(kThreads);
  LaunchShape one;
  one.grid = dim3(1);
  one.block = dim3(kFinishThreads);
  const Status counted = launch(context, "surrogate", shape, count_kernel, a, workspace);
  if (!counted.ok()) return counted;
  const Status totalled = launch(context, "surrogate", one, totals_kernel, a, workspace);
  if (!totalled.ok()) return totalled;
  const Status taken =
      launch(context, "surrogate", shape, token_kernel, a, surrogate_terms(a), workspace);
  if (!taken.ok()) return taken;
  return launch(context, "surrogate", one, finish_kernel, a, tiles, workspace);
}

}  // namespace firesteel
