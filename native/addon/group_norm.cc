#include "kernels/group_norm/group_norm.h"

#include "addon/call.h"
#include "addon/engine.h"

namespace firesteel {
namespace {

napi_value run(napi_env env, napi_callback_info info) {
  Call call(env, info, "group_norm");
  GroupNormArgs a{};
  a.rows = call.integer();
  a.groups = call.integer();
  a.columns = call.integer();
  call.scalars();
  a.rule.center = static_cast<Center>(call.integer());
  a.rule.scale = static_cast<Scale>(call.integer());
  a.rule.scope = static_cast<Scope>(call.integer());
  a.rule.eps_placement = static_cast<EpsPlacement>(call.integer());
  a.rule.zero_scale = static_cast<ZeroScale>(call.integer());
  a.rule.singleton = static_cast<Singleton>(call.integer());
  a.rule.ddof = static_cast<int32_t>(call.integer());
  a.rule.eps = call.number();
  a.rule.scope_blend = call.number();
  a.rule.ema_blend = call.number();
  a.ema_of_all = call.number();
  a.valid_per_column = call.flag();
  const int64_t values = a.rows * a.columns, statistics = a.groups * a.columns;
  a.values = call.input<float>(values);
  a.valid = call.input_or_null<uint8_t>(a.valid_per_column ? values : a.rows);
  a.group_offsets = call.input<int32_t>(a.groups + 1);
  a.index = call.input_or_null<int32_t>(a.rows);
  a.ema = call.input_or_null<float>(statistics);
  a.advantage = call.output<float>(values);
  a.center_out = call.output<float>(statistics);
  a.scale_out = call.output<float>(statistics);
  a.workspace = call.workspace(group_norm_workspace(a));
  a.faults = call.faults();
  return call.enqueue(64 * (values + statistics),
                      [a](Context& context) { return group_norm(context, a); });
}

}  // namespace

void register_group_norm(napi_env env, napi_value exports) {
  export_function(env, exports, "groupNorm", run);
}

}  // namespace firesteel
