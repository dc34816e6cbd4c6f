// Four to eleven launches, no atomics but on integers. What a loss depends on is summed first:
// trained tokens per row, log-ratios per tile, unit and row, what the batch divides by. Units that
// share a ratio then sum their pulls. Losses and gradients come from one pass over the tokens,
// metrics from one over the rows. Tiles, units and parts of metrics are added in an order that
// their sizes decide.
#include "kernels/surrogate/checks.h"
#include "kernels/surrogate/cuda_metrics.h"
#include "kernels/surrogate/cuda_sums.h"
#include "kernels/surrogate/cuda_tiles.h"
#include "kernels/surrogate/cuda_token.h"
#include "kernels/surrogate/surrogate.h"
#include "runtime/cuda/context.h"

namespace firesteel {
namespace {

__global__ void __launch_bounds__(kThreads, 4) pull_kernel(SurrogateCall call) {
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
      const TokenInput<float> x = read_token(a, tile, t);
      const TokenGradient token = token_gradient(plan, unit, x, plan.pools && shares);
      if (token.valid) {
        const TokenTerm<float>& term = token.term;
        gradient = token.log_prob;
        entropy_gradient = token.entropy;
        mismatch = term.mismatch;
        // What d_log_prob has got of it.
        bias = term.moves ? x.ratio_scale * term.pull * static_cast<float>(unit.coefficient) : 0.0f;
        add_token(plan, unit.shaped, term, x.entropy, sums, all);
      } else {
        record_fault(a.faults, Fault::not_a_number, tile.row);
      }
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
  write_part(all, call.parts + blockIdx.x);
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
  const SurrogateCall call = call_of(a);
  SurrogateLaunches launches{context, call, {}};
  const int64_t tokens = token_blocks(call.tiles), rows = row_blocks(a.rows);
  run_sums(launches);
  if (call.plan.shares_ratio) {
    launches.run(blocks_shape(tokens, kThreads), pull_kernel);
    launches.run(warps_shape(call.units), unit_pulls_kernel);
  }
  launches.run(blocks_shape(tokens, kThreads), token_kernel);
  launches.run(blocks_shape(rows, kThreads), row_metrics_kernel, tokens);
  launches.run(blocks_shape(1, kFinishThreads), finish_kernel, tokens + rows);
  return launches.status;
}

}  // namespace firesteel
