#include "kernels/surrogate/surrogate.h"

#include "addon/call.h"
#include "addon/engine.h"

namespace firesteel {
namespace {

napi_value run(napi_env env, napi_callback_info info) {
  Call call(env, info, "surrogate");
  SurrogateArgs a{};
  a.tokens = call.integer();
  a.rows = call.integer();
  a.level = static_cast<RatioLevel>(call.integer());
  a.form = static_cast<SurrogateForm>(call.integer());
  a.kl = static_cast<KlEstimator>(call.integer());
  a.aggregation = static_cast<Aggregation>(call.integer());
  a.epsilon_low = call.real();
  a.epsilon_high = call.real();
  a.delta = call.real();
  a.dual_clip = call.real();
  a.beta = call.real();
  a.denominator = call.number();
  a.horizon = call.number();
  a.advantage_per_token = call.flag();
  a.row_offsets = call.input<int32_t>(a.rows + 1);
  a.log_prob = call.input<float>(a.tokens);
  a.old_log_prob = call.input<float>(a.tokens);
  a.ref_log_prob = call.input_or_null<float>(a.tokens);
  a.advantage = call.input<float>(a.advantage_per_token ? a.tokens : a.rows);
  a.weight = call.input_or_null<float>(a.tokens);
  a.mask = call.input_or_null<uint8_t>(a.tokens);
  a.loss = call.output<double>(1);
  a.d_log_prob = call.output<float>(a.tokens);
  a.metrics = call.output<double>(kMetricCount);
  a.workspace = call.workspace(surrogate_workspace(a.tokens, a.rows));
  a.faults = call.faults();
  return call.enqueue(32 * a.tokens, [a](Context& context) { return surrogate(context, a); });
}

}  // namespace

void register_surrogate(napi_env env, napi_value exports) {
  export_function(env, exports, "surrogate", run);
  napi_value count;
  napi_create_int32(env, kMetricCount, &count);
  napi_set_named_property(env, exports, "surrogateMetrics", count);
}

}  // namespace firesteel
