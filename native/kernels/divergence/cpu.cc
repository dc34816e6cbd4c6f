#include <string.h>

#include <algorithm>
#include <limits>

#include "kernels/divergence/divergence.h"
#include "kernels/divergence/table.h"
#include "kernels/divergence/top_k.h"
#include "runtime/cpu/context.h"
#include "runtime/simd/dispatch.h"

namespace firesteel {

FIRESTEEL_DISPATCH(DivergenceTable, divergence_table)

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Tokens of the vocabulary in a chunk of work: 20 to 60 us.
constexpr int64_t kChunk = 1 << 14;

int64_t rows_per_chunk(int64_t vocab) {
  return vocab < kChunk ? kChunk / vocab : 1;
}

const char* at(const void* values, DType dtype, int64_t element) {
  return static_cast<const char*>(values) + element * size_of(dtype);
}

double value_at(const void* values, DType dtype, int64_t i) {
  switch (dtype) {
    case DType::bf16:
      return static_cast<double>(to_float(static_cast<const bf16*>(values)[i]));
    case DType::f16:
      return static_cast<double>(to_float(static_cast<const f16*>(values)[i]));
    default:
      return static_cast<double>(static_cast<const float*>(values)[i]);
  }
}

void store_at(void* values, DType dtype, int64_t i, float x) {
  switch (dtype) {
    case DType::bf16:
      static_cast<bf16*>(values)[i] = from_float<bf16>(x);
      return;
    case DType::f16:
      static_cast<f16*>(values)[i] = from_float<f16>(x);
      return;
    default:
      static_cast<float*>(values)[i] = x;
  }
}

// How a row ended. Without a fault its statistics have been written.
struct Outcome {
  float divergence;
  int fault;
};
Outcome faulty(Fault fault) {
  return {kNan, static_cast<int>(fault)};
}
Outcome infinite() {
  return {kInfinity, static_cast<int>(Fault::no_support)};
}

struct LogitSums {
  float max, scale;
  ExponentSums of;
  bool wrong() const { return of.weighted != of.weighted; }
  bool empty() const { return max == -kInfinity; }
};
LogitSums sums_of(const DivergenceTable& table, const LogitRow& row, double inverse_temperature) {
  const float max = table.max(row), scale = exponent_scale(inverse_temperature);
  return {max, scale, table.sums(row, max, scale)};
}

Outcome full_row(const DivergenceArgs& a, const DivergenceTable& table,
                 const DivergenceWeights& weights, int64_t t, float* stats) {
  const LogitRow student{at(a.student, a.student_dtype, t * a.vocab), a.student_dtype, a.vocab};
  const LogitRow teacher{at(a.teacher, a.teacher_dtype, t * a.vocab), a.teacher_dtype, a.vocab};
  const LogitSums p = sums_of(table, student, a.inverse_temperature);
  const LogitSums q = sums_of(table, teacher, a.inverse_teacher_temperature);
  if (p.wrong() || q.wrong()) return faulty(Fault::not_a_number);
  if (p.empty() || q.empty()) return faulty(Fault::no_support);
  const float ratio = log2_ratio(p.of.sum, q.of.sum);
  const DivergenceConstants constants = divergence_constants(p.scale, p.max, q.scale, q.max, ratio);
  const TokenSums sums = table.tokens(weights, constants, student, teacher);
  const RowDivergence row =
      row_divergence(weights, std::min(p.of.sum, q.of.sum), sums.first, sums.second);
  if (!(row.divergence < static_cast<double>(kInfinity))) return infinite();
  write_stats(constants, ratio, row, stats);
  return {static_cast<float>(row.divergence), -1};
}

struct Alone {
  template <class Body>
  void each(int64_t count, const Body& body) const {
    for (int64_t j = 0; j < count; ++j) body(j);
  }
  double sum(double x) const { return x; }
  double max(double x) const { return x; }
};

struct TopLogits {
  const void* student_row;
  const void* teacher_row;
  const int32_t* ids;
  DType student_dtype, teacher_dtype;
  double student(int64_t j) const { return value_at(student_row, student_dtype, ids[j]); }
  double teacher(int64_t j) const { return value_at(teacher_row, teacher_dtype, j); }
};

// Whether all are in [0, vocab) and none is there twice. Ids below 2^20 are floats too, so that
// they can be sorted where the slopes will be.
bool are_distinct(const int32_t* ids, int64_t count, int64_t vocab, float* room) {
  for (int64_t j = 0; j < count; ++j) {
    if (ids[j] < 0 || ids[j] >= vocab) return false;
    room[j] = static_cast<float>(ids[j]);
  }
  std::sort(room, room + count);
  return std::adjacent_find(room, room + count) == room + count;
}

Outcome top_k_row(const DivergenceArgs& a, const DivergenceTable& table, int64_t t, float* stats) {
  const int32_t* ids = a.top_ids + t * a.top_k;
  float* slopes = stats + kDivergenceStats;
  if (!are_distinct(ids, a.top_k, a.vocab, slopes)) return faulty(Fault::id_out_of_range);
  const TopLogits logits{at(a.student, a.student_dtype, t * a.vocab),
                         at(a.teacher, a.teacher_dtype, t * a.top_k), ids, a.student_dtype,
                         a.teacher_dtype};
  TopKRow row{a.top_k, a.inverse_temperature, a.inverse_teacher_temperature, 0.0, 0.0, 0.0};
  if (needs_vocabulary(a.rule.support)) {
    const LogitRow student{logits.student_row, a.student_dtype, a.vocab};
    const LogitSums all = sums_of(table, student, a.inverse_temperature);
    if (all.wrong()) return faulty(Fault::not_a_number);
    if (all.empty()) return faulty(Fault::no_support);
    const ExponentSums top = table.sums_at(student, ids, a.top_k, all.max, all.scale);
    row.student_max = static_cast<double>(all.max);
    row.outside_sum = std::max(0.0, all.of.sum - top.sum);
    row.outside_weighted = std::min(0.0, all.of.weighted - top.weighted);
  }
  const TopKResult result = top_k_row(Alone{}, a.rule, row, logits, slopes);
  if (result.divergence == static_cast<double>(kInfinity)) return infinite();
  const float written[] = {result.student_max, result.log2_sum, result.base, result.slope, 0.0f};
  std::copy(written, written + kDivergenceStats, stats);
  return {result.fault < 0 ? static_cast<float>(result.divergence) : kNan, result.fault};
}

bool is_trained(const uint8_t* mask, int64_t t) {
  return mask == nullptr || mask[t] != 0;
}

Status unknown_dtype() {
  return Status::error(Code::dtype, "expected logits of f32, bf16 or f16");
}

bool are_floats(DType a, DType b) {
  return a <= DType::f16 && b <= DType::f16;
}

void write_zeros(const DivergenceBackwardArgs& a, char* out) {
  memset(out, 0, static_cast<size_t>(a.vocab * size_of(a.student_dtype)));
}

void backward_full_row(const DivergenceBackwardArgs& a, const DivergenceWeights& weights, int64_t t,
                       const float* stats, float factor, char* out) {
  const DivergenceConstants constants =
      divergence_constants(exponent_scale(a.inverse_temperature), stats[0],
                           exponent_scale(a.inverse_teacher_temperature), stats[1], stats[2]);
  divergence_table().gradient(
      weights, {{at(a.student, a.student_dtype, t * a.vocab), a.student_dtype, a.vocab},
                {at(a.teacher, a.teacher_dtype, t * a.vocab), a.teacher_dtype, a.vocab},
                constants,
                stats[4],
                factor * stats[3],
                out});
}

void backward_top_k_row(const DivergenceBackwardArgs& a, int64_t t, const float* stats,
                        float factor, char* out) {
  const float base = factor * stats[2], slope = factor * stats[3];
  if (base == 0.0f && slope == 0.0f) {
    write_zeros(a, out);
  } else {
    divergence_table().outside(
        {{at(a.student, a.student_dtype, t * a.vocab), a.student_dtype, a.vocab},
         exponent_scale(a.inverse_temperature),
         stats[0],
         stats[1],
         base,
         slope,
         out});
  }
  const int32_t* ids = a.top_ids + t * a.top_k;
  for (int64_t j = 0; j < a.top_k; ++j) {
    if (ids[j] < 0 || ids[j] >= a.vocab) continue;  // not those of forward
    store_at(out, a.student_dtype, ids[j], factor * stats[kDivergenceStats + j]);
  }
}

}  // namespace

Status divergence_forward(Context& context, const DivergenceArgs& a) {
  if (!are_floats(a.student_dtype, a.teacher_dtype)) return unknown_dtype();
  const DivergenceTable& table = divergence_table();
  const DivergenceWeights weights = divergence_weights(a.rule.kind, a.rule.weight);
  const bool full = a.rule.support == DivergenceSupport::full;
  const int64_t width = kDivergenceStats + a.top_k;
  return context.parallel(a.tokens, rows_per_chunk(a.vocab), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      float* stats = a.stats + t * width;
      Outcome outcome{0.0f, -1};
      if (!is_trained(a.mask, t)) {
        std::fill(stats, stats + width, 0.0f);
      } else {
        outcome = full ? full_row(a, table, weights, t, stats) : top_k_row(a, table, t, stats);
      }
      if (outcome.fault >= 0) {
        record_fault(a.faults, static_cast<Fault>(outcome.fault), t);
        std::fill(stats, stats + width, kNan);
      }
      a.divergence[t] = outcome.divergence;
    }
  });
}

Status divergence_backward(Context& context, const DivergenceBackwardArgs& a) {
  const bool full = a.rule.support == DivergenceSupport::full;
  if (!are_floats(a.student_dtype, full ? a.teacher_dtype : DType::f32)) return unknown_dtype();
  const DivergenceWeights weights = divergence_weights(a.rule.kind, a.rule.weight);
  const float inverse_temperature = static_cast<float>(a.inverse_temperature);
  return context.parallel(a.tokens, rows_per_chunk(a.vocab), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float* stats = a.stats + t * (kDivergenceStats + a.top_k);
      char* out = static_cast<char*>(a.d_student) + t * a.vocab * size_of(a.student_dtype);
      const bool moves = is_trained(a.mask, t) && stats[0] == stats[0] && a.d_divergence[t] != 0.0f;
      if (!moves) {
        write_zeros(a, out);
        continue;
      }
      const float factor = a.d_divergence[t] * inverse_temperature;
      if (full) {
        backward_full_row(a, weights, t, stats, factor, out);
      } else {
        backward_top_k_row(a, t, stats, factor, out);
      }
    }
  });
}

}  // namespace firesteel
