// A row's score: one block per row, quads of tokens from the row's first one on, so that neither
// sum nor gradient depends on where the row lies. A group's loss: one block per group, then one
// block for the sums over groups, then the division.
#include "kernels/group_loss/group_loss.h"
#include "kernels/group_loss/math.h"
#include "kernels/group_loss/row_math.h"
#include "kernels/group_loss/row_score.h"
#include "runtime/cuda/context.h"
#include "runtime/cuda/launch.h"
#include "runtime/cuda/pack.h"
#include "runtime/cuda/ptx.h"
#include "runtime/cuda/reduce.h"

namespace firesteel {
namespace {

constexpr int kRowThreads = 128;
constexpr int kGroupThreads = 128;
constexpr int kFinishThreads = 256;

// Bit i: token i of the quad exists and is trained.
__device__ __forceinline__ unsigned trained_bits(const uint8_t* mask, int64_t left, bool wide) {
  const int count = left < Quad::size ? static_cast<int>(left) : Quad::size;
  const unsigned present = (1u << count) - 1u;
  if (mask == nullptr) return present;
  unsigned bits = 0;
  if (wide && count == Quad::size) {
    const uint32_t bytes = *reinterpret_cast<const uint32_t*>(mask);
#pragma unroll
    for (int i = 0; i < Quad::size; ++i) bits |= (bytes >> 8 * i & 0xffu) != 0 ? 1u << i : 0u;
  } else {
#pragma unroll
    for (int i = 0; i < Quad::size; ++i) bits |= i < count && mask[i] != 0 ? 1u << i : 0u;
  }
  return bits;
}

// The tokens of this block's row, in quads.
struct RowQuads {
  const float *log_prob, *base_log_prob;  // of the row's first token, or null
  const uint8_t* mask;
  int64_t count;
  bool wide, wide_mask;  // may be loaded as a whole

  __device__ RowQuads(const float* log_prob, const float* base_log_prob, const uint8_t* mask,
                      const int32_t* row_offsets) {
    const int64_t first = row_offsets[blockIdx.x];
    count = row_offsets[blockIdx.x + 1] - first;
    this->log_prob = log_prob != nullptr ? log_prob + first : nullptr;
    this->base_log_prob = base_log_prob != nullptr ? base_log_prob + first : nullptr;
    this->mask = mask != nullptr ? mask + first : nullptr;
    wide = pack_aligned(this->log_prob, 0) && pack_aligned(this->base_log_prob, 0);
    wide_mask = reinterpret_cast<uintptr_t>(this->mask) % sizeof(uint32_t) == 0;
  }

  // body(i, log_prob, base_log_prob, trained) for each quad of this thread; i: its first token.
  template <class Body>
  __device__ __forceinline__ void each(Body body) const {
    for (int64_t i = threadIdx.x * Quad::size; i < count; i += kRowThreads * Quad::size) {
      const int64_t left = count - i;
      Quad x = {}, base = {};
      if (log_prob != nullptr) x = load_quad(log_prob + i, left, wide);
      if (base_log_prob != nullptr) base = load_quad(base_log_prob + i, left, wide);
      body(i, x, base, trained_bits(mask != nullptr ? mask + i : nullptr, left, wide_mask));
    }
  }
};

__global__ void __launch_bounds__(kRowThreads) row_score_kernel(RowScoreArgs a) {
  const RowQuads row(a.log_prob, a.base_log_prob, a.mask, a.row_offsets);
  double sum = 0.0;
  int trained = 0;
  row.each([&](int64_t, const Quad& log_prob, const Quad& base, unsigned bits) {
#pragma unroll
    for (int i = 0; i < Quad::size; ++i) {
      if ((bits >> i & 1u) == 0) continue;
      const double x = log_ratio(log_prob.x[i], base.x[i]);
      sum += a.term == RowTerm::k3 ? k3(x) : x;
      ++trained;
    }
  });
  sum = block_sum(sum);
  trained = block_sum(trained);
  if (threadIdx.x != 0) return;
  const RowScore result = row_score_of(a.term, a.pooling, sum, trained);
  if (!is_finite(result.score)) record_fault(a.faults, Fault::not_a_number, blockIdx.x);
  a.score[blockIdx.x] = result.score;
  a.token_weight[blockIdx.x] = result.token_weight;
  a.trained_tokens[blockIdx.x] = trained;
}

__global__ void __launch_bounds__(kRowThreads) row_score_backward_kernel(RowScoreBackwardArgs a) {
  const RowQuads row(a.log_prob, a.base_log_prob, a.mask, a.row_offsets);
  const double weight = a.token_weight[blockIdx.x];
  const double slope = weight != 0.0 ? weight * a.d_score[blockIdx.x] : 0.0;
  float* out = a.d_log_prob + a.row_offsets[blockIdx.x];
  const bool wide = pack_aligned(out, 0);
  int wrong = 0;
  row.each([&](int64_t i, const Quad& log_prob, const Quad& base, unsigned bits) {
    Quad gradient = {};
#pragma unroll
    for (int j = 0; j < Quad::size; ++j) {
      if ((bits >> j & 1u) == 0 || weight == 0.0) continue;
      const double own =
          a.log_prob == nullptr ? 1.0 : k3_slope(log_ratio(log_prob.x[j], base.x[j]));
      wrong |= to_gradient(slope * own, &gradient.x[j]) ? 0 : 1;
    }
    store_quad(out + i, gradient, row.count - i, wide);
  });
  wrong = block_max(wrong);
  if (wrong != 0 && threadIdx.x == 0) record_fault(a.faults, Fault::not_a_number, blockIdx.x);
}

// The team of a block.
struct Block {
  FaultWord* faults;

  template <class Body>
  __device__ __forceinline__ void each(int64_t begin, int64_t end, Body body) const {
    for (int64_t i = begin + threadIdx.x; i < end; i += kGroupThreads) body(i);
  }
  template <class T>
  __device__ __forceinline__ T sum(T x) const {
    return block_sum(x);
  }
  __device__ __forceinline__ double max(double x) const { return block_max(x); }
  __device__ __forceinline__ bool any(bool x) const { return block_max(x ? 1 : 0) != 0; }
  __device__ __forceinline__ bool leads() const { return threadIdx.x == 0; }
  __device__ __forceinline__ void fault(int64_t row) const {
    record_fault(faults, Fault::not_a_number, row);
  }
};

struct Workspace {
  double* denominator;
  GroupTerm* terms;  // [G]
};

__global__ void __launch_bounds__(kGroupThreads, 1) group_kernel(GroupLossArgs a, Workspace w) {
  const GroupTerm term = group_term(a, blockIdx.x, Block{a.faults});
  if (threadIdx.x != 0) return;
  w.terms[blockIdx.x] = term;
  a.group_loss[blockIdx.x] = term.loss;
}

__global__ void __launch_bounds__(kFinishThreads, 1) finish_kernel(GroupLossArgs a, Workspace w) {
  GroupTerm sum = {};
  for (int64_t g = threadIdx.x; g < a.groups; g += kFinishThreads) {
    sum.loss += w.terms[g].loss;
#pragma unroll
    for (int m = 0; m < kGroupLossMetricCount; ++m) sum.metrics[m] += w.terms[g].metrics[m];
  }
  sum.loss = block_sum(sum.loss);
#pragma unroll
  for (int m = 0; m < kGroupLossMetricCount; ++m) {
    sum.metrics[m] = block_sum(sum.metrics[m]);
    if (threadIdx.x == 0) a.metrics[m] = sum.metrics[m];
  }
  if (threadIdx.x != 0) return;
  *w.denominator = denominator_of(a, sum.metrics[kGroupCount]);
  *a.loss = sum.loss / *w.denominator;
}

__global__ void divide_kernel(GroupLossArgs a, Workspace w) {
  const double denominator = *w.denominator;
  for (int64_t r = grid_thread(); r < a.rows; r += grid_threads()) a.d_score[r] /= denominator;
}

LaunchShape one_block_each(int64_t count, int threads) {
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(count));
  shape.block = dim3(static_cast<unsigned>(threads));
  return shape;
}

}  // namespace

Status row_score(Context& context, const RowScoreArgs& a) {
  return launch(context, "row_score", one_block_each(a.rows, kRowThreads), row_score_kernel, a);
}

Status row_score_backward(Context& context, const RowScoreBackwardArgs& a) {
  return launch(context, "row_score_backward", one_block_each(a.rows, kRowThreads),
                row_score_backward_kernel, a);
}

int64_t group_loss_workspace(int64_t groups) {
  return static_cast<int64_t>(sizeof(double)) + groups * static_cast<int64_t>(sizeof(GroupTerm));
}

Status group_loss(Context& context, const GroupLossArgs& a) {
  double* denominator = static_cast<double*>(a.workspace);
  const Workspace workspace{denominator, reinterpret_cast<GroupTerm*>(denominator + 1)};
  const Status taken = launch(context, "group_loss", one_block_each(a.groups, kGroupThreads),
                              group_kernel, a, workspace);
  if (!taken.ok()) return taken;
  const Status finished =
      launch(context, "group_loss", one_block_each(1, kFinishThreads), finish_kernel, a, workspace);
  if (!finished.ok()) return finished;
  return launch(context, "group_loss", elementwise_shape(context, a.rows), divide_kernel, a,
                workspace);
}

}  // namespace firesteel
