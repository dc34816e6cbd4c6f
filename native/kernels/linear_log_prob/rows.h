// The rows as log_prob sees them, and which of them have a gradient.
#pragma once
#include "kernels/linear_log_prob/tiles.h"
#include "kernels/log_prob/math.h"

namespace firesteel {

// All rows, without logits.
inline LogProbArgs rows_of(const LinearLogProbArgs& a) {
  LogProbArgs rows{};
  rows.dtype = DType::f32;
  rows.tokens = a.shape.tokens;
  rows.vocab = a.shape.vocab;
  rows.targets = a.targets;
  rows.mask = a.mask;
  rows.temperature = a.temperature;
  rows.temperatures = a.temperatures;
  static_cast<LogProbOutputs&>(rows) = a;
  return rows;
}
inline LogProbBackwardArgs rows_of(const LinearLogProbBackwardArgs& a) {
  LogProbBackwardArgs rows{};
  rows.dtype = DType::f32;
  rows.tokens = a.shape.tokens;
  rows.vocab = rows.whole_vocab = a.shape.vocab;
  rows.targets = a.targets;
  rows.mask = a.mask;
  rows.temperature = a.temperature;
  rows.temperatures = a.temperatures;
  rows.stats = a.stats;
  rows.d_log_prob = a.d_log_prob;
  rows.d_entropy = a.d_entropy;
  rows.entropy = a.entropy;
  rows.d_vocab_mean = a.d_vocab_mean;
  rows.vocab_mean = a.vocab_mean;
  rows.faults = a.faults;
  return rows;
}

// These rows with a tile of their logits, from the id `first_id` on, which become their gradient.
inline LogProbBackwardArgs with_logits(LogProbBackwardArgs rows, const HeadTile& tile,
                                       int64_t first_id) {
  rows.logits = rows.d_logits = tile.logits;
  rows.row_stride = rows.d_row_stride = tile.stride;
  rows.vocab = tile.columns;
  rows.vocab_start = first_id;
  return rows;
}

enum class RowGradient : int { none, some, faulty };

// `faulty`: its temperature, which the forward pass did not see, is out of range.
FIRESTEEL_HD inline RowGradient gradient_of(const LogProbBackwardArgs& rows, int64_t t) {
  if (!is_trained(rows, t)) return RowGradient::none;
  const float inverse = inverse_temperature(rows, t);
  if (inverse != inverse) return RowGradient::faulty;
  return slopes_of(rows, t, inverse).zero ? RowGradient::none : RowGradient::some;
}

}  // namespace firesteel
