#include "kernels/group_loss/group_loss.h"

#include "addon/call.h"
#include "addon/engine.h"
#include "kernels/group_loss/row_score.h"

namespace firesteel {
namespace {

// f32 or u8, or null.
const void* input_or_null(Call& call, DType dtype, int64_t count) {
  return dtype == DType::u8 ? static_cast<const void*>(call.input_or_null<uint8_t>(count))
                            : call.input_or_null<float>(count);
}

napi_value loss(napi_env env, napi_callback_info info) {
  Call call(env, info, "group_loss");
  GroupLossArgs a{};
  a.rows = call.integer();
  a.groups = call.integer();
  a.kind = static_cast<GroupLossKind>(call.integer());
  a.score_type = call.dtype();
  a.reward_type = call.dtype();
  a.tau = call.number();
  a.lambda = call.number();
  a.max_length = call.number();
  a.eps = call.number();
  a.ddof = static_cast<int32_t>(call.integer());
  a.skip_constant = call.flag();
  a.beta = call.number();
  a.label_smoothing = call.number();
  a.denominator = call.number();
  a.group_offsets = call.input<int32_t>(a.groups + 1);
  a.score = call.input(a.score_type, a.rows);
  a.valid = call.input_or_null<uint8_t>(a.rows);
  a.reward = input_or_null(call, a.reward_type, a.rows);
  a.length = call.input_or_null<int32_t>(a.rows);
  a.advantage = call.input_or_null<float>(a.rows);
  a.loss = call.output<double>(1);
  a.d_score = call.output<double>(a.rows);
  a.group_loss = call.output<double>(a.groups);
  a.metrics = call.output<double>(kGroupLossMetricCount);
  a.workspace = call.workspace(group_loss_workspace(a.groups));
  a.faults = call.faults();
  return call.enqueue(512 * a.rows, [a](Context& context) { return group_loss(context, a); });
}

napi_value forward(napi_env env, napi_callback_info info) {
  Call call(env, info, "row_score");
  RowScoreArgs a{};
  a.tokens = call.integer();
  a.rows = call.integer();
  a.term = static_cast<RowTerm>(call.integer());
  a.pooling = static_cast<Pooling>(call.integer());
  a.row_offsets = call.input<int32_t>(a.rows + 1);
  a.log_prob = call.input<float>(a.tokens);
  a.base_log_prob = call.input_or_null<float>(a.tokens);
  a.mask = call.input_or_null<uint8_t>(a.tokens);
  a.score = call.output<double>(a.rows);
  a.token_weight = call.output<double>(a.rows);
  a.trained_tokens = call.output<int32_t>(a.rows);
  a.faults = call.faults();
  return call.enqueue(9 * a.tokens, [a](Context& context) { return row_score(context, a); });
}

napi_value backward(napi_env env, napi_callback_info info) {
  Call call(env, info, "row_score_backward");
  RowScoreBackwardArgs a{};
  a.tokens = call.integer();
  a.rows = call.integer();
  a.row_offsets = call.input<int32_t>(a.rows + 1);
  a.log_prob = call.input_or_null<float>(a.tokens);
  a.base_log_prob = call.input_or_null<float>(a.tokens);
  a.mask = call.input_or_null<uint8_t>(a.tokens);
  a.token_weight = call.input<double>(a.rows);
  a.d_score = call.input<double>(a.rows);
  a.d_log_prob = call.output<float>(a.tokens);
  a.faults = call.faults();
  return call.enqueue(5 * a.tokens,
                      [a](Context& context) { return row_score_backward(context, a); });
}

}  // namespace

void register_group_loss(napi_env env, napi_value exports) {
  export_function(env, exports, "groupLoss", loss);
  export_function(env, exports, "rowScore", forward);
  export_function(env, exports, "rowScoreBackward", backward);
}

}  // namespace firesteel
