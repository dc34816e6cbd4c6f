// surrogate on the CPU against the formulas in float64, and its gradient against finite
// differences.
#include "kernels/surrogate/surrogate.h"

#include <algorithm>

#include "arrays.h"
#include "every_isa.h"

namespace firesteel {
namespace {

struct Batch {
  std::vector<int32_t> offsets{0};
  Array log_prob, old_log_prob, ref_log_prob, advantage, weight;
  std::vector<uint8_t> mask;
  SurrogateArgs options{};  // what is not an array

  Batch() {
    options.epsilon_low = 0.2f;
    options.epsilon_high = 0.28f;
    options.delta = kInfinity;
    options.dual_clip = kInfinity;
    options.kl = KlEstimator::k3;
    options.horizon = 1.0;
  }
  int64_t rows() const { return static_cast<int64_t>(offsets.size()) - 1; }
  int64_t tokens() const { return offsets.back(); }
};

// Rows of all lengths around a vector's, an empty one and a masked one; ratios from 0.4 to 2.5, so
// that every arm of every clip occurs.
Batch random_batch(uint32_t seed) {
  Batch b;
  for (const int length : {5, 0, 17, 1, 64, 3, 33}) b.offsets.push_back(b.offsets.back() + length);
  const int64_t n = b.tokens();
  b.old_log_prob = random_array(n, seed, -5.0f, -0.1f);
  b.log_prob = random_array(n, seed + 1, -0.9f, 0.9f);
  b.ref_log_prob = random_array(n, seed + 2, -1.5f, 1.5f);
  for (size_t t = 0; t < size_t(n); ++t) {
    b.log_prob[t] += b.old_log_prob[t];
    b.ref_log_prob[t] += b.log_prob[t];
  }
  b.advantage = random_array(n, seed + 3, -2.0f, 2.0f);
  b.weight = random_array(n, seed + 4, 0.0f, 2.0f);
  b.mask.assign(size_t(n), 1);
  std::mt19937 random(seed);
  for (size_t t = 0; t < size_t(n); ++t) {
    if (random() % 4 == 0) b.mask[t] = 0;
    if (random() % 9 == 0) b.advantage[t] = 0.0f;
  }
  for (int32_t t = b.offsets[5]; t < b.offsets[6]; ++t) b.mask[size_t(t)] = 0;
  for (size_t t = 0; t < size_t(n); ++t) {
    if (b.mask[t] == 0) b.log_prob[t] = b.advantage[t] = b.ref_log_prob[t] = b.weight[t] = kNaN;
  }
  b.options.advantage_per_token = true;
  return b;
}

struct Result {
  double loss = 0.0;
  Array d_log_prob;
  std::vector<double> metrics;
  FaultWord faults;
};

Result run(const Batch& b, int threads = 2) {
  Result out;
  out.d_log_prob.assign(size_t(b.tokens()), kNaN);
  out.metrics.assign(kMetricCount, 7.0);
  for (int k = 0; k < kFaultKinds; ++k) {
    out.faults.count[k] = 0;
    out.faults.first_row[k] = 0xffffffffu;
  }
  SurrogateArgs a = b.options;
  a.tokens = b.tokens();
  a.rows = b.rows();
  a.row_offsets = b.offsets.data();
  a.log_prob = b.log_prob.data();
  a.old_log_prob = b.old_log_prob.data();
  a.ref_log_prob = b.ref_log_prob.empty() ? nullptr : b.ref_log_prob.data();
  a.advantage = b.advantage.data();
  a.weight = b.weight.empty() ? nullptr : b.weight.data();
  a.mask = b.mask.empty() ? nullptr : b.mask.data();
  a.loss = &out.loss;
  a.d_log_prob = out.d_log_prob.data();
  a.metrics = out.metrics.data();
  a.faults = &out.faults;
  std::vector<double> workspace(size_t(surrogate_workspace(a.tokens, a.rows) / 8 + 1));
  a.workspace = workspace.data();
  Threads cpu(threads);
  REQUIRE(surrogate(cpu, a).ok());
  return out;
}

double kl_of(KlEstimator kl, double d) {  // d = ref - current
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

// The formulas of the contract, term by term, in float64.
struct Exact {
  double loss = 0.0, magnitude = 0.0;
  std::vector<double> metrics = std::vector<double>(kMetricCount, 0.0);
  std::vector<double> scale;  // of each token's gradient: of its terms before they cancel
};
Exact exact(const Batch& b, const std::vector<double>& log_prob, KlEstimator kl) {
  const SurrogateArgs& o = b.options;
  const double low = double(1.0f - o.epsilon_low), high = double(1.0f + o.epsilon_high);
  Exact out;
  std::vector<double> row_tokens;
  for (size_t r = 0; r < size_t(b.rows()); ++r) {
    double n = 0.0;
    for (int32_t t = b.offsets[r]; t < b.offsets[r + 1]; ++t) n += b.mask[size_t(t)] != 0;
    row_tokens.push_back(n);
    out.metrics[kTrainedTokens] += n;
    out.metrics[kActiveRows] += n > 0.0;
  }
  double divisor = o.aggregation == Aggregation::token_sum    ? 1.0
                   : o.aggregation == Aggregation::token_mean ? out.metrics[kTrainedTokens]
                                                              : out.metrics[kActiveRows];
  divisor = o.denominator != 0.0 ? o.denominator : std::max(divisor, 1.0);
  out.metrics[kRatioMin] = double(kInfinity);
  out.metrics[kRatioMax] = -double(kInfinity);
  for (size_t r = 0; r < size_t(b.rows()); ++r) {
    double factor = 1.0 / divisor;
    if (o.aggregation == Aggregation::seq_mean_token_mean) factor /= std::max(row_tokens[r], 1.0);
    if (o.aggregation == Aggregation::seq_mean_token_sum_norm) factor /= o.horizon;
    for (size_t t = size_t(b.offsets[r]); t < size_t(b.offsets[r + 1]); ++t) {
      out.scale.push_back(0.0);
      if (b.mask[t] == 0) continue;
      const double advantage = double(b.advantage[o.advantage_per_token ? t : r]);
      const double log_ratio = log_prob[t] - double(b.old_log_prob[t]);
      const double ratio = std::exp(log_ratio);
      const double clipped = std::min(std::max(ratio, low), high);
      double policy = -std::min(std::min(ratio, double(o.delta)) * advantage, clipped * advantage);
      if (advantage < 0.0) policy = std::min(policy, -double(o.dual_clip) * advantage);
      if (!b.weight.empty()) policy *= double(b.weight[t]);
      const double estimate =
          b.ref_log_prob.empty() ? 0.0 : kl_of(kl, double(b.ref_log_prob[t]) - log_prob[t]);
      out.metrics[kPolicyLossSum] += factor * policy;
      out.metrics[kKlLossSum] += factor * double(o.beta) * estimate;
      out.metrics[kKlTokenSum] += estimate;
      out.metrics[kClippedLow] += ratio < low && advantage < 0.0;
      out.metrics[kClippedHigh] += ratio > high && advantage > 0.0;
      out.metrics[kRatioSum] += ratio;
      out.metrics[kRatioMin] = std::min(out.metrics[kRatioMin], ratio);
      out.metrics[kRatioMax] = std::max(out.metrics[kRatioMax], ratio);
      out.metrics[kLogRatioSquared] += 0.5 * log_ratio * log_ratio;
      out.scale.back() = factor * (2.0 * std::fabs(advantage) * ratio + double(o.beta) * 5.0);
      out.magnitude += factor * (std::fabs(policy) + double(o.beta) * std::fabs(estimate));
    }
  }
  out.loss = out.metrics[kPolicyLossSum] + out.metrics[kKlLossSum];
  return out;
}

// Whether the loss bends at this token within what a finite difference would straddle.
bool near_kink(const Batch& b, size_t t) {
  const SurrogateArgs& o = b.options;
  const double ratio = std::exp(double(b.log_prob[t]) - double(b.old_log_prob[t]));
  for (const double kink : {double(1.0f - o.epsilon_low), double(1.0f + o.epsilon_high),
                            double(o.delta), double(o.dual_clip)}) {
    if (std::fabs(ratio - kink) < 1e-4) return true;
  }
  return !b.ref_log_prob.empty() && std::fabs(double(b.ref_log_prob[t] - b.log_prob[t])) < 1e-4;
}

void check(const Batch& b) {
  const Result got = run(b);
  std::vector<double> log_prob(b.log_prob.begin(), b.log_prob.end());
  const Exact want = exact(b, log_prob, b.options.kl);
  CHECK(std::fabs(got.loss - want.loss) <= 1e-6 * want.magnitude);  // the contract
  for (int m = 0; m < kMetricCount; ++m) {
    INFO(m);
    CHECK(got.metrics[size_t(m)] == doctest::Approx(want.metrics[size_t(m)]).epsilon(1e-6));
  }
  CHECK(got.faults.count[int(Fault::not_a_number)] == 0);
  // k3+ has the gradient of k2 by design.
  const KlEstimator slope = b.options.kl == KlEstimator::k3_plus ? KlEstimator::k2 : b.options.kl;
  for (size_t t = 0; t < size_t(b.tokens()); ++t) {
    if (b.mask[t] == 0) {
      CHECK(got.d_log_prob[t] == 0.0f);
      continue;
    }
    if (near_kink(b, t)) continue;
    const double h = 1e-5, x = log_prob[t];
    log_prob[t] = x + h;
    const double above = exact(b, log_prob, slope).loss;
    log_prob[t] = x - h;
    const double below = exact(b, log_prob, slope).loss;
    log_prob[t] = x;
    // The difference's own error is about 1e-16 |loss| / h + h^2 = 2e-10 of the terms.
    const double error = double(got.d_log_prob[t]) - (above - below) / (2 * h);
    CHECK(std::fabs(error) <= 4e-7 * want.scale[t] + 1e-9);
  }
}

TEST_CASE("loss, metrics and gradient agree with float64 for every aggregation and estimator") {
  for (int aggregation = 0; aggregation <= 4; ++aggregation) {
    for (int kl = 0; kl <= 4; ++kl) {
      INFO(aggregation);
      INFO(kl);
      Batch b = random_batch(uint32_t(10 * aggregation + kl));
      b.options.aggregation = Aggregation(aggregation);
      b.options.kl = KlEstimator(kl);
      b.options.beta = 0.3f;
      b.options.horizon = 50.0;
      check(b);
      b.options.denominator = 123.0;
      check(b);
    }
  }
}

TEST_CASE("two-sided and dual clipping, alone and together") {
  for (const float delta : {kInfinity, 1.5f, 1.1f}) {
    for (const float dual_clip : {kInfinity, 3.0f, 1.7f, 1.2f}) {
      INFO(delta);
      INFO(dual_clip);
      Batch b = random_batch(77);
      b.options.delta = delta;
      b.options.dual_clip = dual_clip;
      b.ref_log_prob.clear();
      check(b);
      b.weight.clear();
      check(b);
    }
  }
}

TEST_CASE("an advantage per row is that of all its tokens") {
  Batch b = random_batch(5);
  b.options.advantage_per_token = false;
  b.advantage = random_array(b.rows(), 6, -2.0f, 2.0f);
  check(b);
}

// One token whose ratio is a given float exactly: log_prob = old_log_prob = 0 gives 1, and the clip
// range is put at it.
Result at_ratio_one(float advantage, float epsilon_low, float epsilon_high, float delta,
                    float dual_clip) {
  Batch b;
  b.offsets = {0, 1};
  b.log_prob = b.old_log_prob = {-1.25f};
  b.advantage = {advantage};
  b.options.epsilon_low = epsilon_low;
  b.options.epsilon_high = epsilon_high;
  b.options.delta = delta;
  b.options.dual_clip = dual_clip;
  return run(b);
}

TEST_CASE("every bound belongs to the inside: at it the gradient still flows") {
  for (const float advantage : {2.0f, -2.0f}) {
    CHECK(at_ratio_one(advantage, 0.0f, 0.0f, kInfinity, kInfinity).d_log_prob[0] == -advantage);
    CHECK(at_ratio_one(advantage, 0.5f, 0.5f, 1.0f, kInfinity).d_log_prob[0] == -advantage);
    CHECK(at_ratio_one(advantage, 0.5f, 0.5f, kInfinity, 1.0f).d_log_prob[0] == -advantage);
  }
  // Just outside: A > 0 above the range and A < 0 below it stand still, the other two move on.
  CHECK(at_ratio_one(2.0f, 0.5f, -0.01f, kInfinity, kInfinity).d_log_prob[0] == 0.0f);
  CHECK(at_ratio_one(-2.0f, 0.5f, -0.01f, kInfinity, kInfinity).d_log_prob[0] == 2.0f);
  CHECK(at_ratio_one(-2.0f, -0.01f, 0.5f, kInfinity, kInfinity).d_log_prob[0] == 0.0f);
  CHECK(at_ratio_one(2.0f, -0.01f, 0.5f, kInfinity, kInfinity).d_log_prob[0] == -2.0f);
  // Above delta and beyond the dual clip A < 0 stands still; the loss is the cap.
  const Result capped = at_ratio_one(-2.0f, 0.5f, -0.5f, 0.75f, kInfinity);
  CHECK(capped.d_log_prob[0] == 0.0f);
  CHECK(capped.loss == 1.5);
  const Result dual = at_ratio_one(-2.0f, 0.5f, 0.5f, kInfinity, 0.75f);
  CHECK(dual.d_log_prob[0] == 0.0f);
  CHECK(dual.loss == 1.5);
}

Result single(float log_prob, float old_log_prob, float ref_log_prob, float advantage, float beta,
              float weight = 1.0f, KlEstimator kl = KlEstimator::k3) {
  Batch b;
  b.offsets = {0, 1};
  b.log_prob = {log_prob};
  b.old_log_prob = {old_log_prob};
  b.ref_log_prob = {ref_log_prob};
  b.advantage = {advantage};
  b.weight = {weight};
  b.options.beta = beta;
  b.options.kl = kl;
  b.options.epsilon_low = 1.0f;
  b.options.epsilon_high = kInfinity;
  return run(b);
}

TEST_CASE("single terms are within 4e-7 of float64, far from 0 and close to it") {
  const Array spread = random_array(4000, 21);
  std::mt19937 random(22);
  double worst_policy = 0.0, worst_kl = 0.0, worst_slope = 0.0;
  for (size_t i = 0; i + 1 < spread.size(); i += 2) {
    const float size = std::ldexp(20.0f, -int(random() % 20));
    const float old_log_prob = -20.0f * std::fabs(spread[i]);
    const float log_prob = old_log_prob + size * spread[i + 1];
    const Result policy = single(log_prob, old_log_prob, 0.0f, 1.7f, 0.0f, 0.9f);
    const double d = double(log_prob) - double(old_log_prob);
    const double want = -std::exp(d) * double(1.7f) * double(0.9f);
    worst_policy = std::max(worst_policy, std::fabs(policy.loss / want - 1.0));
    const Result kl = single(old_log_prob, 0.0f, log_prob, 0.0f, 1.0f);
    if (d != 0.0) {
      // expm1(d) - d cancels too where d is small; its series does not.
      const double exact_kl =
          std::fabs(d) < 1e-3 ? d * d * (0.5 + d / 6 + d * d / 24) : std::expm1(d) - d;
      worst_kl = std::max(worst_kl, std::fabs(kl.loss / exact_kl - 1.0));
      worst_slope =
          std::max(worst_slope, std::fabs(double(kl.d_log_prob[0]) / -std::expm1(d) - 1.0));
    }
  }
  CHECK(worst_policy <= 4e-7);
  CHECK(worst_kl <= 4e-7);
  CHECK(worst_slope <= 4e-7);
}

TEST_CASE("micro-batches with a common denominator add up to the batch, to the bit per token") {
  Batch whole = random_batch(31);
  whole.options.beta = 0.1f;
  whole.options.horizon = 40.0;
  for (int aggregation = 0; aggregation <= 4; ++aggregation) {
    INFO(aggregation);
    whole.options.aggregation = Aggregation(aggregation);
    whole.options.denominator = 0.0;
    const Result all = run(whole);
    const double count = all.metrics[aggregation == 0 ? kTrainedTokens : kActiveRows];
    double loss = 0.0;
    for (size_t r = 0; r < size_t(whole.rows()); ++r) {
      const auto cut = [&](const Array& x) {
        return Array(x.begin() + whole.offsets[r], x.begin() + whole.offsets[r + 1]);
      };
      Batch part;
      part.options = whole.options;
      part.options.denominator = aggregation == 4 ? 1.0 : count;
      part.offsets = {0, whole.offsets[r + 1] - whole.offsets[r]};
      part.log_prob = cut(whole.log_prob);
      part.old_log_prob = cut(whole.old_log_prob);
      part.ref_log_prob = cut(whole.ref_log_prob);
      part.advantage = cut(whole.advantage);
      part.weight = cut(whole.weight);
      part.mask.assign(whole.mask.begin() + whole.offsets[r],
                       whole.mask.begin() + whole.offsets[r + 1]);
      const Result one = run(part);
      loss += one.loss;
      CHECK(one.d_log_prob == cut(all.d_log_prob));
    }
    CHECK(loss == doctest::Approx(all.loss).epsilon(1e-14));
  }
}

TEST_CASE("the thread count changes no bit") {
  Batch b;
  for (int r = 0; r < 3000; ++r) b.offsets.push_back(b.offsets.back() + r % 41);
  const int64_t n = b.tokens();
  b.old_log_prob = random_array(n, 1, -3.0f, 0.0f);
  b.log_prob = random_array(n, 2, -3.0f, 0.0f);
  b.advantage = random_array(b.rows(), 3);
  const Result one = run(b, 1), two = run(b, 2), three = run(b, 3);
  CHECK(one.loss == two.loss);
  CHECK(one.loss == three.loss);
  CHECK(one.metrics == two.metrics);
  CHECK(one.metrics == three.metrics);
  CHECK(one.d_log_prob == two.d_log_prob);
  CHECK(one.d_log_prob == three.d_log_prob);
}

TEST_CASE("nothing to train: loss 0, gradients 0, no extremes") {
  Batch masked = random_batch(41);
  std::fill(masked.mask.begin(), masked.mask.end(), uint8_t{0});
  Batch empty;
  Batch rows_only;
  rows_only.offsets = {0, 0, 0};
  rows_only.advantage = {1.0f, 1.0f};
  for (Batch* b : {&masked, &empty, &rows_only}) {
    for (int aggregation = 0; aggregation <= 4; ++aggregation) {
      b->options.aggregation = Aggregation(aggregation);
      b->options.beta = 0.5f;
      const Result out = run(*b);
      CHECK(out.loss == 0.0);
      for (const float g : out.d_log_prob) CHECK(g == 0.0f);
      CHECK(out.metrics[kTrainedTokens] == 0.0);
      CHECK(out.metrics[kActiveRows] == 0.0);
      CHECK(out.metrics[kPolicyLossSum] == 0.0);
      CHECK(out.metrics[kKlLossSum] == 0.0);
      CHECK(out.metrics[kRatioMin] == double(kInfinity));
      CHECK(out.metrics[kRatioMax] == -double(kInfinity));
      CHECK(out.faults.count[int(Fault::not_a_number)] == 0);
    }
  }
}

TEST_CASE("a trained NaN is counted, left out, and changes no other token") {
  Batch b = random_batch(51);
  std::fill(b.mask.begin(), b.mask.end(), uint8_t{1});
  for (Array* x : {&b.log_prob, &b.ref_log_prob, &b.advantage, &b.weight}) {
    for (float& v : *x) v = v == v ? v : 0.5f;
  }
  b.options.aggregation = Aggregation::token_sum;
  b.options.beta = 0.1f;
  const Result clean = run(b);
  for (Array* x : {&b.log_prob, &b.old_log_prob, &b.ref_log_prob, &b.advantage, &b.weight}) {
    const float kept = (*x)[30];  // of the row of 64
    (*x)[30] = kNaN;
    const Result out = run(b);
    CHECK(out.faults.count[int(Fault::not_a_number)] == 1);
    CHECK(out.faults.first_row[int(Fault::not_a_number)] == 4);
    CHECK(out.d_log_prob[30] == 0.0f);
    for (size_t t = 0; t < size_t(b.tokens()); ++t) {
      if (t != 30) CHECK(out.d_log_prob[t] == clean.d_log_prob[t]);
    }
    CHECK(std::isfinite(out.loss));
    CHECK(out.metrics[kTrainedTokens] == clean.metrics[kTrainedTokens]);
    (*x)[30] = kept;
  }
}

TEST_CASE("infinite log-probs: what has a limit gets it, what has none is a fault") {
  const int number = int(Fault::not_a_number);
  const Result gone = single(-kInfinity, -1.0f, 0.0f, 1.0f, 0.0f, 1.0f, KlEstimator::k1);
  CHECK(gone.loss == 0.0);
  CHECK(gone.d_log_prob[0] == 0.0f);
  CHECK(gone.faults.count[number] == 0);
  // No advantage or no weight: nothing at stake, although the ratio is inf.
  for (const Result& nothing : {single(-1.0f, -kInfinity, 0.0f, 0.0f, 0.0f),
                                single(-1.0f, -kInfinity, 0.0f, 1.0f, 0.0f, 0.0f),
                                single(-1.0f, -kInfinity, 0.0f, -1.0f, 0.0f, 0.0f)}) {
    CHECK(nothing.loss == 0.0);
    CHECK(nothing.d_log_prob[0] == 0.0f);
    CHECK(nothing.faults.count[number] == 0);
  }
  const Result undefined = single(-kInfinity, -kInfinity, 0.0f, 1.0f, 0.0f);
  CHECK(undefined.faults.count[number] == 1);
  CHECK(undefined.loss == 0.0);
  CHECK(undefined.d_log_prob[0] == 0.0f);
  // The reference gives probability 0: an infinite KL, with a finite gradient.
  const Result apart = single(-1.0f, -1.0f, -kInfinity, 0.0f, 0.5f);
  CHECK(apart.loss == double(kInfinity));
  CHECK(apart.d_log_prob[0] == 0.5f);
  // The policy gives probability 0 to what the reference allows: of no interest while beta is 0,
  // and without a usable gradient above.
  const Result unused = single(-kInfinity, -1.0f, -1.0f, 1.0f, 0.0f);
  CHECK(unused.faults.count[number] == 0);
  CHECK(unused.loss == 0.0);
  const Result used = single(-kInfinity, -1.0f, -1.0f, 1.0f, 0.5f);
  CHECK(used.faults.count[number] == 1);
  CHECK(used.d_log_prob[0] == 0.0f);
  // Nor has an unclipped ratio of inf.
  const Result burst = single(-1.0f, -kInfinity, 0.0f, -1.0f, 0.0f);
  CHECK(burst.faults.count[number] == 1);
  CHECK(burst.loss == 0.0);
  CHECK(burst.d_log_prob[0] == 0.0f);
}

}  // namespace
}  // namespace firesteel
