#include "nn/adamw/adamw.h"

#include "addon/call.h"
#include "addon/engine.h"

namespace firesteel {
namespace {

napi_value sum_squares_call(napi_env env, napi_callback_info info) {
  Call call(env, info, "sum_squares");
  SumSquaresArgs a{};
  a.count = call.integer();
  a.x = call.input<float>(a.count);
  a.total = call.update<double>(1);
  a.workspace = call.workspace(sum_squares_workspace(a.count));
  return call.enqueue(4 * a.count, [a](Context& context) { return sum_squares(context, a); });
}

napi_value adamw_call(napi_env env, napi_callback_info info) {
  Call call(env, info, "adamw");
  AdamwArgs a{};
  a.count = call.integer();
  a.lr = call.real();
  a.beta1 = call.real();
  a.beta2 = call.real();
  a.eps = call.real();
  a.weight_decay = call.real();
  a.correction1 = call.real();
  a.correction2 = call.real();
  a.max_grad_norm = call.real();
  a.param = call.update<float>(a.count);
  a.grad = call.input<float>(a.count);
  a.m = call.update<float>(a.count);
  a.v = call.update<float>(a.count);
  a.grad_square = call.input_or_null<double>(1);
  return call.enqueue(28 * a.count, [a](Context& context) { return adamw(context, a); });
}

}  // namespace

void register_adamw(napi_env env, napi_value exports) {
  export_function(env, exports, "sumSquares", sum_squares_call);
  export_function(env, exports, "adamw", adamw_call);
}

}  // namespace firesteel
