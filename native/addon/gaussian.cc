#include "kernels/gaussian/gaussian.h"

#include "addon/call.h"
#include "addon/engine.h"

namespace firesteel {
namespace {

GaussianScore score(Call& call, int64_t samples, int64_t width) {
  GaussianScore s{};
  s.term = static_cast<GaussianTerm>(call.integer());
  s.reduction = static_cast<GaussianReduction>(call.integer());
  s.std = call.input<float>(samples);
  s.out = call.output<float>(samples);
  s.slope = call.output<double>(samples);
  s.workspace = call.workspace(gaussian_workspace(samples, width));
  s.faults = call.faults();
  return s;
}

napi_value forward(napi_env env, napi_callback_info info) {
  Call call(env, info, "gaussian");
  GaussianArgs a{};
  a.samples = call.integer();
  a.width = call.integer();
  const int64_t elements = a.samples * a.width;
  a.value = call.input<float>(elements);
  a.mean = call.input<float>(elements);
  a.mask = call.input_or_null<uint8_t>(elements);
  a.score = score(call, a.samples, a.width);
  return call.enqueue(8 * elements, [a](Context& context) { return gaussian_forward(context, a); });
}

napi_value step(napi_env env, napi_callback_info info) {
  Call call(env, info, "flow_step");
  FlowStepArgs a{};
  a.samples = call.integer();
  a.width = call.integer();
  const int64_t elements = a.samples * a.width;
  a.x = call.input<float>(elements);
  a.v = call.input<float>(elements);
  a.x_scale = call.input<float>(a.samples);
  a.v_scale = call.input<float>(a.samples);
  a.noise = call.input_or_null<float>(elements);
  a.given = call.input_or_null<float>(elements);
  a.mean = call.output<float>(elements);
  a.next = call.output_or_null<float>(elements);
  a.score = score(call, a.samples, a.width);
  return call.enqueue(20 * elements, [a](Context& context) { return flow_step(context, a); });
}

napi_value backward(napi_env env, napi_callback_info info) {
  Call call(env, info, "gaussian_backward");
  GaussianBackwardArgs a{};
  a.samples = call.integer();
  a.width = call.integer();
  const int64_t elements = a.samples * a.width;
  a.value = call.input<float>(elements);
  a.mean = call.input<float>(elements);
  a.mask = call.input_or_null<uint8_t>(elements);
  a.slope = call.input<double>(a.samples);
  a.d_out = call.input<float>(a.samples);
  a.d_mean = call.input_or_null<float>(elements);
  a.gain = call.input_or_null<float>(a.samples);
  a.d_input = call.output<float>(elements);
  return call.enqueue(12 * elements,
                      [a](Context& context) { return gaussian_backward(context, a); });
}

}  // namespace

void register_gaussian(napi_env env, napi_value exports) {
  export_function(env, exports, "gaussianForward", forward);
  export_function(env, exports, "flowStep", step);
  export_function(env, exports, "gaussianBackward", backward);
}

}  // namespace firesteel
