// Batches for the tests of surrogate on both backends, and one call of the kernel. Included behind
// arrays.h or cuda_arrays.h.
#pragma once
#include "kernels/surrogate/surrogate.h"

namespace firesteel {

constexpr double kFar = std::numeric_limits<double>::infinity();

inline SurrogateArgs surrogate_defaults() {
  SurrogateArgs o{};
  SurrogateTerms& s = o.terms;
  s.form = SurrogateForm::clip;
  s.level = RatioLevel::token;
  s.low = 0.8f;
  s.high = 1.28f;
  s.delta = s.dual_clip = kInfinity;
  s.tau_positive = 1.0f;
  s.tau_negative = 1.05f;
  s.ratio_cap = 2.0f;
  s.k_positive = s.lambda_negative = 2.0f;
  s.k_negative = s.lambda_positive = 3.0f;
  s.log_ratio_low = -kInfinity;
  s.log_ratio_high = kInfinity;
  s.shape_gamma = 0.1f;
  s.kl = KlEstimator::k3;
  s.kl_difference_limit = s.kl_value_limit = kInfinity;
  s.mismatch = Mismatch::none;
  s.mismatch_low = 0.7f;
  s.mismatch_high = 1.4f;
  s.off_policy_threshold = kInfinity;
  o.advantage_unit = AdvantageUnit::row;
  o.aggregation = Aggregation::token_mean;
  o.horizon = 50.0;
  return o;
}

// Empty arrays are inputs that the call does not have.
struct SurrogateBatch {
  std::vector<int32_t> rows{0}, segments, groups;  // offsets
  Array log_prob, old_log_prob, ref_log_prob, sampler_log_prob, advantage, weight, low, high;
  Array ratio_scale, ratio_bias, entropy, group_weight;
  std::vector<uint8_t> shaped, mask;
  SurrogateArgs options = surrogate_defaults();

  SurrogateTerms& terms() { return options.terms; }
  size_t tokens() const { return log_prob.size(); }
  size_t row_count() const { return rows.size() - 1; }
  bool trained(size_t t) const { return mask.empty() || mask[t] != 0; }
  bool is_shaped(size_t r) const { return !shaped.empty() && shaped[r] != 0; }
};

struct SurrogateResult {
  double loss = 0.0;
  Array d_log_prob, d_entropy, d_ratio_bias, mismatch_weight;
  std::vector<double> metrics;
  FaultWord faults;
  std::string refusal;
  bool intact = true;  // nothing was written behind the outputs and the workspace

  int fault_count() const { return int(faults.count[int(Fault::not_a_number)]); }
  int fault_row() const { return int(faults.first_row[int(Fault::not_a_number)]); }
};

inline SurrogateResult run_surrogate(Context& context, const SurrogateBatch& b) {
  constexpr size_t kGuard = 32;
  SurrogateResult out;
  const size_t tokens = b.tokens();
  for (Array* array : {&out.d_log_prob, &out.d_entropy, &out.d_ratio_bias, &out.mismatch_weight}) {
    array->assign(tokens + kGuard, 77.0f);
  }
  out.metrics.assign(kMetricCount, std::nan(""));
  for (int k = 0; k < kFaultKinds; ++k) {
    out.faults.count[k] = 0;
    out.faults.first_row[k] = ~0u;
  }
  const auto pointer = [](const auto& array) { return array.empty() ? nullptr : array.data(); };
  SurrogateArgs a = b.options;
  a.tokens = int64_t(tokens);
  a.rows = int64_t(b.row_count());
  a.segments = b.segments.empty() ? 0 : int64_t(b.segments.size()) - 1;
  a.groups = b.groups.empty() ? 0 : int64_t(b.groups.size()) - 1;
  a.row_offsets = b.rows.data();
  a.segment_offsets = pointer(b.segments);
  a.group_offsets = pointer(b.groups);
  a.log_prob = b.log_prob.data();
  a.old_log_prob = pointer(b.old_log_prob);
  a.ref_log_prob = pointer(b.ref_log_prob);
  a.sampler_log_prob = pointer(b.sampler_log_prob);
  a.advantage = b.advantage.data();
  a.weight = pointer(b.weight);
  a.low = pointer(b.low);
  a.high = pointer(b.high);
  a.ratio_scale = pointer(b.ratio_scale);
  a.ratio_bias = pointer(b.ratio_bias);
  a.entropy = pointer(b.entropy);
  a.group_weight = pointer(b.group_weight);
  a.shaped = pointer(b.shaped);
  a.mask = pointer(b.mask);
  a.loss = &out.loss;
  a.d_log_prob = out.d_log_prob.data();
  if (!b.entropy.empty()) a.d_entropy = out.d_entropy.data();
  if (!b.ratio_bias.empty()) a.d_ratio_bias = out.d_ratio_bias.data();
  if (!b.sampler_log_prob.empty()) a.mismatch_weight = out.mismatch_weight.data();
  a.metrics = out.metrics.data();
  a.faults = &out.faults;
  const size_t bytes = size_t(surrogate_workspace(a.tokens, a.rows, a.segments, a.groups));
  std::vector<double> workspace(bytes / 8 + 1 + kGuard, -7.0);
  a.workspace = workspace.data();
  out.refusal = surrogate(context, a).message;
  for (size_t i = bytes / 8 + 1; i < workspace.size(); ++i) out.intact &= workspace[i] == -7.0;
  for (Array* array : {&out.d_log_prob, &out.d_entropy, &out.d_ratio_bias, &out.mismatch_weight}) {
    for (size_t i = tokens; i < array->size(); ++i) out.intact &= (*array)[i] == 77.0f;
    array->resize(tokens);
  }
  return out;
}

// What a batch of these rows has, beside what every batch has.
struct BatchShape {
  std::vector<int> lengths;
  uint32_t seed = 1;
  bool masked = true, weighted = false, reference = false, sampler = false, entropies = false;
  bool shaped = false;
};

// Log-ratios up to 0.5 around 0, or smaller by `spread`, so that both sides of every limit occur.
inline SurrogateBatch surrogate_batch(const BatchShape& shape, double spread = 1.0) {
  SurrogateBatch b;
  for (const int length : shape.lengths) b.rows.push_back(b.rows.back() + length);
  const int64_t n = b.rows.back();
  const uint32_t seed = 100 * shape.seed;
  const auto around = [&](const Array& center, uint32_t salt, float width) {
    Array out = random_array(n, seed + salt, -width, width);
    for (size_t t = 0; t < out.size(); ++t) out[t] += center[t];
    return out;
  };
  b.old_log_prob = random_array(n, seed, -3.0f, -0.6f);
  b.log_prob = around(b.old_log_prob, 1, float(0.5 * spread));
  if (shape.reference) b.ref_log_prob = around(b.log_prob, 2, 1.5f);
  if (shape.sampler) b.sampler_log_prob = around(b.old_log_prob, 3, float(0.6 * spread));
  if (shape.weighted) b.weight = random_array(n, seed + 4, 0.1f, 2.0f);
  if (shape.entropies) b.entropy = random_array(n, seed + 5, 0.1f, 2.0f);
  b.advantage = random_array(int64_t(shape.lengths.size()), seed + 6, -2.0f, 2.0f);
  std::mt19937 random(seed);
  for (int64_t t = 0; shape.masked && t < n; ++t) b.mask.push_back(random() % 4 != 0);
  for (size_t r = 0; shape.shaped && r < shape.lengths.size(); ++r) b.shaped.push_back(r % 3 == 1);
  // Halves of rows, some empty; groups of two rows.
  b.segments = {0};
  b.groups = {0};
  for (size_t r = 0; r < b.row_count(); ++r) {
    if (b.rows[r + 1] == b.rows[r]) continue;
    b.segments.push_back((b.rows[r] + b.rows[r + 1]) / 2);
    b.segments.push_back(b.rows[r + 1]);
    if (r % 2 == 0) b.segments.push_back(b.rows[r + 1]);
  }
  for (size_t r = 2; r <= b.row_count(); r += 2) b.groups.push_back(int32_t(r));
  if (b.groups.back() != int32_t(b.row_count())) b.groups.push_back(int32_t(b.row_count()));
  return b;
}

// Sets form, level and the unit of the advantage, with limits that fit.
inline void set_form(SurrogateBatch& b, SurrogateForm form, RatioLevel level, AdvantageUnit unit) {
  SurrogateTerms& s = b.terms();
  s.form = form;
  s.level = level;
  b.options.advantage_unit = unit;
  const int64_t count = unit == AdvantageUnit::row       ? int64_t(b.row_count())
                        : unit == AdvantageUnit::segment ? int64_t(b.segments.size()) - 1
                                                         : int64_t(b.tokens());
  b.advantage = random_array(count, 77, -2.0f, 2.0f);
  if (form == SurrogateForm::gmpo) {
    s.low = -0.2f;
    s.high = 0.25f;
  } else if (form == SurrogateForm::dppo_tv) {
    s.low = -0.06f;
    s.high = 0.05f;
  } else if (level == RatioLevel::segment || level == RatioLevel::sequence) {
    s.low = 0.95f;
    s.high = 1.04f;
  }
  if (form == SurrogateForm::reinforce) b.old_log_prob.clear();
}

// body(form, level, unit) for everything that is legal.
template <class Body>
void for_legal(Body body) {
  for (int form = 0; form < 8; ++form) {
    for (int level = 0; level < 6; ++level) {
      for (int unit = 0; unit < 3; ++unit) {
        const auto f = SurrogateForm(form);
        const auto l = RatioLevel(level);
        const auto u = AdvantageUnit(unit);
        if (!is_legal(f, l, u)) continue;
        INFO("form ", form, ", level ", level, ", unit ", unit);
        body(f, l, u);
      }
    }
  }
}

}  // namespace firesteel
