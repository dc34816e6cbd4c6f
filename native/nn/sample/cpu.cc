#include "nn/sample/sample.h"

#include <algorithm>
#include <limits>

#include "nn/sample/table.h"
#include "runtime/cpu/context.h"
#include "runtime/simd/dispatch.h"

namespace firesteel {

FIRESTEEL_DISPATCH(SampleTable, sample_table)

namespace {

constexpr int64_t kBlock = 1024;
constexpr int64_t kMaxBlocks = (1 << 20) / kBlock;
constexpr int64_t kGrain = 1 << 14;  // elements: about 20 us of exp

// Sums by block first, then by token inside the block where u falls: only that block's weights are
// computed again.
int32_t draw(const SampleArgs& a, const float* logits, float max, float u) {
  const SampleTable& table = sample_table();
  double until[kMaxBlocks];  // weight of the blocks up to and with this one
  const int64_t blocks = (a.vocab + kBlock - 1) / kBlock;
  double total = 0.0;
  for (int64_t b = 0; b < blocks; ++b) {
    total += table.weigh(std::min(kBlock, a.vocab - b * kBlock), logits + b * kBlock, max,
                         a.inv_temperature, nullptr);
    until[b] = total;
  }
  const double wanted = double{u} * total;
  int64_t b = std::upper_bound(until, until + blocks, wanted) - until;
  // Only a u outside of [0, 1) gets here: it draws from the last block with any weight.
  if (b == blocks) b = std::lower_bound(until, until + blocks, total) - until;

  float weight[kBlock];
  const int64_t count = std::min(kBlock, a.vocab - b * kBlock);
  table.weigh(count, logits + b * kBlock, max, a.inv_temperature, weight);
  double sum = b == 0 ? 0.0 : until[b - 1];
  int64_t last = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (weight[i] <= 0.0f) continue;
    last = i;
    sum += double{weight[i]};
    if (sum > wanted) break;
  }
  return static_cast<int32_t>(b * kBlock + last);
}

int32_t sample_row(const SampleArgs& a, int64_t row) {
  const float* logits = a.logits + row * a.row_stride;
  bool bad = false;
  const float max = sample_table().scan(a.vocab, logits, &bad);
  if (bad || max == -std::numeric_limits<float>::infinity()) {
    record_fault(a.faults, bad ? Fault::not_a_number : Fault::no_support, row);
    return -1;
  }
  if (a.greedy) return static_cast<int32_t>(std::find(logits, logits + a.vocab, max) - logits);
  return draw(a, logits, max, a.uniform[row]);
}

}  // namespace

Status sample(Context& context, const SampleArgs& a) {
  if (a.vocab < 1 || a.vocab > kBlock * kMaxBlocks) {
    return Status::error(Code::range, "sample: expected a vocabulary of 1 to 2^20");
  }
  return context.parallel(a.rows, kGrain / a.vocab, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) a.tokens[row] = sample_row(a, row);
  });
}

}  // namespace firesteel
