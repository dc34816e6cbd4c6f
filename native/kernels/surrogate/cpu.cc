#include <algorithm>
#include <limits>

#include "kernels/surrogate/math.h"
#include "kernels/surrogate/surrogate.h"
#include "kernels/surrogate/table.h"
#include "runtime/cpu/context.h"
#include "runtime/simd/dispatch.h"

namespace firesteel {

FIRESTEEL_DISPATCH(SurrogateTable, surrogate_table)

namespace {

// Tokens in a chunk of work: about 20 us at 1 ns per token.
constexpr int64_t kChunk = 1 << 14;

struct RowResult {
  double trained, coefficient;
  SurrogateSums sums;
};

SurrogateRow row_of(const SurrogateArgs& a, int64_t r, double coefficient) {
  const int64_t begin = a.row_offsets[r];
  return {a.row_offsets[r + 1] - begin,
          a.log_prob + begin,
          a.old_log_prob + begin,
          a.ref_log_prob != nullptr ? a.ref_log_prob + begin : nullptr,
          a.advantage + (a.advantage_per_token ? begin : r),
          a.advantage_per_token,
          a.weight != nullptr ? a.weight + begin : nullptr,
          a.mask != nullptr ? a.mask + begin : nullptr,
          static_cast<float>(coefficient),
          a.d_log_prob + begin};
}

// In row order, so that neither the loss nor a metric depends on which thread did what.
void sum_rows(const SurrogateArgs& a, const RowResult* results) {
  double* m = a.metrics;
  std::fill(m, m + kMetricCount, 0.0);
  m[kRatioMin] = std::numeric_limits<double>::infinity();
  m[kRatioMax] = -m[kRatioMin];
  for (int64_t r = 0; r < a.rows; ++r) {
    const RowResult& row = results[r];
    const SurrogateSums& sums = row.sums;
    m[kTrainedTokens] += row.trained;
    if (row.trained == 0.0) continue;
    m[kActiveRows] += 1.0;
    m[kPolicyLossSum] += row.coefficient * sums.policy;
    if (a.beta != 0.0f) {
      m[kKlLossSum] += row.coefficient * static_cast<double>(a.beta) * sums.kl;
    }
    m[kKlTokenSum] += sums.kl;
    m[kClippedLow] += static_cast<double>(sums.clipped_low);
    m[kClippedHigh] += static_cast<double>(sums.clipped_high);
    m[kRatioSum] += sums.ratio;
    m[kRatioMin] = std::min(m[kRatioMin], static_cast<double>(sums.ratio_min));
    m[kRatioMax] = std::max(m[kRatioMax], static_cast<double>(sums.ratio_max));
    m[kLogRatioSquared] += sums.log_ratio_squared;
  }
  a.loss[0] = m[kPolicyLossSum] + m[kKlLossSum];
}

}  // namespace

int64_t surrogate_workspace(int64_t, int64_t rows) {
  return rows * static_cast<int64_t>(sizeof(RowResult));
}

Status surrogate(Context& context, const SurrogateArgs& a) {
  const SurrogateTable& table = surrogate_table();
  const SurrogateTerms terms = surrogate_terms(a);
  RowResult* results = static_cast<RowResult*>(a.workspace);
  const int64_t tokens_per_row = a.rows > 0 ? a.tokens / a.rows : 0;
  const int64_t grain = kChunk / (tokens_per_row + 1) + 1;

  Status status = context.parallel(a.rows, grain, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t first = a.row_offsets[r], tokens = a.row_offsets[r + 1] - first;
      results[r].trained = static_cast<double>(
          a.mask != nullptr ? table.trained_tokens(a.mask + first, tokens) : tokens);
    }
  });
  if (!status.ok()) return status;

  double trained = 0.0, active = 0.0;
  for (int64_t r = 0; r < a.rows; ++r) {
    trained += results[r].trained;
    active += results[r].trained > 0.0 ? 1.0 : 0.0;
  }
  const double denominator =
      a.denominator != 0.0 ? a.denominator : default_denominator(a.aggregation, trained, active);

  status = context.parallel(a.rows, grain, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      RowResult& result = results[r];
      result.coefficient = row_coefficient(a.aggregation, result.trained, denominator, a.horizon);
      result.sums = table.row(terms, row_of(a, r, result.coefficient));
      for (int64_t i = 0; i < result.sums.faults; ++i) {
        record_fault(a.faults, Fault::not_a_number, r);
      }
    }
  });
  if (!status.ok()) return status;
  sum_rows(a, results);
  return {};
}

}  // namespace firesteel
