// log_prob: log-probability of one target per row of logits, with entropy and the vocabulary's mean
// log-probability, in one pass over the row.
//
//   z = logits / temperature,  log_prob[t] = z[y] - logsumexp(z),  entropy[t] = -sum p log p,
//   vocab_mean[t] = mean over v of log p_v = mean(z) - logsumexp(z)
//
// Accuracy against float64 of the same inputs: |error| <= 2e-6 + 2e-7 * max |z| for log_prob and
// entropy. vocab_mean has the same bound on the CPU and 2e-6 + 5e-7 * max |z| on CUDA, which adds
// up to 24 logits in float before float64. A row's result depends on its own values and on V alone:
// never on T, on the batch split or on the number of threads.
//
// -inf logits are legal: probability 0, vocab_mean -inf. Masked rows (mask 0) are not read: their
// outputs are exactly 0. A target outside [0, V), a temperature outside [1e-30, 1e30], a row with
// NaN or +inf, or a row of all -inf gives NaN in every output, gradient 0, and is recorded in
// `faults`, under the first of these that holds. A target whose logit is -inf gives log_prob -inf,
// no fault.
#pragma once
#include "kernels/log_prob/partial.h"
#include "runtime/dtype.h"
#include "runtime/fault.h"
#include "runtime/status.h"

namespace firesteel {

class Context;

// Rows of logits, or of a shard of the vocabulary's columns.
struct LogProbRows {
  const void* logits;         // [T, V] f32, bf16 or f16; row t starts at t * row_stride elements
  DType dtype;                //
  int64_t tokens;             // T >= 0
  int64_t vocab;              // V in [1, 2^20]: the columns of this call
  int64_t row_stride;         // >= V, in elements; T * row_stride may exceed 2^31
  const int32_t* targets;     // [T]
  const uint8_t* mask;        // [T] or null (all trained)
  float temperature;          // in [1e-30, 1e30]; not read where `temperatures` is given
  const float* temperatures;  // [T] or null
};

struct LogProbOutputs {
  float* log_prob;    // [T]
  float* entropy;     // [T] or null
  float* vocab_mean;  // [T] or null
  // [T, 2]: (m, log2 s) with m = max x, exactly, and s = sum exp2((x - m) c), c = log2(e) /
  // temperature: backward computes p = exp2((x - m) c - log2 s)
  float* stats;
  FaultWord* faults;
  int64_t first_row = 0;  // what faults call row 0, where these are some rows of a larger batch
};

struct LogProbArgs : LogProbRows, LogProbOutputs {};
Status log_prob_forward(Context&, const LogProbArgs&);

// The statistics of a shard's columns, for log_prob_merge. Nothing is recorded before that.
struct LogProbPartialArgs : LogProbRows {
  int64_t vocab_start;       // of the shard's first column in the whole vocabulary, >= 0
  LogProbPartial* partials;  // [T] out
};
Status log_prob_partial(Context&, const LogProbPartialArgs&);

constexpr int kMaxShards = 64;

// Merges in the order of `shards`, so that equal shards give equal bits. One shard gives the bits
// of log_prob_forward. A row whose shards differ in mask or temperature is faulty.
struct LogProbMergeArgs : LogProbOutputs {
  int64_t tokens;
  int64_t vocab;  // V of all shards together
  int shard_count;
  const LogProbPartial* shards[kMaxShards];  // [T] each
};
Status log_prob_merge(Context&, const LogProbMergeArgs&);

struct LogProbBackwardArgs : LogProbRows {
  int64_t vocab_start;        // of the first column of `logits`; 0 without shards
  int64_t whole_vocab;        // columns of all shards; `vocab` without shards
  const float* stats;         // [T, 2] of forward or merge
  const float* d_log_prob;    // [T] or null
  const float* d_entropy;     // [T] or null
  const float* entropy;       // [T] of forward; needed when d_entropy is given
  const float* d_vocab_mean;  // [T] or null
  const float* vocab_mean;    // [T] of forward; needed when d_vocab_mean is given
  void* d_logits;             // [T, V] out, dtype of logits; may be `logits`
  int64_t d_row_stride;       // >= V; what lies between the rows is not written
  FaultWord* faults;          // or null where `temperatures` is
  int64_t first_row = 0;      // as in LogProbOutputs
};
// d_logits[t, v] = ((1[v == y] - p_v) d_log_prob[t] - p_v (log p_v + H) d_entropy[t]
//                   + (1 / V - p_v) d_vocab_mean[t]) / temperature,
// V the whole vocabulary, rounded once. The entropy's term is 0 at p_v = 0, the mean's in a row
// with a logit of -inf. Rows that are masked or faulty (stats NaN) are written with exact zeros.
Status log_prob_backward(Context&, const LogProbBackwardArgs&);

}  // namespace firesteel
