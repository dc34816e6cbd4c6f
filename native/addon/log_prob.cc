#include "kernels/log_prob/log_prob.h"

#include "addon/arguments.h"
#include "addon/engine.h"

namespace firesteel {
namespace {

static_assert(sizeof(LogProbPartial) == 6 * sizeof(double), "its layout is part of the protocol");
constexpr int64_t kPartial = 6;

void read_outputs(Call& call, int64_t tokens, LogProbOutputs* out) {
  out->log_prob = call.output<float>(tokens);
  out->entropy = call.output_or_null<float>(tokens);
  out->vocab_mean = call.output_or_null<float>(tokens);
  out->stats = call.output<float>(2 * tokens);
  out->faults = call.faults();
}

napi_value forward(napi_env env, napi_callback_info info) {
  Call call(env, info, "log_prob");
  LogProbArgs a{};
  read_rows(call, &a);
  read_outputs(call, a.tokens, &a);
  return call.enqueue(bytes_of(a), [a](Context& context) { return log_prob_forward(context, a); });
}

napi_value partial(napi_env env, napi_callback_info info) {
  Call call(env, info, "log_prob_partial");
  LogProbPartialArgs a{};
  read_rows(call, &a);
  a.vocab_start = call.integer();
  a.partials = reinterpret_cast<LogProbPartial*>(call.output<double>(kPartial * a.tokens));
  return call.enqueue(bytes_of(a), [a](Context& context) { return log_prob_partial(context, a); });
}

napi_value merge(napi_env env, napi_callback_info info) {
  Call call(env, info, "log_prob_merge");
  LogProbMergeArgs a{};
  a.tokens = call.integer();
  a.vocab = call.integer();
  const int64_t shards = call.integer();
  a.shard_count = static_cast<int>(shards < kMaxShards ? shards : kMaxShards);
  for (int i = 0; i < a.shard_count; ++i) {
    a.shards[i] = reinterpret_cast<const LogProbPartial*>(call.input<double>(kPartial * a.tokens));
  }
  read_outputs(call, a.tokens, &a);
  return call.enqueue(a.tokens * shards * static_cast<int64_t>(sizeof(LogProbPartial)),
                      [a](Context& context) { return log_prob_merge(context, a); });
}

napi_value backward(napi_env env, napi_callback_info info) {
  Call call(env, info, "log_prob_backward");
  LogProbBackwardArgs a{};
  read_rows(call, &a);
  a.vocab_start = call.integer();
  a.whole_vocab = call.integer();
  a.d_row_stride = call.integer();
  a.stats = call.input<float>(2 * a.tokens);
  a.d_log_prob = call.input_or_null<float>(a.tokens);
  a.d_entropy = call.input_or_null<float>(a.tokens);
  a.entropy = call.input_or_null<float>(a.tokens);
  a.d_vocab_mean = call.input_or_null<float>(a.tokens);
  a.vocab_mean = call.input_or_null<float>(a.tokens);
  call.together(a.d_entropy, a.entropy);
  call.together(a.d_vocab_mean, a.vocab_mean);
  a.d_logits = call.output(a.dtype, extent(a.tokens, a.d_row_stride, a.vocab));
  if (a.temperatures != nullptr) a.faults = call.faults();
  return call.enqueue(2 * bytes_of(a),
                      [a](Context& context) { return log_prob_backward(context, a); });
}

}  // namespace

int64_t extent(int64_t rows, int64_t stride, int64_t width) {
  return rows == 0 ? 0 : (rows - 1) * stride + width;
}

void read_rows(Call& call, LogProbRows* rows) {
  rows->tokens = call.integer();
  rows->vocab = call.integer();
  rows->row_stride = call.integer();
  rows->dtype = call.dtype();
  rows->temperature = call.real();
  rows->temperatures = call.input_or_null<float>(rows->tokens);
  call.check_temperature(rows->temperature, rows->temperatures);
  rows->logits = call.input(rows->dtype, extent(rows->tokens, rows->row_stride, rows->vocab));
  rows->targets = call.input<int32_t>(rows->tokens);
  rows->mask = call.input_or_null<uint8_t>(rows->tokens);
}

int64_t bytes_of(const LogProbRows& rows) {
  return rows.tokens * rows.vocab * size_of(rows.dtype);
}

void register_log_prob(napi_env env, napi_value exports) {
  export_function(env, exports, "logProbForward", forward);
  export_function(env, exports, "logProbPartial", partial);
  export_function(env, exports, "logProbMerge", merge);
  export_function(env, exports, "logProbBackward", backward);
}

}  // namespace firesteel
