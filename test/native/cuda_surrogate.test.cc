// surrogate on the emulated card: losses against the formulas in double, gradients against central
// differences of those away from kinks, masks, faults and the independence of the batch.
#include "cuda_arrays.h"
#include "kernels/surrogate/surrogate.h"

namespace firesteel {
namespace {

struct Batch {
  std::vector<int> lengths;
  Array log_prob, old_log_prob, ref_log_prob, advantage, weight;
  std::vector<uint8_t> mask;
  SurrogateArgs options{};

  // Log-ratios up to 0.6 on both sides of 0, none near a clip bound.
  explicit Batch(std::vector<int> rows, uint32_t seed = 1) : lengths(std::move(rows)) {
    const int tokens = offsets_of(lengths).back();
    old_log_prob = random_array(tokens, seed, -3.0f, -0.5f);
    ref_log_prob = random_array(tokens, seed + 1, -3.0f, -0.5f);
    advantage = random_array(static_cast<int64_t>(lengths.size()), seed + 2, -2.0f, 2.0f);
    weight = random_array(tokens, seed + 3, 0.2f, 2.0f);
    log_prob = random_array(tokens, seed + 4, -0.6f, 0.6f);
    for (int t = 0; t < tokens; ++t) {
      const size_t i = static_cast<size_t>(t);
      for (float kink : {0.8f, 1.3f, 1.5f, 1.7f}) {
        if (std::fabs(std::exp(log_prob[i]) - kink) < 0.01f) log_prob[i] += 0.05f;
      }
      log_prob[i] += old_log_prob[i];
      mask.push_back(t % 4 != 1);
    }
    options.epsilon_low = 0.2f;
    options.epsilon_high = 0.3f;
    options.delta = options.dual_clip = kInfinity;
    options.kl = KlEstimator::k3;
    options.horizon = 100.0;
  }
};

struct Result {
  double loss = 0.0;
  Array d_log_prob;
  Doubles metrics;
  Faults faults;
};

Result run(Context& context, const Batch& b, bool masked = true) {
  const std::vector<int32_t> offsets = offsets_of(b.lengths);
  Result out;
  out.d_log_prob.assign(b.log_prob.size(), kNaN);
  out.metrics.assign(kMetricCount, std::nan(""));
  SurrogateArgs a = b.options;
  a.tokens = static_cast<int64_t>(b.log_prob.size());
  a.rows = static_cast<int64_t>(b.lengths.size());
  a.row_offsets = offsets.data();
  a.log_prob = b.log_prob.data();
  a.old_log_prob = b.old_log_prob.data();
  a.ref_log_prob = b.ref_log_prob.empty() ? nullptr : b.ref_log_prob.data();
  a.advantage = b.advantage.data();
  a.advantage_per_token = b.advantage.size() != b.lengths.size();
  a.weight = b.weight.empty() ? nullptr : b.weight.data();
  a.mask = masked ? b.mask.data() : nullptr;
  a.loss = &out.loss;
  a.d_log_prob = out.d_log_prob.data();
  a.metrics = out.metrics.data();
  a.faults = &out.faults;
  Doubles workspace(static_cast<size_t>(surrogate_workspace(a.tokens, a.rows) / 8 + 1));
  a.workspace = workspace.data();
  must(surrogate(context, a));
  return out;
}

// What a row's sum of token losses is multiplied by.
double share(const Batch& b, double row_tokens, double trained, double active) {
  const double given = b.options.denominator;
  const double rows = given != 0.0 ? given : active;
  switch (b.options.aggregation) {
    case Aggregation::token_mean:
      return 1.0 / (given != 0.0 ? given : trained);
    case Aggregation::seq_mean_token_mean:
      return 1.0 / (row_tokens * rows);
    case Aggregation::seq_mean_token_sum:
      return 1.0 / rows;
    case Aggregation::seq_mean_token_sum_norm:
      return 1.0 / (b.options.horizon * rows);
    case Aggregation::token_sum:
      return 1.0 / (given != 0.0 ? given : 1.0);
  }
  return 0.0;
}

double plain_kl(const Batch& b, double d) {  // d = reference - current
  switch (b.options.kl) {
    case KlEstimator::k1:
      return -d;
    case KlEstimator::k2:
      return d * d / 2.0;
    case KlEstimator::abs:
      return std::fabs(d);
    default:
      return std::expm1(d) - d;
  }
}

struct Loss {
  double value = 0.0, magnitude = 0.0;
};

Loss plain(const Batch& b, const Doubles& log_prob, bool masked = true) {
  const std::vector<int32_t> offsets = offsets_of(b.lengths);
  const auto counts = [&](size_t t) { return !masked || b.mask[t] != 0; };
  const SurrogateArgs& o = b.options;
  Doubles tokens;
  for (size_t r = 0; r < b.lengths.size(); ++r) {
    tokens.push_back(0.0);
    for (int t = offsets[r]; t < offsets[r + 1]; ++t) tokens[r] += counts(static_cast<size_t>(t));
  }
  double trained = 0.0, active = 0.0;
  for (double n : tokens) {
    trained += n;
    active += n > 0.0;
  }
  Loss loss;
  for (size_t r = 0; r < b.lengths.size(); ++r) {
    for (size_t t = static_cast<size_t>(offsets[r]); t < static_cast<size_t>(offsets[r + 1]); ++t) {
      if (!counts(t)) continue;
      const double ratio = std::exp(log_prob[t] - double{b.old_log_prob[t]});
      const double advantage = double{b.advantage[b.advantage.size() == tokens.size() ? r : t]};
      const double clipped =
          std::min(std::max(ratio, 1.0 - double{o.epsilon_low}), 1.0 + double{o.epsilon_high});
      double term = -std::min(std::min(ratio, double{o.delta}) * advantage, clipped * advantage);
      if (advantage < 0.0) term = std::min(term, -double{o.dual_clip} * advantage);
      if (!b.weight.empty()) term *= double{b.weight[t]};
      if (o.beta != 0.0f) {
        term += double{o.beta} * plain_kl(b, double{b.ref_log_prob[t]} - log_prob[t]);
      }
      loss.value += term * share(b, tokens[r], trained, active);
      loss.magnitude += std::fabs(term) * share(b, tokens[r], trained, active);
    }
  }
  return loss;
}

void check(Context& context, const Batch& b, bool masked = true) {
  const Result result = run(context, b, masked);
  const Doubles x = widened(b.log_prob);
  const Loss expected = plain(b, x, masked);
  CHECK(std::fabs(result.loss - expected.value) <= 1e-6 * expected.magnitude);
  CHECK(result.metrics[kPolicyLossSum] + result.metrics[kKlLossSum] == result.loss);
  CHECK(result.faults.none());
  Batch moving = b;  // k3+ has the value of k3 and the gradient of k2
  if (b.options.kl == KlEstimator::k3_plus) moving.options.kl = KlEstimator::k2;
  const Doubles gradient =
      slopes(x, [&](const Doubles& at) { return plain(moving, at, masked).value; });
  double largest = 1e-30;
  for (double g : gradient) largest = std::max(largest, std::fabs(g));
  CHECK(distance(result.d_log_prob, gradient, 1e-6 * largest, 1e-6) <= 1.0);
}

constexpr Aggregation kAggregations[] = {
    Aggregation::token_mean, Aggregation::seq_mean_token_mean, Aggregation::seq_mean_token_sum,
    Aggregation::seq_mean_token_sum_norm, Aggregation::token_sum};

TEST_CASE("every aggregation, with and without mask, weight, reference and denominator") {
  in_every_order([](Context& context) {
    for (Aggregation aggregation : kAggregations) {
      CAPTURE(static_cast<int>(aggregation));
      Batch b({0, 1, 31, 33, 0, 20});
      b.options.aggregation = aggregation;
      b.options.beta = 0.1f;
      check(context, b);
      check(context, b, false);
      b.options.denominator = 7.0;
      check(context, b);
      b.options.beta = 0.0f;
      b.ref_log_prob.clear();
      b.weight.clear();
      check(context, b);
    }
  });
}

TEST_CASE("every estimator, clip option and advantage per token") {
  Context context;
  for (int kl = 0; kl < 5; ++kl) {
    Batch b({17, 40});
    b.options.beta = 0.5f;
    b.options.kl = static_cast<KlEstimator>(kl);
    CAPTURE(kl);
    check(context, b);
    b.options.dual_clip = 1.5f;
    check(context, b);
    b.options.delta = 1.7f;
    b.advantage = random_array(57, 9, -2.0f, 2.0f);
    check(context, b);
  }
}

TEST_CASE("rows longer than a tile") {
  Context context;
  Batch b({1024, 1025, 3, 2500});
  b.options.beta = 0.1f;
  for (Aggregation aggregation : kAggregations) {
    b.options.aggregation = aggregation;
    const Result result = run(context, b);
    const Loss expected = plain(b, widened(b.log_prob));
    CHECK(std::fabs(result.loss - expected.value) <= 1e-6 * expected.magnitude);
    CHECK(result.metrics[kTrainedTokens] == std::count(b.mask.begin(), b.mask.end(), 1));
    CHECK(result.metrics[kActiveRows] == 4.0);
  }
}

TEST_CASE("metrics of the trained tokens") {
  in_every_order([](Context& context) {
    Batch b({33, 5});
    b.advantage = {1.0f, -1.0f};
    const Result result = run(context, b);
    Doubles expected(kMetricCount);
    expected[kActiveRows] = 2.0;
    expected[kRatioMin] = double{kInfinity};
    expected[kRatioMax] = -double{kInfinity};
    for (size_t t = 0; t < b.mask.size(); ++t) {
      if (b.mask[t] == 0) continue;
      const double log_ratio = double{b.log_prob[t]} - double{b.old_log_prob[t]};
      const double ratio = std::exp(log_ratio);
      expected[kTrainedTokens] += 1.0;
      expected[kKlTokenSum] += plain_kl(b, double{b.ref_log_prob[t]} - double{b.log_prob[t]});
      expected[kClippedLow] += t >= 33 && ratio < 0.8;
      expected[kClippedHigh] += t < 33 && ratio > 1.3;
      expected[kRatioSum] += ratio;
      expected[kRatioMin] = std::min(expected[kRatioMin], ratio);
      expected[kRatioMax] = std::max(expected[kRatioMax], ratio);
      expected[kLogRatioSquared] += log_ratio * log_ratio / 2.0;
    }
    expected[kPolicyLossSum] = result.loss;
    CHECK(distance(result.metrics, expected, 1e-30, 4e-7) <= 1.0);
    CHECK(expected[kClippedLow] * expected[kClippedHigh] > 0.0);
  });
}

TEST_CASE("what stands under a mask changes nothing") {
  Context context;
  Batch b({33, 5});
  b.options.beta = 0.1f;
  const Result clean = run(context, b);
  for (size_t t = 0; t < b.mask.size(); ++t) {
    if (b.mask[t] != 0) continue;
    b.log_prob[t] = b.ref_log_prob[t] = kNaN;
    b.old_log_prob[t] = -kInfinity;
    b.weight[t] = kInfinity;
    CHECK(clean.d_log_prob[t] == 0.0f);
  }
  const Result result = run(context, b);
  CHECK(same_bits(result.d_log_prob, clean.d_log_prob));
  CHECK(same_bits(result.metrics, clean.metrics));
  CHECK(result.loss == clean.loss);
  CHECK(result.faults.none());
}

TEST_CASE("a trained NaN is a fault and contributes nothing") {
  Context context;
  Batch b({10, 10});
  b.options.beta = 0.1f;
  for (Array* input : {&b.log_prob, &b.old_log_prob, &b.ref_log_prob, &b.weight}) {
    const float kept = (*input)[12];
    (*input)[12] = kNaN;
    const Result result = run(context, b);
    CHECK(result.faults.count[static_cast<int>(Fault::not_a_number)] == 1);
    CHECK(result.faults.first_row[static_cast<int>(Fault::not_a_number)] == 1);
    CHECK(result.d_log_prob[12] == 0.0f);
    CHECK(std::isfinite(result.loss));
    for (double metric : result.metrics) CHECK(std::isfinite(metric));
    (*input)[12] = kept;
  }
}

TEST_CASE("an infinite KL estimate is a metric while beta is 0") {
  Context context;
  Batch b({10});
  b.ref_log_prob[2] = -kInfinity;
  b.options.kl = KlEstimator::k1;
  const Result result = run(context, b);
  CHECK(result.metrics[kKlTokenSum] == double{kInfinity});
  CHECK(result.metrics[kKlLossSum] == 0.0);
  CHECK(std::isfinite(result.loss));
  CHECK(result.faults.none());
}

TEST_CASE("nothing trained gives 0") {
  Context context;
  for (Batch b : {Batch({}), Batch({0, 0}), Batch({4, 3})}) {
    std::fill(b.mask.begin(), b.mask.end(), uint8_t{0});
    const Result result = run(context, b);
    CHECK(result.loss == 0.0);
    CHECK(same_bits(result.d_log_prob, Array(b.log_prob.size(), 0.0f)));
    CHECK(result.metrics[kTrainedTokens] == 0.0);
    CHECK(result.metrics[kActiveRows] == 0.0);
    CHECK(result.metrics[kRatioMin] == double{kInfinity});
    CHECK(result.metrics[kRatioMax] == -double{kInfinity});
  }
}

TEST_CASE("a row's gradient does not depend on the batch around it") {
  Context context;
  Batch both({700, 1300});
  both.options.denominator = 5.0;
  Batch alone = both;
  alone.lengths = {1300};
  alone.advantage = {both.advantage[1]};
  for (auto member : {&Batch::log_prob, &Batch::old_log_prob, &Batch::ref_log_prob, &Batch::weight})
    (alone.*member).erase((alone.*member).begin(), (alone.*member).begin() + 700);
  alone.mask.erase(alone.mask.begin(), alone.mask.begin() + 700);
  const Array whole = run(context, both).d_log_prob;
  CHECK(same_bits(Array(whole.begin() + 700, whole.end()), run(context, alone).d_log_prob));
}

}  // namespace
}  // namespace firesteel
