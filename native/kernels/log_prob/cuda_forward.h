// The row kernel of log_prob's forward pass and of a shard's partial statistics: a cluster of
// blocks per row, which is one block where the card has no clusters, the row is short or rows are
// many. Included by cuda.cu alone.
#pragma once
#include "kernels/log_prob/cuda_scan.h"

namespace firesteel {
namespace {

// Where the row kernel writes: the shard's partials, or else the outputs of a whole row.
struct RowTarget {
  LogProbPartial* partials;
  int64_t vocab_start;
  LogProbOutputs out;
};

__device__ __forceinline__ void conclude(const RowTarget& to, int64_t row,
                                         const LogProbPartial& partial, int64_t vocab) {
  if (to.partials != nullptr) {
    to.partials[row] = partial;
    return;
  }
  const int fault = write_row(to.out, row, partial, vocab);
  if (fault >= 0) record_fault(to.out.faults, static_cast<Fault>(fault), to.out.first_row + row);
}

template <class T>
__global__ void __launch_bounds__(1024)
    row_kernel(LogProbRows a, RowTarget to, Plan plan, bool with_total) {
  FIRESTEEL_SHARED(Part, parts, kMaxParts);
  const int rank = cluster_rank();
  const int t = static_cast<int>(blockIdx.x) / plan.cluster;  // a grid has fewer than 2^31 blocks
  const float inverse = inverse_if_read(a, t, to.vocab_start, to.partials == nullptr);
  if (inverse == 0.0f) {
    if (rank == 0 && threadIdx.x == 0) conclude(to, t, unread(a, t, to.vocab_start), a.vocab);
    return;
  }
  cluster_arrive();  // the first block must have started before the others write to it

  const float c = exponent_scale(inverse);
  const T* logits = static_cast<const T*>(a.logits) + int64_t{t} * a.row_stride;
  const Row<T> row = row_at(logits, a.vocab);
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int first = warp * plan.cluster + rank, step = plan.warps * plan.cluster;
  scan(row, plan, first, step, with_total, c, parts + 0, [](const Tile<T>&, int) {});
  cluster_wait();
  send_parts(parts + 0, plan.parts, first, step, 1);
  cluster_sync();
  if (rank != 0 || warp != 0) return;
  const float target = target_logit(a, t, to.vocab_start, row);
  const Merged merged = merge_parts(a, t, to.vocab_start, row, target, parts + 0, plan.parts, c);
  if (threadIdx.x == 0) conclude(to, t, merged.row, a.vocab);
}

}  // namespace
}  // namespace firesteel
