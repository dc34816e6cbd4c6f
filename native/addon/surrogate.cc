#include "kernels/surrogate/surrogate.h"

#include "addon/arguments.h"
#include "addon/engine.h"

namespace firesteel {
namespace {

template <class Enum>
Enum choice(Call& call) {
  return static_cast<Enum>(call.integer());
}

void read_terms(Call& call, SurrogateTerms& s) {
  s.form = choice<SurrogateForm>(call);
  s.level = choice<RatioLevel>(call);
  s.low = call.real();
  s.high = call.real();
  s.delta = call.real();
  s.dual_clip = call.real();
  s.tau_positive = call.real();
  s.tau_negative = call.real();
  s.ratio_cap = call.real();
  s.k_positive = call.real();
  s.lambda_positive = call.real();
  s.k_negative = call.real();
  s.lambda_negative = call.real();
  s.log_ratio_low = call.real();
  s.log_ratio_high = call.real();
  s.shape_gamma = call.real();
  s.shape_by_old = call.flag();
  s.beta = call.real();
  s.kl = choice<KlEstimator>(call);
  s.kl_ratio = call.flag();
  s.kl_difference_limit = call.real();
  s.kl_value_limit = call.real();
  s.mismatch = choice<Mismatch>(call);
  s.mismatch_low = call.real();
  s.mismatch_high = call.real();
  s.off_policy_threshold = call.real();
}

int64_t advantages(const SurrogateArgs& a) {
  switch (a.advantage_unit) {
    case AdvantageUnit::row:
      return a.rows;
    case AdvantageUnit::segment:
      return a.segments;
    default:
      return a.tokens;
  }
}

napi_value run(napi_env env, napi_callback_info info) {
  Call call(env, info, "surrogate");
  SurrogateArgs a{};
  read_surrogate(call, &a);
  a.workspace = call.workspace(surrogate_workspace(a.tokens, a.rows, a.segments, a.groups));
  a.faults = call.faults();
  return call.enqueue(48 * a.tokens, [a](Context& context) { return surrogate(context, a); });
}

}  // namespace

void read_surrogate(Call& call, SurrogateArgs* args) {
  SurrogateArgs& a = *args;
  a.tokens = call.integer();
  a.rows = call.integer();
  a.segments = call.integer();
  a.groups = call.integer();
  call.scalars();
  read_terms(call, a.terms);
  a.advantage_unit = choice<AdvantageUnit>(call);
  a.limits_per_row = call.flag();
  a.aggregation = choice<Aggregation>(call);
  a.count_empty_rows = call.flag();
  a.denominator = call.number();
  a.horizon = call.number();
  a.entropy_coefficient = call.real();
  a.entropy_token_mean = call.flag();
  a.entropy_denominator = call.number();
  const int64_t limits = a.limits_per_row ? a.rows : a.tokens;
  a.row_offsets = call.input<int32_t>(a.rows + 1);
  a.segment_offsets = call.input_or_null<int32_t>(a.segments + 1);
  a.group_offsets = call.input_or_null<int32_t>(a.groups + 1);
  a.log_prob = call.input<float>(a.tokens);
  a.old_log_prob = call.input_or_null<float>(a.tokens);
  a.ref_log_prob = call.input_or_null<float>(a.tokens);
  a.sampler_log_prob = call.input_or_null<float>(a.tokens);
  a.advantage = call.input<float>(advantages(a));
  a.weight = call.input_or_null<float>(a.tokens);
  a.low = call.input_or_null<float>(limits);
  a.high = call.input_or_null<float>(limits);
  a.ratio_scale = call.input_or_null<float>(a.tokens);
  a.ratio_bias = call.input_or_null<float>(a.tokens);
  a.entropy = call.input_or_null<float>(a.tokens);
  a.group_weight = call.input_or_null<float>(a.groups);
  a.shaped = call.input_or_null<uint8_t>(a.rows);
  a.mask = call.input_or_null<uint8_t>(a.tokens);
  a.loss = call.output<double>(1);
  a.d_log_prob = call.output<float>(a.tokens);
  a.d_entropy = call.output_or_null<float>(a.tokens);
  a.d_ratio_bias = call.output_or_null<float>(a.tokens);
  a.mismatch_weight = call.output_or_null<float>(a.tokens);
  a.metrics = call.output<double>(kMetricCount);
}

void register_surrogate(napi_env env, napi_value exports) {
  export_function(env, exports, "surrogate", run);
  napi_value count;
  napi_create_int32(env, kMetricCount, &count);
  napi_set_named_property(env, exports, "surrogateMetrics", count);
}

}  // namespace firesteel
