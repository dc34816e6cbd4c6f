#include "nn/attention/attention.h"

#include "addon/call.h"
#include "addon/engine.h"

namespace firesteel {
namespace {

napi_value forward(napi_env env, napi_callback_info info) {
  Call call(env, info, "attention");
  AttentionArgs a{};
  a.dtype = call.dtype();
  a.queries = call.integer();
  a.rows = call.integer();
  const int64_t keys = call.integer();   // key_offsets[rows]
  const int64_t slots = call.integer();  // of k and v
  a.heads = call.integer();
  a.kv_heads = call.integer();
  a.head_dim = call.integer();
  a.scale = call.real();
  a.q_stride = a.heads * a.head_dim;
  a.kv_stride = a.kv_heads * a.head_dim;
  a.query_offsets = call.input<int32_t>(a.rows + 1);
  a.key_offsets = call.input<int32_t>(a.rows + 1);
  a.key_index = call.input_or_null<int32_t>(keys);
  a.q = call.input(a.dtype, a.queries * a.q_stride);
  a.k = call.input(a.dtype, slots * a.kv_stride);
  a.v = call.input(a.dtype, slots * a.kv_stride);
  a.out = call.output(a.dtype, a.queries * a.q_stride);
  a.stats = call.output_or_null<float>(2 * a.queries * a.heads);
  return call.enqueue(4 * keys * a.q_stride,
                      [a](Context& context) { return attention_forward(context, a); });
}

napi_value backward(napi_env env, napi_callback_info info) {
  Call call(env, info, "attention_backward");
  AttentionBackwardArgs a{};
  a.dtype = call.dtype();
  a.tokens = call.integer();
  a.rows = call.integer();
  a.heads = call.integer();
  a.kv_heads = call.integer();
  a.head_dim = call.integer();
  a.scale = call.real();
  a.q_stride = a.heads * a.head_dim;
  a.kv_stride = a.kv_heads * a.head_dim;
  const int64_t queries = a.tokens * a.q_stride, keys = a.tokens * a.kv_stride;
  a.row_offsets = call.input<int32_t>(a.rows + 1);
  a.q = call.input(a.dtype, queries);
  a.k = call.input(a.dtype, keys);
  a.v = call.input(a.dtype, keys);
  a.out = call.input(a.dtype, queries);
  a.stats = call.input<float>(2 * a.tokens * a.heads);
  a.d_out = call.input(a.dtype, queries);
  a.d_q = call.output(a.dtype, queries);
  a.d_k = call.output(a.dtype, keys);
  a.d_v = call.output(a.dtype, keys);
  a.workspace = call.workspace(attention_backward_workspace(a.dtype, a.tokens, a.heads));
  return call.enqueue(16 * queries,
                      [a](Context& context) { return attention_backward(context, a); });
}

}  // namespace

void register_attention(napi_env env, napi_value exports) {
  export_function(env, exports, "attentionForward", forward);
  export_function(env, exports, "attentionBackward", backward);
}

}  // namespace firesteel
