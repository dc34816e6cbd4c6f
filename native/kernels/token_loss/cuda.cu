// The three kernels one after the other.
#include "kernels/token_loss/checks.h"
#include "runtime/cuda/context.h"

namespace firesteel {

int64_t token_loss_workspace(int64_t tokens, int64_t) {
  return 2 * tokens * static_cast<int64_t>(sizeof(float));
}

Status token_loss(Context& context, const TokenLossArgs& a) {
  const Status refusal = token_loss_refusal(a);
  if (!refusal.ok()) return refusal;
  LogProbArgs forward{};
  static_cast<LogProbRows&>(forward) = a.logits;
  forward.mask = a.loss.mask;
  forward.log_prob = a.log_prob;
  forward.entropy = a.entropy;
  forward.stats = static_cast<float*>(a.workspace);
  forward.faults = a.faults;
  const Status scored = log_prob_forward(context, forward);
  if (!scored.ok()) return scored;
  SurrogateArgs loss = a.loss;
  loss.faults = a.faults;
  const Status lost = surrogate(context, loss);
  if (!lost.ok()) return lost;
  LogProbBackwardArgs backward{};
  static_cast<LogProbRows&>(backward) = a.logits;
  backward.mask = a.loss.mask;
  backward.whole_vocab = a.logits.vocab;
  backward.stats = forward.stats;
  backward.d_log_prob = a.loss.d_log_prob;
  backward.d_entropy = a.loss.d_entropy;
  backward.entropy = a.entropy;
  backward.d_logits = a.d_logits;
  backward.d_row_stride = a.d_row_stride;
  backward.faults = a.faults;
  return log_prob_backward(context, backward);
}

}  // namespace firesteel
