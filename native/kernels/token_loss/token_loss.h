// token_loss: log_prob, surrogate and the gradient of the logits in one call, for losses whose
// gradient at a token depends on the log-probs of that token alone. A row of logits is read once
// from memory and written once.
//
// Equal to log_prob_forward, surrogate and log_prob_backward one after the other, with the same
// bits of every output. What is not local to a token is refused (is_token_local): levels other than
// token and none, and an off-policy test, which sums the current log-probs of a row. Mismatch
// weights of whole rows are local: they are made of log-probs known before the call.
//
// Faults are those of the rows of logits, each recorded once under its token: what log_prob_forward
// finds wrong with it, or else not_a_number where the loss leaves the token out.
#pragma once
#include <math.h>

#include "kernels/log_prob/log_prob.h"
#include "kernels/surrogate/surrogate.h"

namespace firesteel {

// Whether the gradient at a token depends on the current log-probs of that token alone.
inline bool is_token_local(const SurrogateArgs& a) {
  const RatioLevel level = a.terms.level;
  return (level == RatioLevel::token || level == RatioLevel::none) &&
         a.terms.off_policy_threshold == INFINITY;
}

struct TokenLossArgs {
  LogProbRows logits;    // T rows; `mask` is loss.mask: masked rows are not read
  SurrogateArgs loss;    // T tokens; log_prob is `log_prob`, entropy is `entropy` or null. Its
                         // faults are not looked at
  float* log_prob;       // [T] out
  float* entropy;        // [T] out, or null: then loss.entropy is too
  void* d_logits;        // [T, V] out, dtype of the logits; may be the logits
  int64_t d_row_stride;  // >= V; what lies between the rows is not written
  void* workspace;       // token_loss_workspace bytes; loss.workspace is its own
  FaultWord* faults;
};

int64_t token_loss_workspace(int64_t tokens, int64_t rows);
Status token_loss(Context&, const TokenLossArgs&);

}  // namespace firesteel
