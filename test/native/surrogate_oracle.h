// The formulas of kernels/surrogate/surrogate.h in float64, token by token, and what a call of the
// kernel is held to. Included behind arrays.h or cuda_arrays.h.
#pragma once
#include "surrogate_batch.h"

namespace firesteel {

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

}  // namespace firesteel
