#include "kernels/bernoulli/bernoulli.h"

#include "addon/call.h"
#include "addon/engine.h"

namespace firesteel {
namespace {

constexpr int64_t kEdgeCost = 512;  // exp and log1p of one edge take as long as so many bytes

napi_value forward(napi_env env, napi_callback_info info) {
  Call call(env, info, "bernoulli");
  BernoulliArgs a{};
  a.edges = call.integer();
  a.rows = call.integer();
  a.temperature = call.number();
  a.row_offsets = call.input<int32_t>(a.rows + 1);
  a.logits = call.input<float>(a.edges);
  a.ref_logits = call.input_or_null<float>(a.edges);
  a.actions = call.input<uint8_t>(a.edges);
  a.mask = call.input_or_null<uint8_t>(a.edges);
  a.log_prob = call.output<float>(a.edges);
  a.entropy = call.output_or_null<float>(a.edges);
  a.kl = call.output_or_null<float>(a.edges);
  a.row_log_prob = call.output<double>(a.rows);
  a.row_entropy = call.output_or_null<double>(a.rows);
  a.row_kl = call.output_or_null<double>(a.rows);
  call.together(a.entropy, a.row_entropy);
  call.together(a.kl, a.row_kl);
  call.together(a.kl, a.ref_logits);
  a.faults = call.faults();
  return call.enqueue(kEdgeCost * a.edges,
                      [a](Context& context) { return bernoulli_forward(context, a); });
}

napi_value backward(napi_env env, napi_callback_info info) {
  Call call(env, info, "bernoulli_backward");
  BernoulliBackwardArgs a{};
  a.edges = call.integer();
  a.temperature = call.number();
  a.logits = call.input<float>(a.edges);
  a.ref_logits = call.input_or_null<float>(a.edges);
  a.actions = call.input<uint8_t>(a.edges);
  a.mask = call.input_or_null<uint8_t>(a.edges);
  a.d_log_prob = call.input<float>(a.edges);
  a.d_entropy = call.input_or_null<float>(a.edges);
  a.d_kl = call.input_or_null<float>(a.edges);
  call.together(a.d_kl, a.ref_logits);
  a.d_logits = call.output<float>(a.edges);
  return call.enqueue(kEdgeCost * a.edges,
                      [a](Context& context) { return bernoulli_backward(context, a); });
}

}  // namespace

void register_bernoulli(napi_env env, napi_value exports) {
  export_function(env, exports, "bernoulliForward", forward);
  export_function(env, exports, "bernoulliBackward", backward);
}

}  // namespace firesteel
