#include "kernels/divergence/divergence.h"

#include "addon/call.h"
#include "addon/engine.h"

namespace firesteel {
namespace {

// Bytes that take as long as a token of the vocabulary, and as one of the teacher's k.
constexpr int64_t kTokenCost = 16, kTopCost = 1000;

// What forward and backward have in common, in the order of src/engine/kernels/divergence.ts.
template <class Args>
void shared(Call& call, Args& a) {
  a.tokens = call.integer();
  a.vocab = call.integer();
  a.top_k = call.integer();
  a.rule.kind = static_cast<DivergenceKind>(call.integer());
  a.rule.support = static_cast<DivergenceSupport>(call.integer());
  a.rule.weight = call.number();
  a.rule.log_floor = call.number();
  a.rule.non_negative = call.flag();
  a.inverse_temperature = call.number();
  a.inverse_teacher_temperature = call.number();
  a.student_dtype = call.dtype();
  a.teacher_dtype = call.dtype();
  a.student = call.input(a.student_dtype, a.tokens * a.vocab);
}

napi_value forward(napi_env env, napi_callback_info info) {
  Call call(env, info, "divergence");
  DivergenceArgs a{};
  shared(call, a);
  const bool full = a.rule.support == DivergenceSupport::full;
  const int64_t width = full ? a.vocab : a.top_k;
  a.teacher = call.input(a.teacher_dtype, a.tokens * width);
  a.top_ids = full ? call.input_or_null<int32_t>(0) : call.input<int32_t>(a.tokens * a.top_k);
  a.mask = call.input_or_null<uint8_t>(a.tokens);
  a.divergence = call.output<float>(a.tokens);
  a.stats = call.output<float>(a.tokens * (kDivergenceStats + a.top_k));
  a.faults = call.faults();
  return call.enqueue(a.tokens * (kTokenCost * a.vocab + kTopCost * a.top_k),
                      [a](Context& context) { return divergence_forward(context, a); });
}

napi_value backward(napi_env env, napi_callback_info info) {
  Call call(env, info, "divergence_backward");
  DivergenceBackwardArgs a{};
  shared(call, a);
  const bool full = a.rule.support == DivergenceSupport::full;
  if (full) {
    a.teacher = call.input(a.teacher_dtype, a.tokens * a.vocab);
  } else {
    a.top_ids = call.input<int32_t>(a.tokens * a.top_k);
  }
  a.mask = call.input_or_null<uint8_t>(a.tokens);
  a.stats = call.input<float>(a.tokens * (kDivergenceStats + a.top_k));
  a.d_divergence = call.input<float>(a.tokens);
  a.d_student = call.output(a.student_dtype, a.tokens * a.vocab);
  return call.enqueue(a.tokens * kTokenCost * a.vocab,
                      [a](Context& context) { return divergence_backward(context, a); });
}

}  // namespace

void register_divergence(napi_env env, napi_value exports) {
  export_function(env, exports, "divergenceForward", forward);
  export_function(env, exports, "divergenceBackward", backward);
  napi_value count;
  napi_create_int32(env, kDivergenceStats, &count);
  napi_set_named_property(env, exports, "divergenceStats", count);
}

}  // namespace firesteel
