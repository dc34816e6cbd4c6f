// The row kernel of token_loss: a cluster of blocks takes a row of logits. Each block loads its
// segments once, keeping them in shared memory as they lie, and sums its parts; all blocks exchange
// parts and merge them, with the same bits, and each works out the token's gradient for itself;
// then each turns its segments into the gradient and stores them. Segments that found no room are
// read a second time, mostly from the second-level cache. Included by cuda.cu alone.
#pragma once
#include "kernels/log_prob/cuda_gradient.h"
#include "kernels/log_prob/cuda_scan.h"
#include "kernels/surrogate/cuda_token.h"

namespace firesteel {
namespace {

struct TokenLossCall {
  LogProbRows rows;
  SurrogateCall loss;
  Plan plan;
  int slots;  // segments that a block keeps
  float *log_prob, *entropy;
  void* d_logits;
  int64_t d_row_stride;
  FaultWord* faults;
  SurrogateUnit* units;  // [R] what the tokens of a row share
  int32_t* row_of;       // [T] the row that a token belongs to
};

// Once per call, one thread a token or row: what every token would have to find out again.
__global__ void __launch_bounds__(kThreads, 4) units_kernel(TokenLossCall call) {
  const SurrogateArgs& a = call.loss.a;
  const int64_t i = grid_thread();
  if (i < a.tokens) {
    const int32_t behind = static_cast<int32_t>(i) + 1;
    call.row_of[i] = static_cast<int32_t>(lower_bound(a.row_offsets, a.rows + 1, behind)) - 1;
  }
  if (i >= a.rows) return;
  const SurrogateUnit unit = unit_of_tile(call.loss, {0, i, i, 0, 0});
  call.units[i] = unit;
}

// What a token brings, read while its logits are on their way.
struct TokenRead {
  TokenInput<float> input;
  SurrogateUnit unit;
  float target;  // its logit
};

// What the warps of a block are told about their row.
struct RowResult {
  RowGradient gradient;
  bool zero, far;
};

struct Scores {
  float log_prob, entropy, stats[2];
  int fault;
};

__device__ __forceinline__ Scores scores_of(const LogProbPartial& row, int64_t vocab) {
  Scores s;
  LogProbOutputs out = {};
  out.log_prob = &s.log_prob;
  out.entropy = &s.entropy;
  out.stats = s.stats;
  s.fault = write_row(out, 0, row, vocab);
  return s;
}

// By one thread of the row.
__device__ __forceinline__ void write_scores(const TokenLossCall& call, int64_t t,
                                             const Scores& s) {
  call.log_prob[t] = s.log_prob;
  if (call.entropy != nullptr) call.entropy[t] = s.entropy;
  if (s.fault >= 0) record_fault(call.faults, static_cast<Fault>(s.fault), t);
}

// As log_prob_backward has them, of what surrogate gives it.
__device__ __forceinline__ LogProbSlopes slopes_for(const TokenLossCall& call, const Scores& s,
                                                    const TokenGradient& token, float inverse) {
  LogProbBackwardArgs b = {};
  b.d_log_prob = &token.log_prob;
  if (call.loss.a.d_entropy != nullptr) b.d_entropy = &token.entropy;
  b.entropy = &s.entropy;
  return slopes_of(b, 0, inverse);
}

template <class T>
__device__ __forceinline__ TokenRead read_row_token(const TokenLossCall& call, int64_t t,
                                                    const Row<T>& row) {
  const int64_t r = call.row_of[t];
  TokenRead token;
  token.input = read_token(call.loss.a, {0, r, r, t, 1}, t);
  token.unit = call.units[r];
  token.target = target_logit(call.rows, t, 0, row);
  return token;
}

// By one thread: the token's scores and gradient from the sums of its row.
__device__ __forceinline__ RowResult conclude(const TokenLossCall& call, int64_t t,
                                              const Merged& merged, TokenRead token, float inverse,
                                              bool writes) {
  const Scores scores = scores_of(merged.row, call.rows.vocab);
  token.input.log_prob = scores.log_prob;
  token.input.entropy = call.loss.a.entropy != nullptr ? scores.entropy : 0.0f;
  TokenGradient gradient = token_gradient(call.loss.plan, token.unit, token.input, false);
  if (writes) {
    write_scores(call, t, scores);
    if (scores.fault < 0 && !gradient.valid) record_fault(call.faults, Fault::not_a_number, t);
  }
  RowResult result = {};
  result.far = merged.far;
  result.zero = scores.fault >= 0 || !gradient.valid;
  if (result.zero) return result;
  result.gradient.top = scores.stats[0];
  result.gradient.log2_sum = scores.stats[1];
  result.gradient.c = exponent_scale(inverse);
  result.gradient.slopes = slopes_for(call, scores, gradient, inverse);
  result.zero = result.gradient.slopes.zero;
  return result;
}

// The block's share of the gradient, in aligned chunks of it. The last segments first: if a part of
// the row was not kept they were read last.
template <class T>
__device__ __forceinline__ void write_gradient(const TokenLossCall& call, int64_t t,
                                               const Row<T>& row, SharedPtr<T> kept,
                                               const RowResult& result) {
  constexpr int size = Pack<T>::size;
  const Plan& plan = call.plan;
  T* out = static_cast<T*>(call.d_logits) + t * call.d_row_stride;
  const int phase = phase_of(out), lane = lane_of_row();
  const bool wide = phase == phase_of(row.at);  // else logits are read one by one
  const int warp = static_cast<int>(threadIdx.x) / kWarp, rank = cluster_rank();
  const int target = target_column(call.rows, t, 0);
  const int segments = (row.vocab + phase + kSegment<T> - 1) / kSegment<T>;
  const int held = (segments - rank + plan.cluster - 1) / plan.cluster;
  // Slots warp, warp + warps, ... are this warp's: it reads back what it wrote.
  const int mine = (held - warp + plan.warps - 1) / plan.warps;
  for (int i = mine - 1; i >= 0; --i) {
    const int slot = warp + i * plan.warps;
    const int segment = slot * plan.cluster + rank;
    const bool on_chip = wide && segment < row.whole && slot < call.slots;
#pragma unroll
    for (int k = 0; k < kTilePacks; ++k) {
      const int begin = segment * kSegment<T> + (k * kWarp + lane) * size - phase;
      Pack<T> d = zero_pack<T>();
      if (!result.zero) {
        const int at = slot * kSegment<T> + (k * kWarp + lane) * size;
        const Pack<T> x =
            on_chip ? load_pack(kept + at) : load_chunk(row.at, begin, row.vocab, wide);
        d = gradient_pack(result.gradient, x, target - begin);
      }
      store_chunk(out, begin, row.vocab, d);
    }
  }
}

template <class T>
__global__ void __launch_bounds__(1024) token_loss_kernel(TokenLossCall call) {
  FIRESTEEL_SHARED(Part, parts, kMaxParts);
  FIRESTEEL_SHARED(TokenRead, shared_token, 1);
  FIRESTEEL_SHARED(RowResult, shared_result, 1);
  const SharedPtr<T> kept = dynamic_smem<T>();
  const Plan& plan = call.plan;
  const int rank = cluster_rank(), warp = static_cast<int>(threadIdx.x) / kWarp;
  const int t = static_cast<int>(blockIdx.x) / plan.cluster;  // a grid has fewer than 2^31 blocks
  const float inverse = inverse_if_read(call.rows, t, 0, true);
  const Row<T> row =
      row_at(static_cast<const T*>(call.rows.logits) + t * call.rows.row_stride, call.rows.vocab);
  RowResult result = {};
  result.zero = true;
  if (inverse == 0.0f) {
    if (rank == 0 && threadIdx.x == 0) {
      write_scores(call, t, scores_of(unread(call.rows, t, 0), call.rows.vocab));
    }
  } else {
    cluster_arrive();  // all blocks must have started before others write to them
    // The last warp has the fewest segments.
    if (threadIdx.x == blockDim.x - 1) shared_token[0] = read_row_token(call, t, row);
    const float c = exponent_scale(inverse);
    const int first = warp * plan.cluster + rank, step = plan.warps * plan.cluster;
    scan(row, plan, first, step, false, c, parts + 0, [&](const Tile<T>& tile, int segment) {
      const int slot = segment / plan.cluster;
      if (slot >= call.slots) return;
      const int at = slot * kSegment<T> + lane_of_row() * Pack<T>::size;
#pragma unroll
      for (int k = 0; k < kTilePacks; ++k) {
        store_pack(kept + (at + k * kWarp * Pack<T>::size), pack_of<T>(tile.pack[k]));
      }
    });
    cluster_wait();
    send_parts(parts + 0, plan.parts, first, step, plan.cluster);
    cluster_sync();
    if (warp == 0) {
      const TokenRead token = shared_token[0];
      const Merged merged =
          merge_parts(call.rows, t, 0, row, token.target, parts + 0, plan.parts, c);
      if (threadIdx.x == 0) {
        shared_result[0] = conclude(call, t, merged, token, inverse, rank == 0);
      }
    }
    __syncthreads();
    result = shared_result[0];
    if (result.far) cluster_sync();  // others may still read what is written next
  }
  write_gradient(call, t, row, kept, result);
}

}  // namespace
}  // namespace firesteel
