// log_prob: log-probability of one target per row of logits, with entropy, in one pass over the
// row.
//
//   z = logits / temperature,  log_prob[t] = z[y] - logsumexp(z),  entropy[t] = -sum p log p
//
// Accuracy against float64 of the same inputs: |error| <= 2e-6 + 2e-7 * max |z| for log_prob and
// entropy. A row's result depends on its own values and on V alone: never on T, on the batch split
// or on the number of threads.
//
// -inf logits are legal (probability 0). Masked rows (mask 0) are not read: their outputs are
// exactly 0. A target outside [0, V), a row with NaN or +inf, or a row of all -inf gives NaN in
// log_prob and entropy, gradient 0, and is recorded in `faults`. A target whose logit is -inf gives
// log_prob -inf, no fault.
#pragma once
#include "runtime/dtype.h"
#include "runtime/fault.h"
#include "runtime/status.h"

namespace firesteel {

class Context;

struct LogProbArgs {
  const void* logits;      // [T, V] f32, bf16 or f16; row t starts at t * row_stride elements
  DType dtype;             //
  int64_t tokens;          // T >= 0
  int64_t vocab;           // V in [1, 2^20]
  int64_t row_stride;      // >= V, in elements; T * row_stride may exceed 2^31
  const int32_t* targets;  // [T]
  const uint8_t* mask;     // [T] or null (all trained)
  float inv_temperature;   // > 0, finite
  float* log_prob;         // [T] out
  float* entropy;          // [T] out, or null
  // [T, 2] out: (m, log2 s) with m = max x, exactly, and s = sum exp2((x - m) c), c = log2(e) /
  // temperature: backward computes p = exp2((x - m) c - log2 s)
  float* stats;
  FaultWord* faults;
};
Status log_prob_forward(Context&, const LogProbArgs&);

struct LogProbBackwardArgs {
  const void* logits;  // as forward
  DType dtype;
  int64_t tokens, vocab, row_stride;
  const int32_t* targets;
  const uint8_t* mask;
  float inv_temperature;
  const float* stats;       // [T, 2] of forward
  const float* d_log_prob;  // [T]
  const float* d_entropy;   // [T] or null
  const float* entropy;     // [T] of forward; needed when d_entropy is given
  void* d_logits;           // [T, V] out, dtype of logits, row stride d_row_stride; may be `logits`
  int64_t d_row_stride;
};
// d_logits[t, v] = ((1[v == y] - p_v) * d_log_prob[t] - p_v (log p_v + H) * d_entropy[t]) /
// temperature, rounded once. Rows that are masked or faulty (stats NaN) are written with exact
// zeros.
Status log_prob_backward(Context&, const LogProbBackwardArgs&);

}  // namespace firesteel
