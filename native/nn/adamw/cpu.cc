#include "nn/adamw/adamw.h"

#include <algorithm>
#include <cmath>

#include "nn/adamw/table.h"
#include "runtime/cpu/context.h"
#include "runtime/simd/dispatch.h"

namespace firesteel {

FIRESTEEL_DISPATCH(AdamwTable, adamw_table)

namespace {

constexpr int64_t kBlock = 1 << 14;  // elements summed on their own; fixes the order of the sum
constexpr int64_t kGrain = 1 << 15;  // elements of a step: about 20 us

int64_t blocks(int64_t count) {
  return (count + kBlock - 1) / kBlock;
}

}  // namespace

int64_t sum_squares_workspace(int64_t count) {
  return blocks(count) * static_cast<int64_t>(sizeof(double));
}

Status sum_squares(Context& context, const SumSquaresArgs& a) {
  double* const sums = static_cast<double*>(a.workspace);
  Status status = context.parallel(blocks(a.count), 4, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t at = i * kBlock;
      sums[i] = adamw_table().sum_squares(std::min(kBlock, a.count - at), a.x + at);
    }
  });
  if (!status.ok()) return status;
  double total = 0.0;
  for (int64_t i = 0; i < blocks(a.count); ++i) total += sums[i];
  a.total[0] += total;
  return {};
}

Status adamw(Context& context, const AdamwArgs& a) {
  AdamwFactors factors{1.0f,  a.lr,           a.beta1,       a.beta2,
                       a.eps, a.weight_decay, a.correction1, a.correction2};
  if (a.grad_square) {
    if (!std::isfinite(*a.grad_square)) return {};
    const float norm = static_cast<float>(std::sqrt(*a.grad_square));
    factors.clip = std::min(1.0f, a.max_grad_norm / (norm + 1e-6f));
  }
  return context.parallel(a.count, kGrain, [&](int64_t begin, int64_t end) {
    adamw_table().step(end - begin, factors, a.grad + begin, a.param + begin, a.m + begin,
                       a.v + begin);
  });
}

}  // namespace firesteel
