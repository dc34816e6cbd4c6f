// One block per row, of a fixed size, so that a row's sum depends on its own length alone.
#include "kernels/kl/kl.h"

#include "kernels/kl/math.h"
#include "runtime/cuda/context.h"
#include "runtime/cuda/launch.h"
#include "runtime/cuda/ptx.h"
#include "runtime/cuda/reduce.h"

namespace firesteel {
namespace {

constexpr int kThreads = 128;

__global__ void __launch_bounds__(kThreads) kl_kernel(KlArgs a) {
  const int64_t r = blockIdx.x;
  const int64_t begin = a.row_offsets[r], end = a.row_offsets[r + 1];
  double sum = 0.0;
  int faults = 0;
  for (int64_t t = begin + threadIdx.x; t < end; t += kThreads) {
    float kl = 0.0f;
    if (a.mask == nullptr || a.mask[t] != 0) {
      kl = kl_loss(a.estimator, a.difference_limit, a.value_limit, a.log_prob[t], a.ref_log_prob[t])
               .loss;
      if (kl != kl) {
        record_fault(a.faults, Fault::not_a_number, r);
        faults = 1;
      }
    }
    a.kl[t] = kl;
    sum += static_cast<double>(kl);
  }
  sum = block_sum(sum);
  faults = block_max(faults);
  if (threadIdx.x != 0) return;
  a.row_kl[r] = sum;
  if (faults == 0 && sum != sum) record_fault(a.faults, Fault::not_a_number, r);  // inf - inf
}

}  // namespace

Status kl(Context& context, const KlArgs& a) {
  if (!is_known(a.estimator)) return Status::error(Code::option, "unknown KL estimator");
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(a.rows));
  shape.block = dim3(kThreads);
  return launch(context, "kl", shape, kl_kernel, a);
}

}  // namespace firesteel
