#include "nn/adamw/adamw.h"

#include <algorithm>

#include "addon/call.h"
#include "addon/engine.h"

namespace firesteel {
namespace {

// How many tensors a call brings, at most as many as it takes.
int tensors_of(Call& call, int most) {
  return static_cast<int>(std::min<int64_t>(call.integer(), most));
}

// (engine, tensors, total, then per tensor: count, x).
napi_value sum_squares_call(napi_env env, napi_callback_info info) {
  Call call(env, info, "sum_squares");
  SumSquaresArgs a{};
  a.tensors = tensors_of(call, kSquaresTensors);
  a.total = call.update<double>(1);
  int64_t all = 0;
  for (int i = 0; i < a.tensors; ++i) {
    auto& t = a.tensor[i];
    all += t.count = call.integer();
    t.x = call.input<float>(t.count);
  }
  a.workspace = call.workspace(sum_squares_workspace(a));
  return call.enqueue(4 * all, [a](Context& context) { return sum_squares(context, a); });
}

// (engine, tensors, dtype, numbers, gradSquare, then per tensor: count, weight, grad, m, v, and
// where the dtype has 16 bits the parameter that is rounded).
napi_value adamw_call(napi_env env, napi_callback_info info) {
  Call call(env, info, "adamw");
  AdamwArgs a{};
  a.tensors = tensors_of(call, kAdamwTensors);
  a.dtype = call.dtype();
  a.lr = call.real();
  a.beta1 = call.real();
  a.beta2 = call.real();
  a.eps = call.real();
  a.weight_decay = call.real();
  a.correction1 = call.real();
  a.correction2 = call.real();
  a.max_grad_norm = call.real();
  a.grad_square = call.input_or_null<double>(1);
  int64_t all = 0;
  for (int i = 0; i < a.tensors; ++i) {
    auto& t = a.tensor[i];
    all += t.count = call.integer();
    t.weight = call.update<float>(t.count);
    t.grad = call.input<float>(t.count);
    t.m = call.update<float>(t.count);
    t.v = call.update<float>(t.count);
    // Where the norm is not finite it stays as it is, so this is an update too.
    if (a.dtype != DType::f32) t.rounded = call.update(a.dtype, t.count);
  }
  return call.enqueue(30 * all, [a](Context& context) { return adamw(context, a); });
}

}  // namespace

void register_adamw(napi_env env, napi_value exports) {
  export_function(env, exports, "sumSquares", sum_squares_call);
  export_function(env, exports, "adamw", adamw_call);
}

}  // namespace firesteel
