#include "kernels/linear_log_prob/linear_log_prob.h"

#include "addon/call.h"
#include "addon/engine.h"

namespace firesteel {
namespace {

// tokens, vocab, hidden size, dtype, chunk bytes
LinearShape shape_of(Call& call) {
  LinearShape s{};
  s.tokens = call.integer();
  s.vocab = call.integer();
  s.hidden_size = call.integer();
  s.dtype = call.dtype();
  s.chunk_bytes = call.integer();
  return s;
}

// What both passes read, of the shape.
template <class Args>
void read_head(Call& call, Args* a) {
  const LinearShape& s = a->shape;
  a->temperature = call.real();
  a->temperatures = call.input_or_null<float>(s.tokens);
  call.check_temperature(a->temperature, a->temperatures);
  a->hidden = call.input(s.dtype, s.tokens * s.hidden_size);
  a->weight = call.input(s.dtype, s.vocab * s.hidden_size);
  a->targets = call.input<int32_t>(s.tokens);
  a->mask = call.input_or_null<uint8_t>(s.tokens);
}

// The plan divides by the shape's sizes, so they must all be there.
int64_t workspace_bytes(const Call& call, LinearPass pass, const LinearShape& s) {
  return call.failed() ? 0 : linear_log_prob_workspace(pass, s);
}

// About 8 flops in the time of a byte.
int64_t cost(const LinearShape& s, int64_t products) {
  return s.tokens * s.vocab * s.hidden_size / 4 * products;
}

napi_value forward(napi_env env, napi_callback_info info) {
  Call call(env, info, "linear_log_prob");
  LinearLogProbArgs a{};
  a.shape = shape_of(call);
  const LinearShape& s = a.shape;
  read_head(call, &a);
  a.log_prob = call.output<float>(s.tokens);
  a.entropy = call.output_or_null<float>(s.tokens);
  a.vocab_mean = call.output_or_null<float>(s.tokens);
  a.stats = call.output<float>(2 * s.tokens);
  a.workspace = call.workspace(workspace_bytes(call, LinearPass::forward, s));
  a.faults = call.faults();
  return call.enqueue(cost(s, 1), [a](Context& context) { return linear_log_prob(context, a); });
}

napi_value backward(napi_env env, napi_callback_info info) {
  Call call(env, info, "linear_log_prob_backward");
  LinearLogProbBackwardArgs a{};
  a.shape = shape_of(call);
  const LinearShape& s = a.shape;
  const int64_t hidden = s.tokens * s.hidden_size, weight = s.vocab * s.hidden_size;
  read_head(call, &a);
  a.stats = call.input<float>(2 * s.tokens);
  a.d_log_prob = call.input_or_null<float>(s.tokens);
  a.d_entropy = call.input_or_null<float>(s.tokens);
  a.entropy = call.input_or_null<float>(s.tokens);
  a.d_vocab_mean = call.input_or_null<float>(s.tokens);
  a.vocab_mean = call.input_or_null<float>(s.tokens);
  call.together(a.d_entropy, a.entropy);
  call.together(a.d_vocab_mean, a.vocab_mean);
  a.accumulate = call.flag();
  a.d_hidden = a.accumulate ? call.update<float>(hidden) : call.output<float>(hidden);
  a.d_weight =
      a.accumulate ? call.update_or_null<float>(weight) : call.output_or_null<float>(weight);
  a.workspace = call.workspace(workspace_bytes(call, LinearPass::backward, s));
  a.faults = call.faults();
  return call.enqueue(cost(s, 3),
                      [a](Context& context) { return linear_log_prob_backward(context, a); });
}

void set(napi_env env, napi_value object, const char* name, int64_t number) {
  napi_value value;
  napi_create_double(env, static_cast<double>(number), &value);
  napi_set_named_property(env, object, name, value);
}

// linearLogProbMemory(shape) -> { least, forward, backward }; asks no engine.
napi_value memory(napi_env env, napi_callback_info info) {
  size_t count = 5;
  napi_value arguments[5];
  int64_t numbers[5] = {};
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  for (int i = 0; i < 5; ++i) {
    // No tokens, the code of f32 and 0 bytes, the default chunk, are fine.
    const int64_t least = i == 1 || i == 2 ? 1 : 0;
    if (napi_get_value_int64(env, arguments[i], &numbers[i]) != napi_ok || numbers[i] < least) {
      return throw_error(env, Status::error(Code::range, "linear_log_prob: expected a shape"));
    }
  }
  if (numbers[3] > static_cast<int64_t>(DType::u8)) {
    return throw_error(env, Status::error(Code::dtype, "linear_log_prob: unknown dtype code"));
  }
  const LinearShape s{numbers[0], numbers[1], numbers[2], static_cast<DType>(numbers[3]),
                      numbers[4]};
  const auto taken = [&s](LinearPass pass) {
    const int64_t bytes = linear_log_prob_workspace(pass, s);
    const int64_t workspace = bytes == 0 ? 0 : MemoryPool::block_bytes(bytes);
    return workspace + MemoryPool::block_bytes(sizeof(FaultWord));
  };
  napi_value result;
  napi_create_object(env, &result);
  set(env, result, "least", linear_log_prob_least(s));
  set(env, result, "forward", taken(LinearPass::forward));
  set(env, result, "backward", taken(LinearPass::backward));
  return result;
}

}  // namespace

void register_linear_log_prob(napi_env env, napi_value exports) {
  export_function(env, exports, "linearLogProbForward", forward);
  export_function(env, exports, "linearLogProbBackward", backward);
  export_function(env, exports, "linearLogProbMemory", memory);
}

}  // namespace firesteel
