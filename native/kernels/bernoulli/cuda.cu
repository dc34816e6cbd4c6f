// A thread per four edges, then a block per row for the sums and the faults.
#include "kernels/bernoulli/bernoulli.h"
#include "kernels/bernoulli/math.h"
#include "runtime/cuda/context.h"
#include "runtime/cuda/launch.h"
#include "runtime/cuda/pack.h"
#include "runtime/cuda/ptx.h"
#include "runtime/cuda/reduce.h"

namespace firesteel {
namespace {

constexpr int kEdgeThreads = 128;
constexpr int kRowThreads = 128;

__device__ __forceinline__ Quad load_or_zeros(const float* p, int64_t i, int64_t left, bool wide) {
  if (p != nullptr) return load_quad(p + i, left, wide);
  return {{0.0f, 0.0f, 0.0f, 0.0f}};
}
__device__ __forceinline__ ByteQuad load_mask(const uint8_t* p, int64_t i, int64_t left,
                                              bool wide) {
  return p != nullptr ? load_bytes(p + i, left, wide) : all_ones(left);
}

// `wide` of the floats, `wide_bytes` of actions and mask.
__global__ void __launch_bounds__(kEdgeThreads, 1)
    edge_kernel(BernoulliArgs a, bool wide, bool wide_bytes) {
  for_quads(a.edges, [&](int64_t i, int64_t left) {
    const Quad logit = load_quad(a.logits + i, left, wide);
    const Quad ref_logit = load_or_zeros(a.ref_logits, i, left, wide);
    const ByteQuad action = load_bytes(a.actions + i, left, wide_bytes);
    const ByteQuad mask = load_mask(a.mask, i, left, wide_bytes);
    Quad log_prob, entropy, kl;
#pragma unroll
    for (int e = 0; e < Quad::size; ++e) {
      bernoulli::EdgeValues values{0.0f, 0.0f, 0.0f};
      if (mask.x[e] != 0) {
        values = bernoulli::edge_values({logit.x[e], ref_logit.x[e], action.x[e]}, a.temperature,
                                        a.entropy != nullptr, a.kl != nullptr);
      }
      log_prob.x[e] = values.log_prob;
      entropy.x[e] = values.entropy;
      kl.x[e] = values.kl;
    }
    store_quad(a.log_prob + i, log_prob, left, wide);
    if (a.entropy != nullptr) store_quad(a.entropy + i, entropy, left, wide);
    if (a.kl != nullptr) store_quad(a.kl + i, kl, left, wide);
  });
}

__device__ __forceinline__ void write_sum(const float* x, double* sums, int64_t row, int64_t begin,
                                          int64_t end) {
  if (x == nullptr) return;
  double sum = 0.0;
  for (int64_t e = begin + threadIdx.x; e < end; e += kRowThreads) sum += static_cast<double>(x[e]);
  sum = block_sum(sum);
  if (threadIdx.x == 0) sums[row] = sum;
}

__global__ void __launch_bounds__(kRowThreads, 1) row_kernel(BernoulliArgs a) {
  const int64_t row = blockIdx.x, begin = a.row_offsets[row], end = a.row_offsets[row + 1];
  write_sum(a.log_prob, a.row_log_prob, row, begin, end);
  write_sum(a.entropy, a.row_entropy, row, begin, end);
  write_sum(a.kl, a.row_kl, row, begin, end);
  for (int64_t e = begin + threadIdx.x; e < end; e += kRowThreads) {
    if (isnan(a.log_prob[e])) {
      record_fault(a.faults, a.actions[e] > 1 ? Fault::id_out_of_range : Fault::not_a_number, row);
    } else if (a.kl != nullptr && !isfinite(a.kl[e])) {
      record_fault(a.faults, isnan(a.kl[e]) ? Fault::not_a_number : Fault::no_support, row);
    }
  }
}

__global__ void __launch_bounds__(kEdgeThreads, 1)
    backward_kernel(BernoulliBackwardArgs a, bool wide, bool wide_bytes) {
  for_quads(a.edges, [&](int64_t i, int64_t left) {
    const Quad logit = load_quad(a.logits + i, left, wide);
    const Quad ref_logit = load_or_zeros(a.ref_logits, i, left, wide);
    const ByteQuad action = load_bytes(a.actions + i, left, wide_bytes);
    const ByteQuad mask = load_mask(a.mask, i, left, wide_bytes);
    const Quad d_log_prob = load_quad(a.d_log_prob + i, left, wide);
    const Quad d_entropy = load_or_zeros(a.d_entropy, i, left, wide);
    const Quad d_kl = load_or_zeros(a.d_kl, i, left, wide);
    Quad d_logit;
#pragma unroll
    for (int e = 0; e < Quad::size; ++e) {
      d_logit.x[e] = mask.x[e] == 0 ? 0.0f
                                    : bernoulli::edge_gradient(
                                          {logit.x[e], ref_logit.x[e], action.x[e]}, a.temperature,
                                          {d_log_prob.x[e], d_entropy.x[e], d_kl.x[e]});
    }
    store_quad(a.d_logits + i, d_logit, left, wide);
  });
}

LaunchShape edges_shape(const Context& context, int64_t edges) {
  return elementwise_shape(context, (edges + Quad::size - 1) / Quad::size, kEdgeThreads);
}

}  // namespace

Status bernoulli_forward(Context& context, const BernoulliArgs& a) {
  if (a.rows > kMaxGridX) return Status::error(Code::range, "bernoulli: too many rows");
  const bool wide = all_aligned(a.logits, a.ref_logits, a.log_prob, a.entropy, a.kl);
  const bool wide_bytes = bytes_aligned(a.actions, 0) && bytes_aligned(a.mask, 0);
  const Status status =
      launch(context, "bernoulli", edges_shape(context, a.edges), edge_kernel, a, wide, wide_bytes);
  if (!status.ok()) return status;
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(a.rows));
  shape.block = dim3(kRowThreads);
  return launch(context, "bernoulli", shape, row_kernel, a);
}

Status bernoulli_backward(Context& context, const BernoulliBackwardArgs& a) {
  const bool wide =
      all_aligned(a.logits, a.ref_logits, a.d_log_prob, a.d_entropy, a.d_kl, a.d_logits);
  const bool wide_bytes = bytes_aligned(a.actions, 0) && bytes_aligned(a.mask, 0);
  return launch(context, "bernoulli_backward", edges_shape(context, a.edges), backward_kernel, a,
                wide, wide_bytes);
}

}  // namespace firesteel
