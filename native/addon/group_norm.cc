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
  a.center = static_cast<Center>(call.integer());
  a.scale = static_cast<Scale>(call.integer());
  a.scope = static_cast<Scope>(call.integer());
  a.ddof = static_cast<int32_t>(call.integer());
  a.eps = call.real();
  a.values = call.input<float>(a.rows);
  a.valid = call.input_or_null<uint8_t>(a.rows);
  a.group_offsets = call.input<int32_t>(a.groups + 1);
  a.index = call.input_or_null<int32_t>(a.rows);
  a.advantage = call.output<float>(a.rows);
  a.center_out = call.output<float>(a.groups);
  a.scale_out = call.output<float>(a.groups);
  a.workspace = call.workspace(group_norm_workspace(a.rows, a.groups));
  a.faults = call.faults();
  return call.enqueue(64 * a.rows, [a](Context& context) { return group_norm(context, a); });
}

}  // namespace

void register_group_norm(napi_env env, napi_value exports) {
  export_function(env, exports, "groupNorm", run);
}

}  // namespace firesteel
