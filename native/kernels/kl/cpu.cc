#include "kernels/kl/kl.h"
#include "kernels/kl/table.h"
#include "runtime/cpu/context.h"
#include "runtime/simd/dispatch.h"

namespace firesteel {

FIRESTEEL_DISPATCH(KlTable, kl_table)

namespace {

// Tokens in a chunk of work: about 20 us at 1 ns per token.
constexpr int64_t kChunk = 1 << 14;

void take_row(const KlArgs& a, const KlTable& table, int64_t r) {
  const int64_t begin = a.row_offsets[r];
  const KlSum sum = table.row({a.row_offsets[r + 1] - begin, a.estimator, a.difference_limit,
                               a.value_limit, a.log_prob + begin, a.ref_log_prob + begin,
                               a.mask != nullptr ? a.mask + begin : nullptr, a.kl + begin});
  a.row_kl[r] = sum.kl;
  const bool cancels = sum.faults == 0 && sum.kl != sum.kl;  // inf - inf
  for (int64_t i = 0; i < sum.faults + (cancels ? 1 : 0); ++i) {
    record_fault(a.faults, Fault::not_a_number, r);
  }
}

}  // namespace

Status kl(Context& context, const KlArgs& a) {
  if (!is_known(a.estimator)) return Status::error(Code::option, "unknown KL estimator");
  const KlTable& table = kl_table();
  const int64_t tokens_per_row = a.rows > 0 ? a.tokens / a.rows : 0;
  const int64_t grain = kChunk / (tokens_per_row + 1) + 1;
  return context.parallel(a.rows, grain, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) take_row(a, table, r);
  });
}

}  // namespace firesteel
