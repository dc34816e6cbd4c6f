#include "nn/adamw/adamw.h"

#include <algorithm>
#include <cmath>

#include "nn/adamw/blocks.h"
#include "nn/adamw/table.h"
#include "runtime/cpu/context.h"
#include "runtime/float_type.h"
#include "runtime/simd/dispatch.h"

namespace firesteel {

FIRESTEEL_DISPATCH(AdamwTable, adamw_table)

namespace {

constexpr int64_t kBlock = 1 << 14;  // elements summed on their own; fixes the order of the sum
constexpr int64_t kStep = 1 << 15;   // elements of a step: about 20 us

}  // namespace

int64_t sum_squares_workspace(const SumSquaresArgs& a) {
  return tensor_blocks(a, kBlock) * static_cast<int64_t>(sizeof(double));
}

Status sum_squares(Context& context, const SumSquaresArgs& a) {
  double* const sums = static_cast<double*>(a.workspace);
  const int64_t blocks = tensor_blocks(a, kBlock);
  Status status = context.parallel(blocks, 4, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const TensorBlock block = tensor_block(a, kBlock, i);
      sums[i] = adamw_table().sum_squares(block.count, a.tensor[block.tensor].x + block.begin);
    }
  });
  if (!status.ok()) return status;
  double total = 0.0;
  for (int64_t i = 0; i < blocks; ++i) total += sums[i];
  a.total[0] += total;
  return {};
}

Status adamw(Context& context, const AdamwArgs& a) {
  if (a.dtype > DType::f16) return expected_float_type();
  AdamwFactors factors{1.0f,  a.lr,           a.beta1,       a.beta2,
                       a.eps, a.weight_decay, a.correction1, a.correction2};
  if (a.grad_square) {
    if (!std::isfinite(*a.grad_square)) return {};
    const float norm = static_cast<float>(std::sqrt(*a.grad_square));
    factors.clip = std::min(1.0f, a.max_grad_norm / (norm + 1e-6f));
  }
  const auto step = adamw_table().step[static_cast<int>(a.dtype)];
  return context.parallel(tensor_blocks(a, kStep), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const TensorBlock block = tensor_block(a, kStep, i);
      const auto& t = a.tensor[block.tensor];
      const int64_t at = block.begin;
      char* const rounded =
          a.dtype == DType::f32 ? nullptr : static_cast<char*>(t.rounded) + at * size_of(a.dtype);
      step(block.count, factors, t.grad + at, t.weight + at, t.m + at, t.v + at, rounded);
    }
  });
}

}  // namespace firesteel
