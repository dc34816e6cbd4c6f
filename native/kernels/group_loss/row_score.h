// row_score: one score a row from the log-probs of its tokens, and the gradient's way back. The
// first and the last pass around group_loss.
//
//   score[r] = sum or mean over trained tokens of term(x),  x = log_prob - base_log_prob
//   d_log_prob[t] = d_score[r] * term'(x), for the mean / trained tokens of r
//
// Rows lie one after the other: row r holds tokens row_offsets[r] .. row_offsets[r + 1]. Masked
// tokens (mask 0) are selected away: whatever stands there changes nothing and their gradient is
// exactly 0. A row without trained tokens scores 0 and gets gradient 0. A row with a trained token
// whose term is not finite (NaN or infinite log-probs) is a fault: it scores NaN and gets gradient
// 0, other rows are untouched.
//
// Accuracy: sums in float64, in an order that the row's length alone decides: |error| <= 1e-12 of
// the pooled absolute terms (for k3, those of exp(x) - 1 and of x). Gradients are rounded once.
#pragma once
#include "kernels/group_loss/row_terms.h"
#include "runtime/fault.h"
#include "runtime/status.h"

namespace firesteel {

class Context;

struct RowScoreArgs {
  int64_t tokens, rows;
  RowTerm term;  // log_ratio: x; k1: -x; k3: exp(x) - 1 - x
  Pooling pooling;
  const int32_t* row_offsets;  // [R + 1], ascending, from 0 to T
  const float* log_prob;       // [T]
  const float* base_log_prob;  // [T], or null: 0 (log_ratio only)
  const uint8_t* mask;         // [T] or null
  double* score;               // [R] out
  // [R] out: d score / d log_prob of a trained token (for k3, to be multiplied by exp(x) - 1): 1,
  // or 1 / trained tokens, negative for k1; 0 where the row has no trained token or is a fault
  double* token_weight;
  int32_t* trained_tokens;  // [R] out
  FaultWord* faults;
};
Status row_score(Context&, const RowScoreArgs&);

struct RowScoreBackwardArgs {
  int64_t tokens, rows;
  const int32_t* row_offsets;
  const float* log_prob;       // [T] for k3, else null: the other terms are linear
  const float* base_log_prob;  // [T] for k3, else null
  const uint8_t* mask;
  const double* token_weight;  // [R] of the forward call
  const double* d_score;       // [R]
  float* d_log_prob;           // [T] out
  FaultWord* faults;
};
// A token whose gradient is not a finite float gets 0 and its row is reported; rows of token_weight
// 0 get 0, whatever their d_score.
Status row_score_backward(Context&, const RowScoreBackwardArgs&);

}  // namespace firesteel
