// The small operations of a network: one function each, in the order of native/nn.
#include "addon/call.h"
#include "addon/engine.h"
#include "nn/elementwise/elementwise.h"
#include "nn/embed/embed.h"
#include "nn/rms_norm/rms_norm.h"
#include "nn/rope/rope.h"
#include "nn/sample/sample.h"
#include "nn/swiglu/swiglu.h"

namespace firesteel {
namespace {

napi_value rms_norm_forward_call(napi_env env, napi_callback_info info) {
  Call call(env, info, "rms_norm");
  RmsNormArgs a{};
  a.dtype = call.dtype();
  a.rows = call.integer();
  a.width = call.integer();
  a.eps = call.real();
  const int64_t count = a.rows * a.width;
  a.x = call.input(a.dtype, count);
  a.residual = call.input_or_null(a.dtype, count);
  a.weight = call.input(a.dtype, a.width);
  a.y = call.output(a.dtype, count);
  a.inv_rms = call.output<float>(a.rows);
  a.sum = a.residual == nullptr ? nullptr : call.output(a.dtype, count);
  return call.enqueue(8 * count, [a](Context& context) { return rms_norm_forward(context, a); });
}

napi_value rms_norm_backward_call(napi_env env, napi_callback_info info) {
  Call call(env, info, "rms_norm_backward");
  RmsNormBackwardArgs a{};
  a.dtype = call.dtype();
  a.rows = call.integer();
  a.width = call.integer();
  const int64_t count = a.rows * a.width;
  a.x = call.input(a.dtype, count);
  a.weight = call.input(a.dtype, a.width);
  a.inv_rms = call.input<float>(a.rows);
  a.d_y = call.input(a.dtype, count);
  a.d_sum = call.input_or_null(a.dtype, count);
  a.d_x = call.output(a.dtype, count);
  a.d_weight = call.output<float>(a.width);
  a.workspace = call.workspace(rms_norm_backward_workspace(a.rows, a.width));
  return call.enqueue(16 * count, [a](Context& context) { return rms_norm_backward(context, a); });
}

napi_value rope_call(napi_env env, napi_callback_info info) {
  Call call(env, info, "rope");
  RopeArgs a{};
  a.dtype = call.dtype();
  a.tokens = call.integer();
  a.heads = call.integer();
  a.head_dim = call.integer();
  a.base = call.number();
  a.inverse = call.flag();
  a.x_stride = a.heads * a.head_dim;
  a.positions = call.input<int32_t>(a.tokens);
  a.x = call.input(a.dtype, a.tokens * a.x_stride);
  a.y = call.output(a.dtype, a.tokens * a.x_stride);
  return call.enqueue(16 * a.tokens * a.x_stride,
                      [a](Context& context) { return rope(context, a); });
}

napi_value gather_rows_call(napi_env env, napi_callback_info info) {
  Call call(env, info, "gather_rows");
  GatherRowsArgs a{};
  a.dtype = call.dtype();
  a.count = call.integer();
  a.width = call.integer();
  a.table_rows = call.integer();
  a.table = call.input(a.dtype, a.table_rows * a.width);
  a.ids = call.input<int32_t>(a.count);
  a.y = call.output(a.dtype, a.count * a.width);
  a.faults = call.faults();
  return call.enqueue(8 * a.count * a.width,
                      [a](Context& context) { return gather_rows(context, a); });
}

napi_value scatter_rows_call(napi_env env, napi_callback_info info) {
  Call call(env, info, "scatter_rows");
  ScatterRowsArgs a{};
  a.dtype = call.dtype();
  a.count = call.integer();
  a.width = call.integer();
  a.table_rows = call.integer();
  a.x_stride = a.width;
  a.x = call.input(a.dtype, a.count * a.width);
  a.ids = call.input<int32_t>(a.count);
  a.table = call.update(a.dtype, a.table_rows * a.width);
  a.faults = call.faults();
  return call.enqueue(8 * a.count * a.width,
                      [a](Context& context) { return scatter_rows(context, a); });
}

napi_value scatter_add_rows_call(napi_env env, napi_callback_info info) {
  Call call(env, info, "scatter_add_rows");
  ScatterAddRowsArgs a{};
  a.dtype = call.dtype();
  a.count = call.integer();
  a.width = call.integer();
  a.table_rows = call.integer();
  a.d_y = call.input(a.dtype, a.count * a.width);
  a.ids = call.input<int32_t>(a.count);
  a.d_table = call.update<float>(a.table_rows * a.width);
  return call.enqueue(12 * a.count * a.width,
                      [a](Context& context) { return scatter_add_rows(context, a); });
}

napi_value swiglu_forward_call(napi_env env, napi_callback_info info) {
  Call call(env, info, "swiglu");
  SwigluArgs a{};
  a.dtype = call.dtype();
  a.count = call.integer();
  a.gate = call.input(a.dtype, a.count);
  a.up = call.input(a.dtype, a.count);
  a.y = call.output(a.dtype, a.count);
  return call.enqueue(12 * a.count, [a](Context& context) { return swiglu_forward(context, a); });
}

napi_value swiglu_backward_call(napi_env env, napi_callback_info info) {
  Call call(env, info, "swiglu_backward");
  SwigluBackwardArgs a{};
  a.dtype = call.dtype();
  a.count = call.integer();
  a.gate = call.input(a.dtype, a.count);
  a.up = call.input(a.dtype, a.count);
  a.d_y = call.input(a.dtype, a.count);
  a.d_gate = call.output(a.dtype, a.count);
  a.d_up = call.output(a.dtype, a.count);
  return call.enqueue(20 * a.count, [a](Context& context) { return swiglu_backward(context, a); });
}

napi_value add_call(napi_env env, napi_callback_info info) {
  Call call(env, info, "add");
  AddArgs a{};
  a.dtype = call.dtype();
  a.count = call.integer();
  a.a = call.input(a.dtype, a.count);
  a.b = call.input(a.dtype, a.count);
  a.y = call.output(a.dtype, a.count);
  return call.enqueue(12 * a.count, [a](Context& context) { return add(context, a); });
}

napi_value add_bias_call(napi_env env, napi_callback_info info) {
  Call call(env, info, "add_bias");
  AddBiasArgs a{};
  a.dtype = call.dtype();
  a.rows = call.integer();
  a.width = call.integer();
  a.x = call.input(a.dtype, a.rows * a.width);
  a.bias = call.input(a.dtype, a.width);
  a.y = call.output(a.dtype, a.rows * a.width);
  return call.enqueue(8 * a.rows * a.width, [a](Context& context) { return add_bias(context, a); });
}

napi_value sum_rows_call(napi_env env, napi_callback_info info) {
  Call call(env, info, "sum_rows");
  SumRowsArgs a{};
  a.dtype = call.dtype();
  a.rows = call.integer();
  a.width = call.integer();
  a.x = call.input(a.dtype, a.rows * a.width);
  a.y = call.output<float>(a.width);
  return call.enqueue(4 * a.rows * a.width, [a](Context& context) { return sum_rows(context, a); });
}

napi_value scale_call(napi_env env, napi_callback_info info) {
  Call call(env, info, "scale");
  ScaleArgs a{};
  a.dtype = call.dtype();
  a.count = call.integer();
  a.a = call.real();
  a.accumulate = call.flag();
  a.x = call.input(a.dtype, a.count);
  a.y = a.accumulate ? call.update(a.dtype, a.count) : call.output(a.dtype, a.count);
  return call.enqueue(8 * a.count, [a](Context& context) { return scale(context, a); });
}

napi_value fill_call(napi_env env, napi_callback_info info) {
  Call call(env, info, "fill");
  FillArgs a{};
  a.dtype = call.dtype();
  a.count = call.integer();
  a.value = call.real();
  a.y = call.output(a.dtype, a.count);
  return call.enqueue(4 * a.count, [a](Context& context) { return fill(context, a); });
}

napi_value cast_call(napi_env env, napi_callback_info info) {
  Call call(env, info, "cast");
  CastArgs a{};
  a.count = call.integer();
  a.from = call.dtype();
  a.to = call.dtype();
  a.x = call.input(a.from, a.count);
  a.y = call.output(a.to, a.count);
  return call.enqueue(8 * a.count, [a](Context& context) { return cast(context, a); });
}

napi_value sample_call(napi_env env, napi_callback_info info) {
  Call call(env, info, "sample");
  SampleArgs a{};
  a.rows = call.integer();
  a.vocab = call.integer();
  a.row_stride = a.vocab;
  a.inv_temperature = call.real();
  a.greedy = call.flag();
  a.logits = call.input<float>(a.rows * a.vocab);
  a.uniform = a.greedy ? call.input_or_null<float>(a.rows) : call.input<float>(a.rows);
  a.tokens = call.output<int32_t>(a.rows);
  a.faults = call.faults();
  return call.enqueue(16 * a.rows * a.vocab, [a](Context& context) { return sample(context, a); });
}

}  // namespace

void register_nn(napi_env env, napi_value exports) {
  export_function(env, exports, "rmsNormForward", rms_norm_forward_call);
  export_function(env, exports, "rmsNormBackward", rms_norm_backward_call);
  export_function(env, exports, "rope", rope_call);
  export_function(env, exports, "gatherRows", gather_rows_call);
  export_function(env, exports, "scatterRows", scatter_rows_call);
  export_function(env, exports, "scatterAddRows", scatter_add_rows_call);
  export_function(env, exports, "swigluForward", swiglu_forward_call);
  export_function(env, exports, "swigluBackward", swiglu_backward_call);
  export_function(env, exports, "add", add_call);
  export_function(env, exports, "addBias", add_bias_call);
  export_function(env, exports, "sumRows", sum_rows_call);
  export_function(env, exports, "scale", scale_call);
  export_function(env, exports, "fill", fill_call);
  export_function(env, exports, "cast", cast_call);
  export_function(env, exports, "sample", sample_call);
}

}  // namespace firesteel
