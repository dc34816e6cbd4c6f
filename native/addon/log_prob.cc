#include "kernels/log_prob/log_prob.h"

#include "addon/call.h"
#include "addon/engine.h"

namespace firesteel {
namespace {

napi_value forward(napi_env env, napi_callback_info info) {
  Call call(env, info, "log_prob");
  LogProbArgs a{};
  a.tokens = call.integer();
  a.vocab = call.integer();
  a.row_stride = call.integer();
  a.dtype = call.dtype();
  a.inv_temperature = call.real();
  // The last row need not be padded to the stride.
  const int64_t elements = a.tokens == 0 ? 0 : (a.tokens - 1) * a.row_stride + a.vocab;
  a.logits = call.input(a.dtype, elements);
  a.targets = call.input<int32_t>(a.tokens);
  a.mask = call.input_or_null<uint8_t>(a.tokens);
  a.log_prob = call.output<float>(a.tokens);
  a.entropy = call.output_or_null<float>(a.tokens);
  a.stats = call.output<float>(2 * a.tokens);
  a.faults = call.faults();
  return call.enqueue(elements * size_of(a.dtype),
                      [a](Context& context) { return log_prob_forward(context, a); });
}

napi_value backward(napi_env env, napi_callback_info info) {
  Call call(env, info, "log_prob_backward");
  LogProbBackwardArgs a{};
  a.tokens = call.integer();
  a.vocab = call.integer();
  a.row_stride = call.integer();
  a.d_row_stride = call.integer();
  a.dtype = call.dtype();
  a.inv_temperature = call.real();
  const int64_t last = a.tokens == 0 ? 0 : a.tokens - 1;
  const int64_t width = a.tokens == 0 ? 0 : a.vocab;
  a.logits = call.input(a.dtype, last * a.row_stride + width);
  a.targets = call.input<int32_t>(a.tokens);
  a.mask = call.input_or_null<uint8_t>(a.tokens);
  a.stats = call.input<float>(2 * a.tokens);
  a.d_log_prob = call.input<float>(a.tokens);
  a.d_entropy = call.input_or_null<float>(a.tokens);
  a.entropy = call.input_or_null<float>(a.tokens);
  a.d_logits = call.output(a.dtype, last * a.d_row_stride + width);
  return call.enqueue(2 * a.tokens * a.vocab * size_of(a.dtype),
                      [a](Context& context) { return log_prob_backward(context, a); });
}

}  // namespace

void register_log_prob(napi_env env, napi_value exports) {
  export_function(env, exports, "logProbForward", forward);
  export_function(env, exports, "logProbBackward", backward);
}

}  // namespace firesteel
