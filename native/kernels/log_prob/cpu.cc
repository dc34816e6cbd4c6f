#include <string.h>

#include <limits>

#include "kernels/log_prob/log_prob.h"
#include "kernels/log_prob/table.h"
#include "runtime/cpu/context.h"
#include "runtime/simd/dispatch.h"

namespace firesteel {

FIRESTEEL_DISPATCH(LogProbTable, log_prob_table)

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Elements of logits in a chunk of work: 20 to 60 us at 1 to 3 elements per ns.
constexpr int64_t kChunk = 1 << 16;

int64_t rows_per_chunk(int64_t vocab) {
  return vocab < kChunk ? kChunk / vocab : 1;
}

float log2_scale(float inv_temperature) {
  return static_cast<float>(1.4426950408889634 * static_cast<double>(inv_temperature));
}

void write_row(const LogProbArgs& a, int64_t t, float value) {
  a.log_prob[t] = value;
  if (a.entropy != nullptr) a.entropy[t] = value;
  a.stats[2 * t] = value;
  a.stats[2 * t + 1] = value;
}

void forward_row(const LogProbArgs& a, RowState (*row)(const LogProbRow&), float scale, int64_t t) {
  if (a.mask != nullptr && a.mask[t] == 0) return write_row(a, t, 0.0f);
  if (a.targets[t] < 0 || a.targets[t] >= a.vocab) {
    record_fault(a.faults, Fault::id_out_of_range, t);
    return write_row(a, t, kNan);
  }
  const char* logits = static_cast<const char*>(a.logits) + t * a.row_stride * size_of(a.dtype);
  const RowState state =
      row({logits, a.vocab, a.targets[t], static_cast<double>(a.inv_temperature), scale,
           a.log_prob + t, a.entropy != nullptr ? a.entropy + t : nullptr, a.stats + 2 * t});
  if (state == RowState::fine) return;
  record_fault(a.faults, state == RowState::no_support ? Fault::no_support : Fault::not_a_number,
               t);
  write_row(a, t, kNan);
}

void backward_row(const LogProbBackwardArgs& a, void (*row)(const LogProbBackwardRow&), float scale,
                  int64_t t) {
  const int64_t size = size_of(a.dtype);
  char* out = static_cast<char*>(a.d_logits) + t * a.d_row_stride * size;
  const float max = a.stats[2 * t];
  const bool trained = (a.mask == nullptr || a.mask[t] != 0) && max == max;
  const float d_log_prob = trained ? a.d_log_prob[t] : 0.0f;
  const float d_entropy = trained && a.d_entropy != nullptr ? a.d_entropy[t] : 0.0f;
  if (d_log_prob == 0.0f && d_entropy == 0.0f) {
    memset(out, 0, static_cast<size_t>(a.vocab * size));
    return;
  }
  const float entropy = d_entropy == 0.0f ? 0.0f : a.entropy[t];
  const float hit = d_log_prob * a.inv_temperature;
  const float spread = d_entropy * a.inv_temperature;
  const char* logits = static_cast<const char*>(a.logits) + t * a.row_stride * size;
  row({logits, out, a.vocab, a.targets[t], scale, max, a.stats[2 * t + 1],
       -(hit + entropy * spread), -0.693147181f * spread, hit});
}

Status unknown_dtype() {
  return Status::error(Code::dtype, "expected logits of f32, bf16 or f16");
}

}  // namespace

Status log_prob_forward(Context& context, const LogProbArgs& a) {
  if (a.dtype > DType::f16) return unknown_dtype();
  const auto row = log_prob_table().forward[static_cast<int>(a.dtype)];
  const float scale = log2_scale(a.inv_temperature);
  return context.parallel(a.tokens, rows_per_chunk(a.vocab), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) forward_row(a, row, scale, t);
  });
}

Status log_prob_backward(Context& context, const LogProbBackwardArgs& a) {
  if (a.dtype > DType::f16) return unknown_dtype();
  const auto row = log_prob_table().backward[static_cast<int>(a.dtype)];
  const float scale = log2_scale(a.inv_temperature);
  return context.parallel(a.tokens, rows_per_chunk(a.vocab), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) backward_row(a, row, scale, t);
  });
}

}  // namespace firesteel
