// What surrounds the reading of a row, shared by the CPU, by CUDA and by the merge of shards: its
// temperature and target, what its sums make of it, and the coefficients of its gradient.
#pragma once
#include "kernels/log_prob/log_prob.h"

namespace firesteel {

// 1 / temperature of row t, rounded once on every backend; NaN where it is out of range.
FIRESTEEL_HD inline float inverse_temperature(const LogProbRows& rows, int64_t t) {
  const float value = rows.temperatures == nullptr ? rows.temperature : rows.temperatures[t];
  return value >= 1e-30f && value <= 1e30f ? 1.0f / value : __builtin_nanf("");
}

// The target's column in this call, or -1.
FIRESTEEL_HD inline int32_t target_column(const LogProbRows& rows, int64_t t, int64_t vocab_start) {
  const int64_t column = rows.targets[t] - vocab_start;
  return column >= 0 && column < rows.vocab ? static_cast<int32_t>(column) : -1;
}

// What is known of a row before its logits are read.
FIRESTEEL_HD inline LogProbPartial unread(const LogProbRows& rows, int64_t t, int64_t vocab_start) {
  if (rows.mask != nullptr && rows.mask[t] == 0) return {0.0, 0.0, 0.0, 0.0, 0.0, 0.0};
  const double nan = __builtin_nan("");
  const bool present = target_column(rows, t, vocab_start) >= 0;
  const double inverse = static_cast<double>(inverse_temperature(rows, t));
  return {nan, nan, nan, nan, present ? nan : __builtin_inf(), inverse};
}

// 1 / temperature where the logits of row t are to be read, else 0: not where the row is masked or
// its temperature out of range, nor, where these columns are the `whole` vocabulary, without
// target.
FIRESTEEL_HD inline float inverse_if_read(const LogProbRows& rows, int64_t t, int64_t vocab_start,
                                          bool whole) {
  if (rows.mask != nullptr && rows.mask[t] == 0) return 0.0f;
  if (whole && target_column(rows, t, vocab_start) < 0) return 0.0f;
  const float inverse = inverse_temperature(rows, t);
  return inverse > 0.0f ? inverse : 0.0f;
}

// What is wrong with a row of which `row` holds every column: a Fault, or -1.
FIRESTEEL_HD inline int fault_of(const LogProbPartial& row) {
  const double inverse = row.inverse_temperature;
  if (inverse == 0.0) return -1;
  if (row.target == __builtin_inf()) return static_cast<int>(Fault::id_out_of_range);
  if (inverse != inverse) return static_cast<int>(Fault::parameter_out_of_range);
  if (row.sum != row.sum) return static_cast<int>(Fault::not_a_number);
  return row.max == -__builtin_inf() ? static_cast<int>(Fault::no_support) : -1;
}

FIRESTEEL_HD inline void fill_row(const LogProbOutputs& out, int64_t t, float value) {
  out.log_prob[t] = value;
  if (out.entropy != nullptr) out.entropy[t] = value;
  if (out.vocab_mean != nullptr) out.vocab_mean[t] = value;
  out.stats[2 * t] = value;
  out.stats[2 * t + 1] = value;
}

// Writes the outputs of row t, of which `row` holds every column. Returns fault_of(row).
FIRESTEEL_HD inline int write_row(const LogProbOutputs& out, int64_t t, const LogProbPartial& row,
                                  int64_t vocab) {
  const int fault = fault_of(row);
  const double inverse = row.inverse_temperature;
  if (fault >= 0 || inverse == 0.0) {
    fill_row(out, t, fault >= 0 ? __builtin_nanf("") : 0.0f);
    return fault;
  }
  // Rounding may leave a certain token at +1e-8; log-probs are never positive, entropy never
  // negative.
  const double log2_sum = double_log2(row.sum), log_sum = log2_sum * kLn2;
  const double log_prob = (row.target - row.max) * inverse - log_sum;
  out.log_prob[t] = static_cast<float>(log_prob < 0.0 ? log_prob : 0.0);
  if (out.entropy != nullptr) {
    const double entropy = (log2_sum - row.weighted / row.sum) * kLn2;
    out.entropy[t] = static_cast<float>(entropy > 0.0 ? entropy : 0.0);
  }
  if (out.vocab_mean != nullptr) {
    const double mean = (row.total / static_cast<double>(vocab) - row.max) * inverse - log_sum;
    out.vocab_mean[t] = static_cast<float>(mean < 0.0 ? mean : 0.0);
  }
  out.stats[2 * t] = static_cast<float>(row.max);
  out.stats[2 * t + 1] = static_cast<float>(log2_sum);
  return fault;
}

// d_logits[v] = p_v (base + slope log2 p_v) + each, plus `hit` at the target.
struct LogProbSlopes {
  float base, slope, each, hit;
  bool zero;  // nothing comes from above
};
FIRESTEEL_HD inline LogProbSlopes slopes_of(const LogProbBackwardArgs& a, int64_t t,
                                            float inverse) {
  const float d_log_prob = a.d_log_prob == nullptr ? 0.0f : a.d_log_prob[t];
  const float d_entropy = a.d_entropy == nullptr ? 0.0f : a.d_entropy[t];
  const float entropy = d_entropy == 0.0f ? 0.0f : a.entropy[t];
  const bool flat = a.d_vocab_mean == nullptr || a.vocab_mean[t] == -__builtin_inff();
  const float d_vocab_mean = flat ? 0.0f : a.d_vocab_mean[t];
  const float hit = d_log_prob * inverse, spread = d_entropy * inverse;
  const float mean = d_vocab_mean * inverse;
  return {-(hit + mean + entropy * spread), -static_cast<float>(kLn2) * spread,
          flat ? 0.0f : mean / static_cast<float>(a.whole_vocab), hit,
          d_log_prob == 0.0f && d_entropy == 0.0f && d_vocab_mean == 0.0f};
}

// Whether row t has a gradient at all: not masked, and the forward pass found no fault in it.
FIRESTEEL_HD inline bool is_trained(const LogProbBackwardArgs& a, int64_t t) {
  return (a.mask == nullptr || a.mask[t] != 0) && a.stats[2 * t] == a.stats[2 * t];
}

}  // namespace firesteel
