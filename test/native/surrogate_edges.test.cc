// The edges of surrogate on the CPU: bounds, accuracy of single terms, what is masked, faults,
// infinities, refusals.
#include <algorithm>

#include "arrays.h"
#include "every_isa.h"
#include "surrogate_batch.h"

namespace firesteel {
namespace {

SurrogateResult run(const SurrogateBatch& b, int threads = 2) {
  Threads cpu(threads);
  return run_surrogate(cpu, b);
}

// All lengths around a vector's.
const std::vector<int> kLengths{5, 0, 17, 1, 40, 3, 33};

BatchShape everything(uint32_t seed) {
  BatchShape shape{kLengths};
  shape.seed = seed;
  shape.weighted = shape.reference = shape.sampler = shape.entropies = shape.shaped = true;
  return shape;
}

// One token whose ratio is 1 exactly, and the clip range put at it.
SurrogateResult at_ratio_one(float advantage, float low, float high, float delta, float dual_clip,
                             bool plain = true) {
  SurrogateBatch b;
  b.rows = {0, 1};
  b.log_prob = b.old_log_prob = {-1.25f};
  b.advantage = {advantage};
  if (!plain) b.sampler_log_prob = {-1.25f};
  b.terms().low = low;
  b.terms().high = high;
  b.terms().delta = delta;
  b.terms().dual_clip = dual_clip;
  return run(b);
}

TEST_CASE("every bound belongs to the inside: at it the gradient still flows") {
  for (const bool plain : {true, false}) {
    const auto slope = [&](float advantage, float low, float high, float delta, float dual_clip) {
      return at_ratio_one(advantage, low, high, delta, dual_clip, plain).d_log_prob[0];
    };
    for (const float advantage : {2.0f, -2.0f}) {
      CHECK(slope(advantage, 1.0f, 1.0f, kInfinity, kInfinity) == -advantage);
      CHECK(slope(advantage, 0.5f, 1.5f, 1.0f, kInfinity) == -advantage);
      CHECK(slope(advantage, 0.5f, 1.5f, kInfinity, 1.0f) == -advantage);
    }
    // Just outside: A > 0 above the range and A < 0 below it stand still, the other two move on.
    CHECK(slope(2.0f, 0.5f, 0.99f, kInfinity, kInfinity) == 0.0f);
    CHECK(slope(-2.0f, 0.5f, 0.99f, kInfinity, kInfinity) == 2.0f);
    CHECK(slope(-2.0f, 1.01f, 1.5f, kInfinity, kInfinity) == 0.0f);
    CHECK(slope(2.0f, 1.01f, 1.5f, kInfinity, kInfinity) == -2.0f);
    // Above delta and beyond the dual clip A < 0 stands still; the loss is the cap.
    const SurrogateResult capped = at_ratio_one(-2.0f, 0.5f, 0.5f, 0.75f, kInfinity, plain);
    CHECK(capped.d_log_prob[0] == 0.0f);
    CHECK(capped.loss == 1.5);
    const SurrogateResult dual = at_ratio_one(-2.0f, 0.5f, 1.5f, kInfinity, 0.75f, plain);
    CHECK(dual.d_log_prob[0] == 0.0f);
    CHECK(dual.loss == 1.5);
  }
}

SurrogateBatch single(float log_prob, float old_log_prob, float ref_log_prob, float advantage,
                      float beta, float weight = 1.0f, KlEstimator kl = KlEstimator::k3) {
  SurrogateBatch b;
  b.rows = {0, 1};
  b.log_prob = {log_prob};
  b.old_log_prob = {old_log_prob};
  b.ref_log_prob = {ref_log_prob};
  b.advantage = {advantage};
  b.weight = {weight};
  b.terms().beta = beta;
  b.terms().kl = kl;
  b.terms().low = 0.0f;
  b.terms().high = kInfinity;
  return b;
}

TEST_CASE("single terms are within 4e-7 of float64, far from 0 and close to it") {
  const Array spread = random_array(4000, 21);
  std::mt19937 random(22);
  double worst_policy = 0.0, worst_kl = 0.0, worst_slope = 0.0;
  for (size_t i = 0; i + 1 < spread.size(); i += 2) {
    const float size = std::ldexp(20.0f, -int(random() % 20));
    const float old_log_prob = -20.0f * std::fabs(spread[i]);
    const float log_prob = old_log_prob + size * spread[i + 1];
    const double loss = run(single(log_prob, old_log_prob, 0.0f, 1.7f, 0.0f, 0.9f)).loss;
    const double d = double(log_prob) - double(old_log_prob);
    const double want = -std::exp(d) * double(1.7f) * double(0.9f);
    worst_policy = std::max(worst_policy, std::fabs(loss / want - 1.0));
    const SurrogateResult kl = run(single(old_log_prob, 0.0f, log_prob, 0.0f, 1.0f));
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

TEST_CASE("nothing to train: loss 0, gradients 0, no extremes") {
  SurrogateBatch masked = surrogate_batch(everything(41));
  std::fill(masked.mask.begin(), masked.mask.end(), uint8_t{0});
  SurrogateBatch empty;
  empty.segments = {0};
  empty.groups = {0};
  empty.old_log_prob.reserve(1);
  SurrogateBatch rows_only;
  rows_only.rows = {0, 0, 0};
  rows_only.segments = {0, 0};
  rows_only.groups = {0, 2};
  rows_only.advantage = {1.0f, 1.0f};
  for (SurrogateBatch b : {masked, empty, rows_only}) {
    const bool nowhere = b.tokens() == 0;
    // An array without elements would be one that the call does not have.
    if (nowhere) b.terms().form = SurrogateForm::reinforce;
    for (const RatioLevel level : {RatioLevel::token, RatioLevel::segment, RatioLevel::sequence}) {
      for (int aggregation = 0; aggregation <= 6; ++aggregation) {
        b.options.aggregation = Aggregation(aggregation);
        b.terms().level = nowhere ? RatioLevel::none : level;
        b.terms().beta = nowhere ? 0.0f : 0.5f;
        const SurrogateResult out = run(b);
        REQUIRE(out.refusal == "");
        CHECK(out.intact);
        CHECK(out.loss == 0.0);
        for (const float g : out.d_log_prob) CHECK(g == 0.0f);
        for (int m = 0; m < kMetricCount; ++m) {
          const bool lowest = m == kClippedLowRowMin || m == kRatioMin || m == kMismatchMin;
          const bool highest = m == kClippedHighRowMax || m == kRatioMax || m == kMismatchMax ||
                               m == kSamplerDifferenceMax;
          CHECK(out.metrics[size_t(m)] == (lowest ? kFar : highest ? -kFar : 0.0));
        }
        CHECK(out.fault_count() == 0);
      }
    }
  }
}

// Nothing masked, so that any token may be spoilt.
SurrogateBatch spoilable(RatioLevel level) {
  SurrogateBatch b = surrogate_batch(everything(51));
  b.mask.clear();
  b.shaped.clear();
  b.terms().level = level;
  b.terms().beta = 0.1f;
  b.options.aggregation = Aggregation::token_sum;
  return b;
}

TEST_CASE("a trained NaN is counted, left out, and changes no other token") {
  SurrogateBatch b = spoilable(RatioLevel::token);
  b.options.advantage_unit = AdvantageUnit::token;
  b.advantage = random_array(int64_t(b.tokens()), 3);
  b.options.limits_per_row = false;
  b.low = Array(b.tokens(), 0.8f);
  b.high = Array(b.tokens(), 1.2f);
  b.ratio_scale = Array(b.tokens(), 1.5f);
  b.ratio_bias = Array(b.tokens(), 0.01f);
  b.terms().mismatch = Mismatch::token_mask;
  const SurrogateResult clean = run(b);
  const size_t bad = 30;  // of the row of 40
  for (Array* x : {&b.log_prob, &b.old_log_prob, &b.ref_log_prob, &b.sampler_log_prob, &b.weight,
                   &b.advantage, &b.low, &b.high, &b.ratio_scale, &b.ratio_bias, &b.entropy}) {
    const float kept = (*x)[bad];
    for (const float advantage : {b.advantage[bad], 0.0f}) {
      const float before = b.advantage[bad];
      b.advantage[bad] = advantage;
      (*x)[bad] = kNaN;
      const SurrogateResult out = run(b);
      CHECK(out.fault_count() == 1);
      CHECK(out.fault_row() == 4);
      CHECK(out.d_log_prob[bad] == 0.0f);
      CHECK(out.d_entropy[bad] == 0.0f);
      CHECK(out.d_ratio_bias[bad] == 0.0f);
      CHECK(out.mismatch_weight[bad] == 0.0f);
      for (size_t t = 0; t < b.tokens(); ++t) {
        if (t != bad) CHECK(out.d_log_prob[t] == clean.d_log_prob[t]);
      }
      for (const double metric : out.metrics) CHECK(std::isfinite(metric));
      CHECK(out.metrics[kTrainedTokens] == clean.metrics[kTrainedTokens]);
      CHECK(out.metrics[kRatioTokens] == clean.metrics[kRatioTokens] - 1.0);
      b.advantage[bad] = before;
    }
    (*x)[bad] = kept;
  }
}

TEST_CASE("tokens of the plain form are held to the same") {
  BatchShape shape{kLengths};
  shape.masked = false;
  shape.weighted = shape.reference = shape.entropies = true;
  for (const SurrogateForm form :
       {SurrogateForm::clip, SurrogateForm::unclipped, SurrogateForm::cispo, SurrogateForm::sapo,
        SurrogateForm::dppo_tv}) {
    SurrogateBatch b = surrogate_batch(shape);
    set_form(b, form, RatioLevel::token, AdvantageUnit::token);
    b.terms().beta = 0.1f;
    for (Array* x :
         {&b.log_prob, &b.old_log_prob, &b.ref_log_prob, &b.weight, &b.advantage, &b.entropy}) {
      for (Array* idle : {&b.weight, &b.advantage}) {
        const float kept = (*x)[9], other = (*idle)[9];
        (*idle)[9] = 0.0f;
        (*x)[9] = kNaN;
        const SurrogateResult out = run(b);
        CHECK(out.fault_count() == 1);
        CHECK(out.d_log_prob[9] == 0.0f);
        for (const double metric : out.metrics) CHECK(metric == metric);
        (*idle)[9] = other;
        (*x)[9] = kept;
      }
    }
  }
}

TEST_CASE("a fault takes along what shares its ratio or its row's weight, and nothing else") {
  struct Case {
    RatioLevel level;
    Mismatch mismatch;
    bool whole_row;
  };
  for (const Case& c : {Case{RatioLevel::sequence, Mismatch::none, true},
                        Case{RatioLevel::sequence_product, Mismatch::token_mask, true},
                        Case{RatioLevel::sequence_token, Mismatch::none, true},
                        Case{RatioLevel::segment, Mismatch::none, false},
                        Case{RatioLevel::segment, Mismatch::sequence_truncate, true},
                        Case{RatioLevel::token, Mismatch::geometric_mask, true},
                        Case{RatioLevel::none, Mismatch::sequence_mask, true}}) {
    INFO("level ", int(c.level), ", mismatch ", int(c.mismatch));
    SurrogateBatch b = spoilable(c.level);
    b.terms().mismatch = c.mismatch;
    b.terms().mismatch_low = 0.0f;
    b.terms().mismatch_high = kInfinity;
    const SurrogateResult clean = run(b);
    REQUIRE(clean.fault_count() == 0);
    const size_t bad = 30, begin = 23, half = 43, end = 63;  // the row of 40 and its halves
    b.old_log_prob[bad] = kNaN;
    const SurrogateResult out = run(b);
    const size_t lost_end = c.whole_row ? end : half;
    CHECK(out.fault_count() == int(lost_end - begin));
    CHECK(out.fault_row() == 4);
    for (size_t t = 0; t < b.tokens(); ++t) {
      const bool lost = t >= begin && t < lost_end;
      CHECK(out.d_log_prob[t] == (lost ? 0.0f : clean.d_log_prob[t]));
      if (lost) CHECK(out.d_entropy[t] == 0.0f);
    }
    for (const double metric : out.metrics) CHECK(std::isfinite(metric));
    // The loss is that of the rest.
    SurrogateBatch rest = spoilable(c.level);
    rest.options = b.options;
    rest.mask.assign(rest.tokens(), 1);
    std::fill(rest.mask.begin() + begin, rest.mask.begin() + int64_t(lost_end), uint8_t{0});
    const bool sums_row = c.mismatch == Mismatch::sequence_truncate && !c.whole_row;
    if (!sums_row) CHECK(out.loss == doctest::Approx(run(rest).loss).epsilon(1e-12));
  }
}

TEST_CASE("one gradient that is not finite fails its unit, although every input is a number") {
  for (const RatioLevel level : {RatioLevel::sequence, RatioLevel::sequence_product}) {
    SurrogateBatch b = spoilable(level);
    b.terms().kl = KlEstimator::k3;
    b.ref_log_prob[30] = 200.0f;  // exp(200) is no float
    const SurrogateResult out = run(b);
    CHECK(out.fault_count() == 40);
    for (size_t t = 23; t < 63; ++t) CHECK(out.d_log_prob[t] == 0.0f);
    CHECK(std::isfinite(out.loss));
  }
  // The ratio of the whole row is inf; without advantage nothing is at stake.
  SurrogateBatch b = spoilable(RatioLevel::sequence_product);
  b.terms().form = SurrogateForm::unclipped;
  for (size_t t = 23; t < 63; ++t) b.log_prob[t] = b.old_log_prob[t] + 5.0f;
  CHECK(run(b).fault_count() == 40);
  b.advantage[4] = 0.0f;
  CHECK(run(b).fault_count() == 0);
  // The sum of pulls is beyond a float, each of them below.
  SurrogateBatch large = spoilable(RatioLevel::sequence_product);
  large.terms().form = SurrogateForm::unclipped;
  large.weight = Array(large.tokens(), 1.0f);
  large.advantage[4] = 3e37f;
  for (size_t t = 23; t < 63; ++t) large.log_prob[t] = large.old_log_prob[t];
  CHECK(run(large).fault_count() == 40);
}

TEST_CASE("infinite log-probs: what has a limit gets it, what has none is a fault") {
  const SurrogateResult gone =
      run(single(-kInfinity, -1.0f, 0.0f, 1.0f, 0.0f, 1.0f, KlEstimator::k1));
  CHECK(gone.loss == 0.0);
  CHECK(gone.d_log_prob[0] == 0.0f);
  CHECK(gone.fault_count() == 0);
  // No advantage or no weight: nothing at stake, although the ratio is inf.
  for (const SurrogateBatch& b : {single(-1.0f, -kInfinity, 0.0f, 0.0f, 0.0f),
                                  single(-1.0f, -kInfinity, 0.0f, 1.0f, 0.0f, 0.0f),
                                  single(-1.0f, -kInfinity, 0.0f, -1.0f, 0.0f, 0.0f)}) {
    const SurrogateResult nothing = run(b);
    CHECK(nothing.loss == 0.0);
    CHECK(nothing.d_log_prob[0] == 0.0f);
    CHECK(nothing.fault_count() == 0);
  }
  const SurrogateResult undefined = run(single(-kInfinity, -kInfinity, 0.0f, 1.0f, 0.0f));
  CHECK(undefined.fault_count() == 1);
  CHECK(undefined.loss == 0.0);
  CHECK(undefined.d_log_prob[0] == 0.0f);
  // The reference gives probability 0: an infinite KL, with a finite gradient.
  const SurrogateResult apart = run(single(-1.0f, -1.0f, -kInfinity, 0.0f, 0.5f));
  CHECK(apart.loss == kFar);
  CHECK(apart.d_log_prob[0] == 0.5f);
  // Limits hold it.
  SurrogateBatch held = single(-1.0f, -1.0f, -kInfinity, 0.0f, 0.5f);
  held.terms().kl_difference_limit = 20.0f;
  held.terms().kl_value_limit = 10.0f;
  CHECK(run(held).loss == 5.0);
  CHECK(run(held).d_log_prob[0] == 0.0f);
  // The policy gives probability 0 to what the reference allows: of no interest while beta is 0,
  // and without a usable gradient above.
  const SurrogateResult unused = run(single(-kInfinity, -1.0f, -1.0f, 1.0f, 0.0f));
  CHECK(unused.fault_count() == 0);
  CHECK(unused.loss == 0.0);
  const SurrogateResult used = run(single(-kInfinity, -1.0f, -1.0f, 1.0f, 0.5f));
  CHECK(used.fault_count() == 1);
  CHECK(used.d_log_prob[0] == 0.0f);
  // Nor has an unclipped ratio of inf.
  const SurrogateResult burst = run(single(-1.0f, -kInfinity, 0.0f, -1.0f, 0.0f));
  CHECK(burst.fault_count() == 1);
  CHECK(burst.loss == 0.0);
  CHECK(burst.d_log_prob[0] == 0.0f);
  // A clamp makes it finite.
  SurrogateBatch clamped = single(-1.0f, -kInfinity, 0.0f, -1.0f, 0.0f);
  clamped.terms().log_ratio_high = 20.0f;
  const SurrogateResult calm = run(clamped);
  CHECK(calm.loss == doctest::Approx(std::exp(20.0)).epsilon(1e-6));
  CHECK(calm.d_log_prob[0] == 0.0f);
  CHECK(calm.metrics[kClampedRatios] == 1.0);
}

TEST_CASE("losses too large to be added up are faults, those below are not") {
  for (const bool plain : {true, false}) {
    BatchShape shape{{64}};
    shape.masked = false;
    SurrogateBatch b = surrogate_batch(shape);
    b.log_prob = b.old_log_prob;
    if (!plain) b.sampler_log_prob = b.old_log_prob;
    b.terms().form = SurrogateForm::unclipped;
    b.advantage = {4e37f};
    const SurrogateResult large = run(b);
    CHECK(large.fault_count() == 0);
    CHECK(large.loss == doctest::Approx(-4e37));
    b.advantage = {5e37f};
    CHECK(run(b).fault_count() == 64);
    CHECK(run(b).loss == 0.0);
  }
}

TEST_CASE("a soft gate survives ratios of any size") {
  for (const float log_ratio : {-200.0f, -20.0f, 20.0f, 80.0f, 200.0f, kInfinity}) {
    for (const float advantage : {1.0f, -1.0f}) {
      SurrogateBatch b = single(0.0f, -log_ratio, 0.0f, advantage, 0.0f);
      b.terms().form = SurrogateForm::sapo;
      b.terms().tau_positive = 100.0f;
      const SurrogateResult out = run(b);
      CHECK(out.fault_count() == 0);
      CHECK(std::isfinite(out.loss));
      CHECK(std::isfinite(out.d_log_prob[0]));
    }
  }
}

TEST_CASE("a coefficient that is no float is a fault of every token, not a crash or an infinity") {
  for (const RatioLevel level : {RatioLevel::token, RatioLevel::sequence}) {
    for (const double denominator : {1e-300, std::nan("")}) {
      SurrogateBatch b = spoilable(level);
      b.options.denominator = denominator;
      const SurrogateResult out = run(b);
      CHECK(out.loss == 0.0);
      CHECK(out.fault_count() == int(b.tokens()));
      for (const float g : out.d_log_prob) CHECK(g == 0.0f);
    }
  }
  SurrogateBatch b = spoilable(RatioLevel::token);
  b.options.aggregation = Aggregation::group_weighted;
  b.group_weight = Array(b.groups.size() - 1, 1.0f);
  b.group_weight[1] = kNaN;  // rows 2 and 3: 18 tokens
  const SurrogateResult out = run(b);
  CHECK(out.fault_count() == 18);
  CHECK(out.fault_row() == 2);
  CHECK(std::isfinite(out.loss));
}

TEST_CASE("an infinite KL of a row without a coefficient stays a metric") {
  SurrogateBatch b = spoilable(RatioLevel::token);
  b.options.aggregation = Aggregation::balanced;
  b.advantage[4] = 0.0f;
  b.ref_log_prob[30] = -kInfinity;
  b.terms().kl = KlEstimator::k1;
  const SurrogateResult out = run(b);
  CHECK(std::isfinite(out.loss));
  CHECK(out.metrics[kKlSum] == kFar);
  CHECK(out.fault_count() == 0);
}

TEST_CASE("what stands under a mask changes nothing") {
  for (const RatioLevel level :
       {RatioLevel::token, RatioLevel::segment, RatioLevel::sequence_product, RatioLevel::none}) {
    SurrogateBatch b = surrogate_batch(everything(61));
    b.terms().level = level;
    b.terms().mismatch = Mismatch::sequence_truncate;
    b.terms().off_policy_threshold = 0.1f;
    b.terms().beta = 0.1f;
    const SurrogateResult clean = run(b);
    std::mt19937 random(5);
    for (Array* x : {&b.log_prob, &b.old_log_prob, &b.ref_log_prob, &b.sampler_log_prob, &b.weight,
                     &b.entropy}) {
      for (size_t t = 0; t < b.tokens(); ++t) {
        const float filth[] = {kNaN, kInfinity, -kInfinity};
        if (b.mask[t] == 0) (*x)[t] = filth[random() % 3];
      }
    }
    const SurrogateResult out = run(b);
    CHECK(out.d_log_prob == clean.d_log_prob);
    CHECK(out.metrics == clean.metrics);
    CHECK(out.loss == clean.loss);
    CHECK(out.fault_count() == 0);
  }
}

// Inputs that are not there are constants of loops of their own, and levels that share a ratio then
// pull once: the same bits come out as with weights of 1 in every loop.
TEST_CASE("weights of 1 change no gradient") {
  for_legal([](SurrogateForm form, RatioLevel level, AdvantageUnit unit) {
    for (const bool reference : {false, true}) {
      BatchShape shape{{64, 1, 0, 15, 16, 17, 33, 200, 64}};
      shape.reference = reference;
      SurrogateBatch b = surrogate_batch(shape, 0.1);
      set_form(b, form, level, unit);
      b.terms().beta = reference ? 0.1f : 0.0f;
      Threads cpu(2);
      const SurrogateResult without = run_surrogate(cpu, b);
      b.weight = Array(b.tokens(), 1.0f);
      const SurrogateResult with = run_surrogate(cpu, b);
      CHECK(without.refusal == "");
      CHECK(without.d_log_prob == with.d_log_prob);
      CHECK(without.loss == doctest::Approx(with.loss).epsilon(1e-12));
    }
  });
}

TEST_CASE("what does not go together is refused") {
  const auto refusal = [](auto change) {
    SurrogateBatch b = surrogate_batch(everything(71));
    change(b);
    const SurrogateResult out = run(b);
    CHECK(out.refusal != "");
  };
  CHECK(run(surrogate_batch(everything(71))).refusal == "");
  refusal([](auto& b) { b.terms().form = SurrogateForm(8); });
  refusal([](auto& b) { b.terms().form = SurrogateForm(-1); });
  refusal([](auto& b) { b.terms().level = RatioLevel(6); });
  refusal([](auto& b) { b.terms().kl = KlEstimator(5); });
  refusal([](auto& b) { b.terms().mismatch = Mismatch(6); });
  refusal([](auto& b) { b.options.aggregation = Aggregation(7); });
  refusal([](auto& b) { b.options.advantage_unit = AdvantageUnit(3); });
  refusal([](auto& b) { b.terms().form = SurrogateForm::gmpo; });
  refusal([](auto& b) { b.old_log_prob.clear(); });
  refusal([](auto& b) {
    b.terms().mismatch = Mismatch::token_mask;
    b.sampler_log_prob.clear();
  });
  refusal([](auto& b) {
    b.terms().beta = 0.1f;
    b.ref_log_prob.clear();
  });
  refusal([](auto& b) {
    b.terms().level = RatioLevel::segment;
    b.segments.clear();
  });
  refusal([](auto& b) {
    b.options.aggregation = Aggregation::balanced;
    b.groups.clear();
  });
  refusal([](auto& b) {
    b.options.aggregation = Aggregation::balanced;
    b.options.advantage_unit = AdvantageUnit::token;
    b.advantage.resize(b.tokens());
  });
  refusal([](auto& b) { b.low = Array(b.tokens(), 0.0f); });
  refusal([](auto& b) { b.ratio_scale = Array(b.tokens(), 1.0f); });
  refusal([](auto& b) {
    b.terms().level = RatioLevel::sequence;
    b.ratio_scale = b.ratio_bias = Array(b.tokens(), 1.0f);
  });
  refusal([](auto& b) {
    b.terms().level = RatioLevel::none;
    b.terms().form = SurrogateForm::reinforce;
    b.terms().shape_by_old = true;
    b.old_log_prob.clear();
  });
}

}  // namespace
}  // namespace firesteel
