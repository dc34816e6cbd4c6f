#include "kernels/token_loss/token_loss.h"

#include "addon/arguments.h"
#include "addon/engine.h"

namespace firesteel {
namespace {

napi_value run(napi_env env, napi_callback_info info) {
  Call call(env, info, "token_loss");
  TokenLossArgs a{};
  read_rows(call, &a.logits);
  // Its log-probs and entropies are those of this call: the tensors that follow.
  read_surrogate(call, &a.loss);
  a.log_prob = call.output<float>(a.loss.tokens);
  a.entropy = call.output_or_null<float>(a.loss.tokens);
  a.d_row_stride = call.integer();
  a.d_logits = call.output(a.logits.dtype, extent(a.loss.tokens, a.d_row_stride, a.logits.vocab));
  const int64_t own = token_loss_workspace(a.loss.tokens, a.loss.rows);
  const int64_t begin = (own + 63) / 64 * 64;  // of surrogate's, whose rows are doubles
  const int64_t bytes = begin + surrogate_workspace(a.loss.tokens, a.loss.rows, 0, a.loss.groups);
  a.workspace = call.workspace(bytes);
  a.loss.workspace = static_cast<char*>(a.workspace) + begin;
  a.faults = call.faults();
  return call.enqueue(3 * bytes_of(a.logits) + 96 * a.loss.tokens,
                      [a](Context& context) { return token_loss(context, a); });
}

}  // namespace

void register_token_loss(napi_env env, napi_value exports) {
  export_function(env, exports, "tokenLoss", run);
}

}  // namespace firesteel
