#include <algorithm>
#include <atomic>
#include <limits>

#include "kernels/surrogate/checks.h"
#include "kernels/surrogate/surrogate.h"
#include "kernels/surrogate/table.h"
#include "kernels/surrogate/unit.h"
#include "runtime/cpu/context.h"
#include "runtime/simd/dispatch.h"

namespace firesteel {

FIRESTEEL_DISPATCH(SurrogateTable, surrogate_table)

namespace {

// Tokens in a chunk of work: about 20 us at 1 ns per token.
constexpr int64_t kChunk = 1 << 14;

// Rows in a chunk: decided by the batch alone, because the metrics of a chunk are summed together.
int64_t rows_per_chunk(int64_t tokens, int64_t rows) {
  return kChunk / (tokens / std::max<int64_t>(rows, 1) + 1) + 1;
}
int64_t chunks(int64_t tokens, int64_t rows) {
  const int64_t size = rows_per_chunk(tokens, rows);
  return (rows + size - 1) / size;
}

struct ChunkMetrics {
  double of[kMetricCount];
};

struct Batch {
  const SurrogateArgs& a;
  SurrogatePlan plan;
  const SurrogateTable& table;
  SurrogateRow* rows;
  BatchCounts counts{};
  bool plain = false;  // take_rows takes all rows whose coefficients are floats
  bool alike = false;  // the tokens of a unit have the same pull
};

bool is_shaped(const SurrogateArgs& a, int64_t row) {
  return a.shaped != nullptr && a.shaped[row] != 0;
}

// ---- what a batch divides by: coefficients of rows, first without the denominator

Status share_rows(Context& context, Batch& batch) {
  const SurrogateArgs& a = batch.a;
  std::atomic<int64_t> trained{0}, active_rows{0};  // integers: threads may add in any order
  const int64_t grain = rows_per_chunk(a.tokens, a.rows);
  const Status status = context.parallel(a.rows, grain, [&](int64_t begin, int64_t end) {
    int64_t sum = 0, active = 0;
    for (int64_t r = begin; r < end; ++r) {
      const int64_t first = a.row_offsets[r], tokens = a.row_offsets[r + 1] - first;
      const int64_t own =
          a.mask != nullptr ? batch.table.trained_tokens(a.mask + first, tokens) : tokens;
      SurrogateRow& row = batch.rows[r];
      row.trained = static_cast<double>(own);
      row.coefficient = row_share(a.aggregation, row.trained, a.horizon);
      sum += own;
      active += own > 0 ? 1 : 0;
    }
    trained.fetch_add(sum, std::memory_order_relaxed);
    active_rows.fetch_add(active, std::memory_order_relaxed);
  });
  batch.counts.trained = static_cast<double>(trained.load());
  batch.counts.active_rows = static_cast<double>(active_rows.load());
  return status;
}

void share_groups(Batch& batch) {
  const SurrogateArgs& a = batch.a;
  const bool by_sign = a.aggregation == Aggregation::balanced;
  for (int64_t g = 0; g < a.groups; ++g) {
    const int64_t begin = a.group_offsets[g], end = a.group_offsets[g + 1];
    GroupCounts group{};
    for (int64_t r = begin; r < end; ++r) {
      add_row(group, batch.rows[r].trained, by_sign && a.advantage[r] > 0.0f,
              by_sign && a.advantage[r] < 0.0f);
    }
    batch.counts.groups += group.tokens > 0.0 ? 1.0 : 0.0;
    const float weight = a.group_weight != nullptr ? a.group_weight[g] : 1.0f;
    for (int64_t r = begin; r < end; ++r) {
      batch.rows[r].coefficient =
          grouped_row_share(a.aggregation, group, by_sign ? a.advantage[r] : 0.0f, weight);
    }
  }
}

// Whether all of them are floats.
bool divide_rows(const Batch& batch, int64_t begin, int64_t end) {
  const double denominator = denominator_of(batch.a, batch.counts);
  const bool entropies = batch.plan.entropies || batch.a.d_entropy != nullptr;
  bool finite = true;
  for (int64_t r = begin; r < end; ++r) {
    SurrogateRow& row = batch.rows[r];
    row.coefficient /= denominator;
    row.entropy = entropies ? entropy_slope(batch.a, row.coefficient, batch.counts) : 0.0;
    finite = finite && is_number(static_cast<float>(row.coefficient)) &&
             is_number(static_cast<float>(row.entropy));
  }
  return finite;
}

// ---- losses and gradients

template <class T>
T* at(T* array, int64_t token) {
  return array != nullptr ? array + token : nullptr;
}

// `segment` only where the call has segments.
SurrogateSpan span_of(const SurrogateArgs& a, int64_t row, int64_t segment, int64_t begin,
                      int64_t end) {
  SurrogateSpan span;
  span.tokens = end - begin;
  span.log_prob = a.log_prob + begin;
  span.old_log_prob = at(a.old_log_prob, begin);
  span.ref_log_prob = at(a.ref_log_prob, begin);
  span.sampler_log_prob = at(a.sampler_log_prob, begin);
  span.weight = at(a.weight, begin);
  span.ratio_scale = at(a.ratio_scale, begin);
  span.ratio_bias = at(a.ratio_bias, begin);
  span.entropy = at(a.entropy, begin);
  span.mask = at(a.mask, begin);
  span.advantage_per_token = a.advantage_unit == AdvantageUnit::token;
  span.advantage = a.advantage + (a.advantage_unit == AdvantageUnit::row       ? row
                                  : a.advantage_unit == AdvantageUnit::segment ? segment
                                                                               : begin);
  span.limits_per_token = a.low != nullptr && !a.limits_per_row;
  const int64_t limit = a.limits_per_row ? row : begin;
  span.low = a.low != nullptr ? a.low + limit : &a.terms.low;
  span.high = a.high != nullptr ? a.high + limit : &a.terms.high;
  span.d_log_prob = a.d_log_prob + begin;
  span.d_entropy = at(a.d_entropy, begin);
  span.d_ratio_bias = at(a.d_ratio_bias, begin);
  span.mismatch_weight = at(a.mismatch_weight, begin);
  return span;
}

void write_zeros(const SurrogateSpan& span) {
  for (float* out : {span.d_log_prob, span.d_entropy, span.d_ratio_bias, span.mismatch_weight}) {
    if (out != nullptr) std::fill(out, out + span.tokens, 0.0f);
  }
}

void add(SurrogateCounts& sum, const SurrogateCounts& counts) {
  sum.faults += counts.faults;
  sum.clipped_low += counts.clipped_low;
  sum.clipped_high += counts.clipped_high;
  sum.clamped += counts.clamped;
  sum.mismatch_changed += counts.mismatch_changed;
  sum.dropped += counts.dropped;
}

// Of one trained token, times as many as there are: a product of a float and a count below 2^29 is
// exact, as their sum would be.
SurrogatePull pull_alike(const Batch& batch, const SurrogateUnit& unit, const SurrogateSpan& span,
                         const SurrogateStatistics& own) {
  int64_t first = 0;
  while (span.mask != nullptr && span.mask[first] == 0) ++first;
  SurrogateSpan one = span;
  one.tokens = 1;
  one.log_prob += first;
  one.old_log_prob += first;
  one.mask = nullptr;
  const SurrogatePull pull = batch.table.pull(batch.plan, unit, one);
  return {pull.sum * own.trained, pull.faults};
}

// The tokens of a row, or of one of its segments.
SurrogateCounts take_unit(const Batch& batch, int64_t r, const SurrogateSpan& span,
                          const SurrogateStatistics& own, const SurrogateStatistics& row,
                          SurrogateLanes& lanes) {
  SurrogateCounts counts{};
  if (own.trained == 0.0) {
    write_zeros(span);
    return counts;
  }
  const SurrogatePlan& plan = batch.plan;
  SurrogateUnit unit = unit_of(plan, is_shaped(batch.a, r), batch.rows[r].coefficient,
                               batch.rows[r].entropy, own, row);
  if (plan.shares_ratio && !unit.shaped && !unit.failed) {
    const SurrogatePull pull =
        batch.alike ? pull_alike(batch, unit, span, own) : batch.table.pull(plan, unit, span);
    unit.failed = pull.faults > 0;
    share_pull(plan, pull.sum, own.trained, unit);
  }
  if (unit.failed) {
    write_zeros(span);
    counts.faults = static_cast<int64_t>(own.trained);
    return counts;
  }
  const auto take = batch.alike && !unit.shaped ? batch.table.take_alike : batch.table.take;
  return take(plan, unit, span, lanes);
}

SurrogateCounts take_segments(const Batch& batch, int64_t r, const SurrogateStatistics& row,
                              SurrogateLanes& lanes) {
  const SurrogateArgs& a = batch.a;
  const int32_t* offsets = a.segment_offsets;
  SurrogateCounts counts{};
  int64_t s = std::lower_bound(offsets, offsets + a.segments, a.row_offsets[r]) - offsets;
  for (; s < a.segments && offsets[s] < a.row_offsets[r + 1]; ++s) {
    const SurrogateSpan span = span_of(a, r, s, offsets[s], offsets[s + 1]);
    const SurrogateStatistics own = batch.table.statistics(batch.plan, span);
    add(counts, take_unit(batch, r, span, own, row, lanes));
  }
  return counts;
}

void take_row(const Batch& batch, int64_t r, SurrogateLanes& lanes) {
  const SurrogateArgs& a = batch.a;
  const SurrogatePlan& plan = batch.plan;
  const SurrogateSpan span = span_of(a, r, 0, a.row_offsets[r], a.row_offsets[r + 1]);
  SurrogateStatistics row{};
  row.trained = batch.rows[r].trained;
  const bool in_segments = plan.level == RatioLevel::segment;
  const bool of_rows = plan.sums_mismatch || plan.sums_correction || plan.sums_off_policy;
  if (row.trained > 0.0 && !is_shaped(a, r) && (of_rows || (plan.sums_log_ratio && !in_segments))) {
    row = batch.table.statistics(plan, span);
  }
  batch.rows[r].counts = in_segments ? take_segments(batch, r, row, lanes)
                                     : take_unit(batch, r, span, row, row, lanes);
}

// ---- metrics

void add_row_metrics(const SurrogateArgs& a, const SurrogateRow& row, int64_t r, double* m) {
  const SurrogateCounts& counts = row.counts;
  if (row.trained == 0.0) return;
  for (int64_t i = 0; i < counts.faults; ++i) record_fault(a.faults, Fault::not_a_number, r);
  m[kTrainedTokens] += row.trained;
  m[kActiveRows] += 1.0;
  if (is_shaped(a, r)) return;
  const double low = static_cast<double>(counts.clipped_low);
  const double high = static_cast<double>(counts.clipped_high);
  const double low_share = low / row.trained, high_share = high / row.trained;
  m[kRatioTokens] += row.trained - static_cast<double>(counts.faults);
  m[kRatioRows] += 1.0;
  m[kClippedLow] += low;
  m[kClippedHigh] += high;
  m[kClippedLowRows] += low_share;
  m[kClippedHighRows] += high_share;
  m[kClippedLowRowMin] = std::min(m[kClippedLowRowMin], low_share);
  m[kClippedHighRowMax] = std::max(m[kClippedHighRowMax], high_share);
  m[kClampedRatios] += static_cast<double>(counts.clamped);
  m[kMismatchChanged] += static_cast<double>(counts.mismatch_changed);
  m[kDroppedRows] += counts.dropped > 0 ? 1.0 : 0.0;
}

void clear(SurrogateLanes& lanes) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  lanes = {};
  for (float* lowest : {lanes.ratio_min, lanes.mismatch_min}) {
    std::fill_n(lowest, SurrogateLanes::count, infinity);
  }
  for (float* highest : {lanes.ratio_max, lanes.mismatch_max, lanes.sampler_difference_max}) {
    std::fill_n(highest, SurrogateLanes::count, -infinity);
  }
}

void add_lanes(const SurrogateLanes& lanes, double* m) {
  for (int i = 0; i < SurrogateLanes::count; ++i) {
    const auto merge = [&](SurrogateMetric metric, double value) {
      m[metric] = merge_metric(metric, m[metric], value);
    };
    merge(kPolicyLoss, lanes.policy_loss[i]);
    merge(kKlLoss, lanes.kl_loss[i]);
    merge(kEntropyLoss, lanes.entropy_loss[i]);
    merge(kKlSum, lanes.kl[i]);
    merge(kEntropySum, lanes.entropy[i]);
    merge(kRatioSum, lanes.ratio[i]);
    merge(kRatioMin, double{lanes.ratio_min[i]});
    merge(kRatioMax, double{lanes.ratio_max[i]});
    merge(kLogRatioSquared, 0.5 * lanes.log_ratio_squared[i]);
    merge(kMismatchSum, lanes.mismatch[i]);
    merge(kMismatchMin, double{lanes.mismatch_min[i]});
    merge(kMismatchMax, double{lanes.mismatch_max[i]});
    merge(kSamplerDifferenceSum, lanes.sampler_difference[i]);
    merge(kSamplerDifferenceMax, double{lanes.sampler_difference_max[i]});
  }
}

// Without a correction the weights are 1.
void add_neutral_mismatch(double* m) {
  m[kMismatchSum] = m[kRatioTokens];
  if (m[kRatioTokens] > 0.0) m[kMismatchMin] = m[kMismatchMax] = 1.0;
}

void take_chunk(const Batch& batch, int64_t chunk, double* m) {
  const SurrogateArgs& a = batch.a;
  const int64_t size = rows_per_chunk(a.tokens, a.rows);
  const int64_t begin = chunk * size, end = std::min(begin + size, a.rows);
  SurrogateLanes lanes;
  clear(lanes);
  if (divide_rows(batch, begin, end) && batch.plain) {
    const SurrogateSpan span = span_of(a, begin, 0, 0, a.tokens);
    const auto take_rows = batch.table.take_rows[static_cast<int>(batch.plan.form)];
    take_rows(batch.plan, span, a.row_offsets + begin, end - begin, batch.rows + begin, lanes);
  } else {
    for (int64_t r = begin; r < end; ++r) take_row(batch, r, lanes);
  }
  for (int i = 0; i < kMetricCount; ++i) m[i] = no_metric(i);
  for (int64_t r = begin; r < end; ++r) add_row_metrics(a, batch.rows[r], r, m);
  add_lanes(lanes, m);
  if (batch.plan.mismatch == Mismatch::none) add_neutral_mismatch(m);
}

// Nothing that enters the pull, or makes a token a fault but not its neighbour, is a token's own.
// Where a token's log-ratio is NaN, so is its unit's.
bool pulls_alike(const SurrogateArgs& a, const SurrogatePlan& s) {
  const bool form = s.form == SurrogateForm::clip || s.form == SurrogateForm::unclipped ||
                    s.form == SurrogateForm::sapo;
  return form && s.shares_ratio && s.mismatch == Mismatch::none && !s.sampler && !s.weighted &&
         !s.reference && !s.entropies && !s.sums_off_policy &&
         a.advantage_unit != AdvantageUnit::token && (a.low == nullptr || a.limits_per_row) &&
         !(s.log_ratio_low > -INFINITY) && !(s.log_ratio_high < INFINITY) &&
         a.d_entropy == nullptr && a.mismatch_weight == nullptr && a.tokens < int64_t{1} << 29;
}

bool is_plain(const SurrogateArgs& a, const SurrogatePlan& s) {
  return s.level == RatioLevel::token && !s.normalised && !s.sampler && a.low == nullptr &&
         !(s.log_ratio_low > -INFINITY) && !(s.log_ratio_high < INFINITY) && !s.sums_off_policy &&
         !s.kl_ratio && a.shaped == nullptr && a.mismatch_weight == nullptr;
}

}  // namespace

int64_t surrogate_workspace(int64_t tokens, int64_t rows, int64_t, int64_t) {
  return rows * static_cast<int64_t>(sizeof(SurrogateRow)) +
         chunks(tokens, rows) * static_cast<int64_t>(sizeof(ChunkMetrics));
}

Status surrogate(Context& context, const SurrogateArgs& a) {
  if (const char* refusal = surrogate_refusal(a)) return Status::error(Code::option, refusal);
  const SurrogateTable& table = surrogate_table();
  Batch batch{a, plan_of(a), table, static_cast<SurrogateRow*>(a.workspace)};
  ChunkMetrics* metrics = reinterpret_cast<ChunkMetrics*>(batch.rows + a.rows);

  Status status = share_rows(context, batch);
  if (!status.ok()) return status;
  if (is_grouped(a.aggregation)) share_groups(batch);
  batch.plain =
      is_plain(a, batch.plan) && table.take_rows[static_cast<int>(batch.plan.form)] != nullptr;
  batch.alike = pulls_alike(a, batch.plan);

  const int64_t count = chunks(a.tokens, a.rows);
  status = context.parallel(count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) take_chunk(batch, i, metrics[i].of);
  });
  if (!status.ok()) return status;

  for (int m = 0; m < kMetricCount; ++m) {
    a.metrics[m] = no_metric(m);
    for (int64_t i = 0; i < count; ++i) {
      a.metrics[m] = merge_metric(m, a.metrics[m], metrics[i].of[m]);
    }
  }
  a.loss[0] = total_loss(a.metrics);
  return {};
}

}  // namespace firesteel
