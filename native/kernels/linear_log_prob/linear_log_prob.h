// linear_log_prob: log_prob of the logits of a linear head, without ever holding them all.
//
//   logits = hidden weight^T in f32, then as log_prob.h; in backward
//   d_hidden = d_logits weight,  d_weight = d_logits^T hidden
//
// A tile of logits lives in the workspace: the CPU's forward pass takes columns of many rows and
// carries each row's sums, CUDA's takes whole rows; backward makes tiles again and turns them into
// their gradient in place, on both. The bits are those of gemm, log_prob and gemm on all of
// [T, V], whatever `chunk_bytes`: on the CPU with the rows that have no gradient left out, on CUDA
// with zeros for them (gemm.h says in which order products are summed). So a row's log_prob,
// entropy and d_hidden depend on its own values, V, H and the weight alone, never on T, the chunk,
// the batch split or the threads, and d_weight is a sum in the order of rows: on the CPU in f32
// over blocks of kGemmBlock rows with a gradient, on CUDA one chain.
//
// Accuracy: that of log_prob for logits that are off by what gemm.h states for a sum over H; so for
// the gradients, sums over V and T of d_logits times the operands. On CUDA with bf16 operands
// d_logits enter both products as sums of two bf16, which costs 2^-16 of each: the products of
// three would take half as long again, of plain floats five times as long.
//
// Rows that are masked (mask 0) are not looked at; faults are those of log_prob, and NaN or
// infinity in a row of `hidden` reaches no other row and no gradient. On the CPU rows without a
// gradient (masked, faulty, or with nothing but 0 from above) cost nothing. Infinity in the weight
// is no way to exclude an id: its logits may be -inf, but d_hidden then has 0 times infinity.
//
// Memory: logits are f32 on both backends, whatever the dtype, as a 16-bit logit would cost more
// accuracy than the product has; of the operands no f32 copy is made, but on the CPU that of a
// packed panel. Where cuBLASLt makes the logits of 16-bit operands (gemm.h) their accuracy is the
// same, but the bits are those of its product of the tile, so they may differ in another batch.
#pragma once
#include "kernels/log_prob/log_prob.h"

namespace firesteel {

enum class LinearPass : int { forward, backward };

struct LinearShape {
  int64_t tokens;       // T >= 0
  int64_t vocab;        // V in [1, 2^20]
  int64_t hidden_size;  // H in [1, 2^20]
  DType dtype;          // of hidden and weight: f32, bf16 or f16
  int64_t chunk_bytes;  // of logits held at a time; at least linear_log_prob_least, 0: the default
};

// A tile of logits that serves both passes: on CUDA one row and 128 rows x 128 columns; on the CPU
// 4,096 columns of a row and 256 rows x 256 columns; where T and V are as many.
int64_t linear_log_prob_least(const LinearShape&);
int64_t linear_log_prob_workspace(LinearPass, const LinearShape&);

struct LinearLogProbArgs : LogProbOutputs {
  LinearShape shape;
  const void* hidden;         // [T, H]
  const void* weight;         // [V, H]
  const int32_t* targets;     // [T]
  const uint8_t* mask;        // [T] or null (all trained)
  float temperature;          // in [1e-30, 1e30]; not read where `temperatures` is given
  const float* temperatures;  // [T] or null
  void* workspace;
};
Status linear_log_prob(Context&, const LinearLogProbArgs&);

struct LinearLogProbBackwardArgs {
  LinearShape shape;
  const void* hidden;  // as forward
  const void* weight;
  const int32_t* targets;
  const uint8_t* mask;
  float temperature;
  const float* temperatures;
  const float* stats;         // [T, 2] of forward
  const float* d_log_prob;    // [T] or null
  const float* d_entropy;     // [T] or null
  const float* entropy;       // [T] of forward; needed when d_entropy is given
  const float* d_vocab_mean;  // [T] or null
  const float* vocab_mean;    // [T] of forward; needed when d_vocab_mean is given
  bool accumulate;            // sums start from what d_hidden and d_weight hold
  float* d_hidden;            // [T, H] out; rows without a gradient are 0, or as they were
  float* d_weight;            // [V, H] out, or null
  FaultWord* faults;
  void* workspace;
};
Status linear_log_prob_backward(Context&, const LinearLogProbBackwardArgs&);

}  // namespace firesteel
