// What both backends refuse before any work, beyond what surrogate does.
#pragma once
#include "kernels/surrogate/checks.h"
#include "kernels/token_loss/token_loss.h"

namespace firesteel {

inline Status token_loss_refusal(const TokenLossArgs& a) {
  if (a.logits.dtype > DType::f16) {
    return Status::error(Code::dtype, "expected logits of f32, bf16 or f16");
  }
  if (a.logits.tokens != a.loss.tokens) {
    return Status::error(Code::shape, "expected as many rows of logits as the loss has tokens");
  }
  const char* refusal = surrogate_refusal(a.loss);
  if (refusal == nullptr && !is_token_local(a.loss)) {
    refusal =
        "the gradient at a token depends on other tokens: expected level token or none, and "
        "no off-policy test";
  }
  if (refusal == nullptr && a.loss.entropy != nullptr && a.entropy == nullptr) {
    refusal = "expected a place for the entropies, which the loss reads";
  }
  return refusal == nullptr ? Status{} : Status::error(Code::option, refusal);
}

}  // namespace firesteel
