// The gradient of single tokens on CUDA: what a token's row knows, and what the token makes of it.
// For surrogate, and for token_loss, which has one token a block.
#pragma once
#include "kernels/surrogate/cuda_tiles.h"

namespace firesteel {
namespace {

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

struct TokenGradient {
  TokenTerm<float> term;
  float log_prob, entropy;  // of the loss by the token's log-prob and entropy
  bool valid;               // else the token is left out and the rest is of no use
};

// `shared`: the unit hands out unit.share to the tokens that move.
__device__ __forceinline__ TokenGradient token_gradient(const SurrogatePlan& plan,
                                                        const SurrogateUnit& unit,
                                                        const TokenInput<float>& x, bool shared) {
  TokenGradient token = {};
  if (unit.failed) return token;
  token.term = token_term<false>(plan, unit, x);
  const float own = own_gradient<false>(plan, unit, token.term, x.ratio_scale);
  token.log_prob = own + (shared && token.term.moves ? unit.share : 0.0f);
  token.entropy = static_cast<float>(unit.entropy);
  token.valid = token.term.valid && fabsf(token.log_prob) < INFINITY;
  return token;
}

}  // namespace
}  // namespace firesteel
