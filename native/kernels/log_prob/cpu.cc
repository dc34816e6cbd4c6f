#include <string.h>

#include "kernels/log_prob/math.h"
#include "kernels/log_prob/rows.h"
#include "kernels/log_prob/table.h"
#include "runtime/cpu/context.h"
#include "runtime/scalar.h"
#include "runtime/simd/dispatch.h"

namespace firesteel {

FIRESTEEL_DISPATCH(LogProbTable, log_prob_table)

namespace {

// Elements of logits in a chunk of work: 20 to 60 us at 1 to 3 elements per ns.
constexpr int64_t kChunk = 1 << 16;
// Rows of a merge in a chunk: 0.1 us a row and shard.
constexpr int64_t kMergeChunk = 1 << 10;

int64_t rows_per_chunk(int64_t vocab) {
  return vocab < kChunk ? kChunk / vocab : 1;
}

const char* row_at(const LogProbRows& rows, int64_t t) {
  return static_cast<const char*>(rows.logits) + t * rows.row_stride * size_of(rows.dtype);
}

double logit_at(DType dtype, const void* row, int64_t column) {
  switch (dtype) {
    case DType::bf16:
      return static_cast<double>(to_float(static_cast<const bf16*>(row)[column]));
    case DType::f16:
      return static_cast<double>(to_float(static_cast<const f16*>(row)[column]));
    default:
      return static_cast<double>(static_cast<const float*>(row)[column]);
  }
}

using Sums = LogProbPartial (*)(const LogProbRow&);
Sums sums_of(DType dtype) {
  return log_prob_table().sums[static_cast<int>(dtype)];
}

// Everything about row t, of which `logits` holds some columns or the whole vocabulary.
LogProbPartial read_row(const LogProbRows& rows, Sums sums, int64_t t, int64_t vocab_start,
                        bool whole, bool with_total) {
  const float inverse = inverse_if_read(rows, t, vocab_start, whole);
  if (inverse == 0.0f) return unread(rows, t, vocab_start);
  const char* logits = row_at(rows, t);
  LogProbPartial row = sums({logits, rows.vocab, exponent_scale(inverse), with_total, kNoColumns});
  if (row.sum != row.sum) return unread(rows, t, vocab_start);
  const int32_t column = target_column(rows, t, vocab_start);
  row.target = column < 0 ? __builtin_inf() : logit_at(rows.dtype, logits, column);
  row.inverse_temperature = static_cast<double>(inverse);
  return row;
}

void finish_row(const LogProbOutputs& out, int64_t t, const LogProbPartial& row, int64_t vocab) {
  const int fault = write_row(out, t, row, vocab);
  if (fault >= 0) record_fault(out.faults, static_cast<Fault>(fault), out.first_row + t);
}

Status unknown_dtype() {
  return Status::error(Code::dtype, "expected logits of f32, bf16 or f16");
}

}  // namespace

void log_prob_row(const LogProbArgs& a, int64_t t) {
  finish_row(a, t, read_row(a, sums_of(a.dtype), t, 0, true, a.vocab_mean != nullptr), a.vocab);
}

void log_prob_backward_row(const LogProbBackwardArgs& a, int64_t t, int64_t next) {
  const int64_t size = size_of(a.dtype);
  char* out = static_cast<char*>(a.d_logits) + t * a.d_row_stride * size;
  const bool trained = is_trained(a, t);
  const float inverse = trained ? inverse_temperature(a, t) : 0.0f;
  const bool usable = inverse == inverse;
  if (!usable) record_fault(a.faults, Fault::parameter_out_of_range, a.first_row + t);
  const LogProbSlopes s = trained && usable ? slopes_of(a, t, inverse) : LogProbSlopes{};
  if (!trained || !usable || s.zero) {
    memset(out, 0, static_cast<size_t>(a.vocab * size));
    return;
  }
  const auto row = log_prob_table().backward[static_cast<int>(a.dtype)];
  row({row_at(a, t), out, a.vocab, row_at(a, next), target_column(a, t, a.vocab_start),
       exponent_scale(inverse), a.stats[2 * t], a.stats[2 * t + 1], s.base, s.slope, s.each,
       s.hit});
}

bool log_prob_begin(const LogProbArgs& a, int64_t t, LogProbPartial* row) {
  *row = kNoColumns;
  row->inverse_temperature = static_cast<double>(inverse_if_read(a, t, 0, true));
  if (row->inverse_temperature != 0.0) return true;
  finish_row(a, t, unread(a, t, 0), a.vocab);
  return false;
}

void log_prob_add(const LogProbColumns& x, int32_t target, bool with_total, LogProbPartial* row) {
  if (row->sum != row->sum) return;
  const float scale = exponent_scale(static_cast<float>(row->inverse_temperature));
  const LogProbPartial all = sums_of(x.dtype)({x.logits, x.count, scale, with_total, *row});
  if (all.sum != all.sum) {
    row->sum = all.sum;
    return;
  }
  *row = all;
  const int64_t column = target - x.first_id;
  if (column >= 0 && column < x.count) row->target = logit_at(x.dtype, x.logits, column);
}

void log_prob_end(const LogProbArgs& a, int64_t t, const LogProbPartial& row) {
  finish_row(a, t, row, a.vocab);
}

Status log_prob_forward(Context& context, const LogProbArgs& a) {
  if (a.dtype > DType::f16) return unknown_dtype();
  return context.parallel(a.tokens, rows_per_chunk(a.vocab), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) log_prob_row(a, t);
  });
}

Status log_prob_partial(Context& context, const LogProbPartialArgs& a) {
  if (a.dtype > DType::f16) return unknown_dtype();
  const Sums sums = sums_of(a.dtype);
  return context.parallel(a.tokens, rows_per_chunk(a.vocab), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      a.partials[t] = read_row(a, sums, t, a.vocab_start, false, true);
    }
  });
}

Status log_prob_merge(Context& context, const LogProbMergeArgs& a) {
  return context.parallel(a.tokens, kMergeChunk, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      LogProbPartial row = a.shards[0][t];
      for (int i = 1; i < a.shard_count; ++i) row = merged_shards(row, a.shards[i][t]);
      finish_row(a, t, row, a.vocab);
    }
  });
}

Status log_prob_backward(Context& context, const LogProbBackwardArgs& a) {
  if (a.dtype > DType::f16) return unknown_dtype();
  return context.parallel(a.tokens, rows_per_chunk(a.vocab), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) log_prob_backward_row(a, t, t);
  });
}

}  // namespace firesteel
