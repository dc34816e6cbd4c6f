#include "kernels/kl/kl.h"

#include "addon/call.h"
#include "addon/engine.h"

namespace firesteel {
namespace {

napi_value run(napi_env env, napi_callback_info info) {
  Call call(env, info, "kl");
  KlArgs a{};
  a.tokens = call.integer();
  a.rows = call.integer();
  a.estimator = static_cast<KlEstimator>(call.integer());
  a.difference_limit = call.real();
  a.value_limit = call.real();
  a.row_offsets = call.input<int32_t>(a.rows + 1);
  a.log_prob = call.input<float>(a.tokens);
  a.ref_log_prob = call.input<float>(a.tokens);
  a.mask = call.input_or_null<uint8_t>(a.tokens);
  a.kl = call.output<float>(a.tokens);
  a.row_kl = call.output<double>(a.rows);
  a.faults = call.faults();
  return call.enqueue(16 * a.tokens, [a](Context& context) { return kl(context, a); });
}

}  // namespace

void register_kl(napi_env env, napi_value exports) {
  export_function(env, exports, "kl", run);
}

}  // namespace firesteel
