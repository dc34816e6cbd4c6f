// The formulas of kernels/surrogate/surrogate.h in float64, token by token, and one call of the
// kernel: what the tests of both backends share. Included behind arrays.h or cuda_arrays.h.
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

// What stop-gradients hold stands at `base`; the loss is a function of `log_prob` and `bias`.
struct SurrogateOracle {
  const SurrogateBatch& b;
  const SurrogateTerms& s = b.options.terms;
  std::vector<double> base, bias;
  std::vector<size_t> row_of, unit_of, segment_of;
  std::vector<std::vector<size_t>> in_row, in_unit;  // trained tokens
  std::vector<double> mismatch_sums, base_shared;    // of rows, of units
  bool pools, shares;

  explicit SurrogateOracle(const SurrogateBatch& batch)
      : b(batch),
        base(b.log_prob.begin(), b.log_prob.end()),
        bias(b.ratio_bias.begin(), b.ratio_bias.end()),
        pools(s.level == RatioLevel::segment || s.level == RatioLevel::sequence ||
              s.level == RatioLevel::sequence_product),
        shares(pools || s.level == RatioLevel::sequence_token) {
    bias.resize(b.tokens(), 0.0);
    in_row = members(b.rows, row_of);
    const std::vector<int32_t> none{0, int32_t(b.tokens())};
    const auto in_segment = members(b.segments.empty() ? none : b.segments, segment_of);
    const bool by_segment = s.level == RatioLevel::segment;
    unit_of = by_segment ? segment_of : row_of;
    in_unit = by_segment ? in_segment : in_row;
    for (const auto& row : in_row) {
      double sum = 0.0;
      for (size_t t : row) sum += s.mismatch != Mismatch::none ? log_mismatch(t) : 0.0;
      mismatch_sums.push_back(sum);
    }
    base_shared = shared(base);
  }

  std::vector<std::vector<size_t>> members(const std::vector<int32_t>& offsets,
                                           std::vector<size_t>& of) const {
    std::vector<std::vector<size_t>> out(offsets.size() - 1);
    of.resize(b.tokens());
    for (size_t u = 0; u + 1 < offsets.size(); ++u) {
      for (size_t t = size_t(offsets[u]); t < size_t(offsets[u + 1]); ++t) {
        of[t] = u;
        if (b.trained(t)) out[u].push_back(t);
      }
    }
    return out;
  }

  double advantage(size_t t) const {
    const AdvantageUnit unit = b.options.advantage_unit;
    return double(b.advantage[unit == AdvantageUnit::row       ? row_of[t]
                              : unit == AdvantageUnit::segment ? segment_of[t]
                                                               : t]);
  }
  double limit(const Array& given, float common, size_t t) const {
    return double(given.empty() ? common : given[b.options.limits_per_row ? row_of[t] : t]);
  }
  double low(size_t t) const { return limit(b.low, s.low, t); }
  double high(size_t t) const { return limit(b.high, s.high, t); }

  static double clamp(double x, double low, double high) {
    return std::max(low, std::min(high, x));
  }

  // Before it is clamped.
  double free_x(size_t t, double log_prob) const {
    if (s.level == RatioLevel::none || b.is_shaped(row_of[t])) return 0.0;
    const double difference = log_prob - double(b.old_log_prob[t]) + bias[t];
    return b.ratio_scale.empty() ? difference : double(b.ratio_scale[t]) * difference;
  }
  double x(size_t t, double log_prob) const {
    const bool vespo = s.form == SurrogateForm::vespo;
    return clamp(free_x(t, log_prob), std::max(double(s.log_ratio_low), vespo ? -20.0 : -kFar),
                 std::min(double(s.log_ratio_high), vespo ? 20.0 : kFar));
  }

  double log_mismatch(size_t t) const {
    return double(b.old_log_prob[t]) - double(b.sampler_log_prob[t]);
  }
  // The weight and whether the correction changed it.
  std::pair<double, bool> mismatch(size_t t) const {
    const double low = double(s.mismatch_low), high = double(s.mismatch_high);
    const size_t r = row_of[t];
    if (s.mismatch == Mismatch::none || b.is_shaped(r)) return {1.0, false};
    const double own = std::exp(log_mismatch(t));
    const double row = std::exp(mismatch_sums[r]);
    const double mean = std::exp(mismatch_sums[r] / double(in_row[r].size()));
    const auto outside = [&](double w) { return w < low || w > high; };
    switch (s.mismatch) {
      case Mismatch::token_truncate:
        return {clamp(own, low, high), outside(own)};
      case Mismatch::token_mask:
        return {outside(own) ? 0.0 : own, outside(own)};
      case Mismatch::sequence_truncate:
        return {clamp(row, low, high), outside(row)};
      case Mismatch::sequence_mask:
        return {outside(row) ? 0.0 : row, outside(row)};
      default:
        return {outside(mean) ? 0.0 : own, outside(mean)};
    }
  }

  bool off_policy(size_t r) const {
    if (b.is_shaped(r) || std::isinf(s.off_policy_threshold)) return false;
    const Array& sampler = b.sampler_log_prob.empty() ? b.old_log_prob : b.sampler_log_prob;
    double sum = 0.0;
    for (size_t t : in_row[r]) sum += double(sampler[t]) - base[t];
    return sum / double(in_row[r].size()) > double(s.off_policy_threshold);
  }

  // log rho of a unit that shares it.
  double shared(size_t unit, const std::vector<double>& log_prob) const {
    double sum = 0.0;
    for (size_t t : in_unit[unit]) {
      double one = x(t, log_prob[t]);
      if (s.form == SurrogateForm::gmpo && advantage(t) > 0.0) one = std::min(one, high(t));
      if (s.form == SurrogateForm::gmpo && advantage(t) < 0.0) one = std::max(one, low(t));
      sum += one;
    }
    if (s.level != RatioLevel::sequence_product) return sum / double(in_unit[unit].size());
    if (s.form != SurrogateForm::vespo) return sum;
    const auto log_weight = [&](size_t t) {
      return clamp(std::log(mismatch(t).first), std::log(1e-8), 20.0);
    };
    const bool of_row =
        s.mismatch == Mismatch::sequence_truncate || s.mismatch == Mismatch::sequence_mask;
    if (of_row) sum += log_weight(in_unit[unit][0]);
    for (size_t t : in_unit[unit]) sum += of_row ? 0.0 : log_weight(t);
    return clamp(sum, std::log(1e-8), 20.0);
  }
  std::vector<double> shared(const std::vector<double>& log_prob) const {
    std::vector<double> out(in_unit.size(), 0.0);
    for (size_t u = 0; shares && u < in_unit.size(); ++u) {
      if (!in_unit[u].empty()) out[u] = shared(u, log_prob);
    }
    return out;
  }
  double log_ratio(size_t t, double log_prob, const std::vector<double>& units) const {
    if (b.is_shaped(row_of[t])) return 0.0;
    if (s.level == RatioLevel::none) return log_prob - base[t];
    if (s.level == RatioLevel::token) return x(t, log_prob);
    if (pools) return units[unit_of[t]];
    return base_shared[unit_of[t]] + x(t, log_prob) - x(t, base[t]);
  }

  double policy(size_t t, double log_prob, double rho, double frozen) const {
    const double a = advantage(t), p = std::exp(log_prob);
    const double gamma = double(s.shape_gamma);
    if (a == 0.0) return 0.0;
    if (b.is_shaped(row_of[t])) {
      return -a * p / ((s.shape_by_old ? std::exp(double(b.old_log_prob[t])) : p) + gamma);
    }
    switch (s.form) {
      case SurrogateForm::clip: {
        const double loss =
            -std::min(std::min(rho, double(s.delta)) * a, clamp(rho, low(t), high(t)) * a);
        return a < 0.0 ? std::min(loss, -double(s.dual_clip) * a) : loss;
      }
      case SurrogateForm::unclipped:
      case SurrogateForm::gmpo:
        return -rho * a;
      case SurrogateForm::reinforce:
        return -a * log_prob;
      case SurrogateForm::cispo:
        return -clamp(frozen, low(t), high(t)) * a * log_prob;
      case SurrogateForm::sapo: {
        const double tau = double(a > 0.0 ? s.tau_positive : s.tau_negative);
        return -a * 4.0 / tau / (1.0 + std::exp(-tau * (rho - 1.0)));
      }
      case SurrogateForm::dppo_tv: {
        const double shift = probability_shift(t);
        const bool kept = a > 0.0 ? shift <= high(t) : shift >= low(t);
        return kept ? -a * std::min(frozen, double(s.ratio_cap)) * log_prob : 0.0;
      }
      case SurrogateForm::vespo: {
        const double k = double(a < 0.0 ? s.k_negative : s.k_positive);
        const double lambda = double(a < 0.0 ? s.lambda_negative : s.lambda_positive);
        return -std::exp(lambda + k * std::log(frozen) - lambda * frozen) * a * log_prob;
      }
    }
    return 0.0;
  }
  double probability_shift(size_t t) const {
    return std::exp(base[t]) - std::exp(double(b.old_log_prob[t]));
  }

  static double estimate(KlEstimator kl, double d) {
    switch (kl) {
      case KlEstimator::k1:
        return -d;
      case KlEstimator::k2:
        return 0.5 * d * d;
      case KlEstimator::abs:
        return std::fabs(d);
      default:
        return std::expm1(d) - d;
    }
  }
  double kl(size_t t, double log_prob) const {
    const double most = double(s.kl_value_limit), far = double(s.kl_difference_limit);
    const auto d = [&](double lp) { return clamp(double(b.ref_log_prob[t]) - lp, -far, far); };
    if (s.kl != KlEstimator::k3_plus) {
      return clamp(estimate(s.kl, d(log_prob)), -most, most);
    }
    const double held = estimate(KlEstimator::k3, d(base[t]));
    if (held > most) return most;
    return held + estimate(KlEstimator::k2, d(log_prob)) - estimate(KlEstimator::k2, d(base[t]));
  }

  // The coefficient of every row's token losses.
  std::vector<double> coefficients() const {
    const SurrogateArgs& o = b.options;
    double trained = 0.0, active = 0.0, groups = 0.0;
    for (const auto& row : in_row) trained += double(row.size());
    for (const auto& row : in_row) active += row.empty() ? 0.0 : 1.0;
    std::vector<double> out(b.row_count(), 1.0);
    for (size_t r = 0; r < b.row_count(); ++r) {
      if (o.aggregation == Aggregation::seq_mean_token_mean && !in_row[r].empty()) {
        out[r] = 1.0 / double(in_row[r].size());
      }
      if (o.aggregation == Aggregation::seq_mean_token_sum_norm) out[r] = 1.0 / o.horizon;
    }
    const bool balanced = o.aggregation == Aggregation::balanced;
    const bool grouped = balanced || o.aggregation == Aggregation::group_weighted;
    for (size_t g = 0; grouped && g + 1 < b.groups.size(); ++g) {
      double rows = 0.0, tokens = 0.0, sign_rows[3] = {}, sign_tokens[3] = {};
      const auto sign = [&](size_t r) {
        return !balanced || b.advantage[r] == 0.0f ? 1 : b.advantage[r] > 0.0f ? 2 : 0;
      };
      for (size_t r = size_t(b.groups[g]); r < size_t(b.groups[g + 1]); ++r) {
        if (in_row[r].empty()) continue;
        rows += 1.0;
        tokens += double(in_row[r].size());
        sign_rows[sign(r)] += 1.0;
        sign_tokens[sign(r)] += double(in_row[r].size());
      }
      groups += rows > 0.0 ? 1.0 : 0.0;
      for (size_t r = size_t(b.groups[g]); r < size_t(b.groups[g + 1]); ++r) {
        if (in_row[r].empty()) continue;
        out[r] = !balanced      ? double(b.group_weight.empty() ? 1.0f : b.group_weight[g]) / tokens
                 : sign(r) == 1 ? 0.0
                                : sign_rows[sign(r)] / (rows * sign_tokens[sign(r)]);
      }
    }
    double n = o.count_empty_rows ? double(b.row_count()) : active;
    if (o.aggregation == Aggregation::token_mean) n = trained;
    if (o.aggregation == Aggregation::token_sum) n = 1.0;
    if (grouped) n = groups;
    if (o.denominator != 0.0) n = o.denominator;
    for (double& c : out) c /= std::max(n, o.denominator != 0.0 ? 0.0 : 1.0);
    return out;
  }
  double entropy_slope(double coefficient, double trained) const {
    const double given = b.options.entropy_denominator;
    const double mean = 1.0 / (given != 0.0 ? given : std::max(trained, 1.0));
    return -double(b.options.entropy_coefficient) *
           (b.options.entropy_token_mean ? mean : coefficient);
  }

  // The loss; `magnitude`, where given, is the sum of the absolute terms, and metrics those of the
  // contract.
  double evaluate(const std::vector<double>& log_prob, double* magnitude = nullptr,
                  std::vector<double>* metrics = nullptr) const {
    const std::vector<double> coefficient = coefficients();
    std::vector<double> m(kMetricCount, 0.0);
    for (int i : {int(kClippedLowRowMin), int(kRatioMin), int(kMismatchMin)}) m[size_t(i)] = kFar;
    for (int i :
         {int(kClippedHighRowMax), int(kRatioMax), int(kMismatchMax), int(kSamplerDifferenceMax)}) {
      m[size_t(i)] = -kFar;
    }
    const std::vector<double> units = shared(log_prob);
    double sum = 0.0, absolute = 0.0, trained = 0.0;
    for (const auto& row : in_row) trained += double(row.size());
    for (size_t r = 0; r < b.row_count(); ++r) {
      if (in_row[r].empty()) continue;
      const bool drops = off_policy(r), shaped = b.is_shaped(r);
      double low_count = 0.0, high_count = 0.0, dropped = 0.0;
      for (size_t t : in_row[r]) {
        const double rho = std::exp(log_ratio(t, log_prob[t], units));
        const double frozen = std::exp(log_ratio(t, base[t], base_shared));
        const auto [weight, changed] = mismatch(t);
        const double a = advantage(t), c = coefficient[r];
        double loss = policy(t, log_prob[t], rho, frozen);
        if (!b.weight.empty()) loss *= double(b.weight[t]);
        if (s.form != SurrogateForm::vespo) loss *= weight;
        if (drops && a < 0.0) loss = 0.0;
        dropped += drops && a < 0.0 ? 1.0 : 0.0;
        m[kPolicyLoss] += c * loss;
        absolute += c * std::fabs(loss);
        if (!b.ref_log_prob.empty()) {
          const double estimate = kl(t, log_prob[t]);
          const double scale = double(s.beta) * c * (s.kl_ratio && !shaped ? rho : 1.0);
          m[kKlLoss] += scale * estimate;
          absolute += std::fabs(scale * estimate);
          m[kKlSum] += estimate;
        }
        if (!b.entropy.empty()) {
          const double term = entropy_slope(c, trained) * double(b.entropy[t]);
          m[kEntropyLoss] += term;
          absolute += std::fabs(term);
          m[kEntropySum] += double(b.entropy[t]);
        }
        if (shaped) continue;
        const bool limited = s.form == SurrogateForm::clip || s.form == SurrogateForm::cispo ||
                             s.form == SurrogateForm::gmpo || s.form == SurrogateForm::dppo_tv;
        const double judged = s.form == SurrogateForm::gmpo      ? x(t, log_prob[t])
                              : s.form == SurrogateForm::dppo_tv ? probability_shift(t)
                                                                 : rho;
        low_count += limited && a < 0.0 && judged < low(t) ? 1.0 : 0.0;
        high_count += limited && a > 0.0 && judged > high(t) ? 1.0 : 0.0;
        m[kRatioTokens] += 1.0;
        m[kRatioSum] += rho;
        m[kRatioMin] = std::min(m[kRatioMin], rho);
        m[kRatioMax] = std::max(m[kRatioMax], rho);
        m[kLogRatioSquared] += 0.5 * x(t, log_prob[t]) * x(t, log_prob[t]);
        m[kClampedRatios] += x(t, log_prob[t]) != free_x(t, log_prob[t]) ? 1.0 : 0.0;
        m[kMismatchSum] += weight;
        m[kMismatchMin] = std::min(m[kMismatchMin], weight);
        m[kMismatchMax] = std::max(m[kMismatchMax], weight);
        m[kMismatchChanged] += changed ? 1.0 : 0.0;
        if (b.sampler_log_prob.empty() || b.old_log_prob.empty()) continue;
        const double apart = std::fabs(log_mismatch(t));
        m[kSamplerDifferenceSum] += apart;
        m[kSamplerDifferenceMax] = std::max(m[kSamplerDifferenceMax], apart);
      }
      m[kActiveRows] += 1.0;
      m[kDroppedRows] += dropped > 0.0 ? 1.0 : 0.0;
      if (shaped) continue;
      const double n = double(in_row[r].size());
      m[kRatioRows] += 1.0;
      m[kClippedLow] += low_count;
      m[kClippedHigh] += high_count;
      m[kClippedLowRows] += low_count / n;
      m[kClippedHighRows] += high_count / n;
      m[kClippedLowRowMin] = std::min(m[kClippedLowRowMin], low_count / n);
      m[kClippedHighRowMax] = std::max(m[kClippedHighRowMax], high_count / n);
    }
    m[kTrainedTokens] = trained;
    sum = m[kPolicyLoss] + m[kKlLoss] + m[kEntropyLoss];
    if (magnitude != nullptr) *magnitude = absolute;
    if (metrics != nullptr) *metrics = m;
    return sum;
  }
};

// Loss, metrics, weights and d entropy against the oracle.
inline void check_values(const SurrogateBatch& b, const SurrogateOracle& oracle,
                         const SurrogateResult& got) {
  REQUIRE(got.refusal == "");
  CHECK(got.intact);
  CHECK(got.fault_count() == 0);
  double magnitude = 0.0;
  std::vector<double> metrics;
  const double loss = oracle.evaluate(oracle.base, &magnitude, &metrics);
  CHECK(std::fabs(got.loss - loss) <= 2e-6 * magnitude);
  for (size_t m = 0; m < size_t(kMetricCount); ++m) {
    INFO("metric ", m);
    const double off = std::fabs(got.metrics[m] - metrics[m]);
    const bool aggregated = m == kPolicyLoss || m == kKlLoss || m == kEntropyLoss;
    CHECK((got.metrics[m] == metrics[m] ||
           off <= 2e-6 * (aggregated ? magnitude : std::fabs(metrics[m]))));
  }
  const std::vector<double> coefficient = oracle.coefficients();
  double worst_weight = 0.0, worst_entropy = 0.0;
  for (size_t t = 0; t < b.tokens(); ++t) {
    const bool trained = b.trained(t);
    if (!trained) CHECK(got.d_log_prob[t] == 0.0f);
    if (!b.sampler_log_prob.empty()) {
      const double weight = trained ? oracle.mismatch(t).first : 0.0;
      const double off = std::fabs(double(got.mismatch_weight[t]) - weight);
      worst_weight = std::max(worst_weight, off - 1e-6 * weight);
    }
    if (!b.entropy.empty()) {
      const double slope =
          trained ? oracle.entropy_slope(coefficient[oracle.row_of[t]], metrics[kTrainedTokens])
                  : 0.0;
      const double off = std::fabs(double(got.d_entropy[t]) - slope);
      worst_entropy = std::max(worst_entropy, off - 1e-7 * std::fabs(slope));
    }
  }
  CHECK(worst_weight <= 0.0);
  CHECK(worst_entropy <= 0.0);
}

// Gradients of every `stride`-th token against difference quotients of the oracle's loss. Where the
// loss bends within a step the quotients of the two sides differ, and the token is passed over: at
// most a tenth of them may be.
inline void check_gradients(const SurrogateBatch& b, SurrogateOracle& oracle,
                            const SurrogateResult& got, size_t stride = 1) {
  constexpr double kStep = 1e-6;
  double magnitude = 0.0;
  std::vector<double> at = oracle.base;
  const double loss = oracle.evaluate(at, &magnitude);
  const auto slope = [&](std::vector<double>& x, size_t t, double* left) {
    const double kept = x[t];
    x[t] = kept + kStep;
    const double above = oracle.evaluate(at);
    x[t] = kept - kStep;
    const double below = oracle.evaluate(at);
    x[t] = kept;
    *left = (loss - below) / kStep;
    return (above - below) / (2.0 * kStep);
  };
  double largest = 1e-30, largest_bias = 1e-30, worst = 0.0, worst_bias = 0.0;
  size_t bends = 0, taken = 0;
  for (size_t t = 0; t < b.tokens(); t += stride) {
    if (!b.trained(t)) continue;
    double left = 0.0;
    const double want = slope(at, t, &left);
    ++taken;
    largest = std::max(largest, std::fabs(want));
    if (std::fabs(want - left) > 1e-4 * magnitude) {
      ++bends;
      continue;
    }
    worst = std::max(worst, std::fabs(double(got.d_log_prob[t]) - want));
    if (b.ratio_bias.empty()) continue;
    const double bias = slope(oracle.bias, t, &left);
    largest_bias = std::max(largest_bias, std::fabs(bias));
    worst_bias = std::max(worst_bias, std::fabs(double(got.d_ratio_bias[t]) - bias));
  }
  CHECK(bends * 10 <= taken + 9);
  // The quotients' own error: rounding of the loss over the step, and the third derivative.
  const double quotient = 1e-15 * magnitude / kStep + 1e-10 * magnitude;
  CHECK(worst <= 2e-6 * largest + quotient);
  CHECK(worst_bias <= 2e-6 * largest_bias + quotient);
}

inline void check_surrogate(Context& context, const SurrogateBatch& b) {
  const SurrogateResult got = run_surrogate(context, b);
  SurrogateOracle oracle(b);
  check_values(b, oracle, got);
  check_gradients(b, oracle, got);
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
