// surrogate on the CPU against the formulas in float64, and its gradient against difference
// quotients of them.
#include <algorithm>

#include "arrays.h"
#include "every_isa.h"
#include "surrogate_oracle.h"

namespace firesteel {
namespace {

SurrogateResult run(const SurrogateBatch& b, int threads = 2) {
  Threads cpu(threads);
  return run_surrogate(cpu, b);
}

void check(const SurrogateBatch& b) {
  Threads cpu(2);
  check_surrogate(cpu, b);
}

// All lengths around a vector's, and an empty row.
const std::vector<int> kLengths{5, 0, 17, 1, 40, 3, 33};

BatchShape everything(uint32_t seed) {
  BatchShape shape{kLengths};
  shape.seed = seed;
  shape.weighted = shape.reference = shape.sampler = shape.entropies = shape.shaped = true;
  return shape;
}

void mask_row(SurrogateBatch& b, size_t row) {
  std::fill(b.mask.begin() + b.rows[row], b.mask.begin() + b.rows[row + 1], uint8_t{0});
}

TEST_CASE("every legal combination with a mask alone") {
  for_legal([](SurrogateForm form, RatioLevel level, AdvantageUnit unit) {
    BatchShape shape{kLengths};
    SurrogateBatch b = surrogate_batch(shape);
    mask_row(b, 5);
    set_form(b, form, level, unit);
    check(b);
  });
}

TEST_CASE("every legal combination with everything that goes with it") {
  uint32_t turn = 0;
  for_legal([&](SurrogateForm form, RatioLevel level, AdvantageUnit unit) {
    SurrogateBatch b = surrogate_batch(everything(++turn));
    mask_row(b, 5);
    const Array old_log_prob = b.old_log_prob;
    set_form(b, form, level, unit);
    b.old_log_prob = old_log_prob;
    SurrogateTerms& s = b.terms();
    s.beta = 0.3f;
    s.kl = KlEstimator(turn % 5);
    s.kl_difference_limit = 1.2f;
    s.kl_value_limit = 0.9f;
    s.kl_ratio = form != SurrogateForm::gmpo && form != SurrogateForm::vespo;
    s.mismatch = Mismatch(turn % 6);
    s.off_policy_threshold = turn % 2 == 0 ? 0.01f : kInfinity;
    s.log_ratio_low = -0.35f;
    s.log_ratio_high = 0.4f;
    s.shape_by_old = turn % 2 == 1;
    b.options.aggregation = Aggregation(turn % 7);
    if (unit != AdvantageUnit::row && b.options.aggregation == Aggregation::balanced) {
      b.options.aggregation = Aggregation::seq_mean_token_mean;
    }
    b.options.entropy_coefficient = 0.2f;
    b.options.entropy_token_mean = turn % 3 == 0;
    b.options.limits_per_row = turn % 2 == 0;
    const size_t limits = b.options.limits_per_row ? b.row_count() : b.tokens();
    b.low = random_array(int64_t(limits), 5, s.low - 0.01f, s.low + 0.01f);
    b.high = random_array(int64_t(limits), 6, s.high - 0.01f, s.high + 0.01f);
    b.group_weight = random_array(int64_t(b.groups.size()) - 1, 7, 0.5f, 2.0f);
    check(b);
    b.options.denominator = 123.0;
    b.options.entropy_denominator = 45.0;
    check(b);
  });
}

TEST_CASE("every aggregation, with and without rows that have nothing trained") {
  for (int aggregation = 0; aggregation <= 6; ++aggregation) {
    for (const RatioLevel level : {RatioLevel::token, RatioLevel::segment, RatioLevel::sequence}) {
      INFO("aggregation ", aggregation, ", level ", int(level));
      SurrogateBatch b = surrogate_batch(everything(40));
      b.options.aggregation = Aggregation(aggregation);
      b.options.entropy_coefficient = 0.1f;
      b.terms().level = level;
      b.terms().beta = 0.1f;
      b.advantage[2] = 0.0f;
      check(b);
      mask_row(b, 6);
      b.options.count_empty_rows = true;
      check(b);
      b.mask.clear();
      check(b);
    }
  }
}

TEST_CASE("every estimator, bounded and multiplied by the ratio") {
  for (int kl = 0; kl <= 4; ++kl) {
    for (const bool ratio : {false, true}) {
      for (const RatioLevel level : {RatioLevel::token, RatioLevel::sequence_product,
                                     RatioLevel::sequence_token, RatioLevel::none}) {
        INFO("kl ", kl, ", ratio ", ratio, ", level ", int(level));
        BatchShape shape{kLengths};
        shape.reference = true;
        SurrogateBatch b = surrogate_batch(shape, 0.3);
        b.terms().level = level;
        b.terms().kl = KlEstimator(kl);
        b.terms().kl_ratio = ratio;
        b.terms().beta = 0.7f;
        check(b);
        b.terms().kl_difference_limit = 1.0f;
        check(b);
        b.terms().kl_value_limit = 0.2f;
        check(b);
      }
    }
  }
}

TEST_CASE("every correction for the sampler, alone and inside vespo") {
  for (int mismatch = 1; mismatch <= 5; ++mismatch) {
    for (const double spread : {0.05, 0.5, 1.0}) {
      INFO("mismatch ", mismatch, ", spread ", spread);
      BatchShape shape{kLengths};
      shape.sampler = true;
      SurrogateBatch b = surrogate_batch(shape, spread);
      b.terms().mismatch = Mismatch(mismatch);
      check(b);
      set_form(b, SurrogateForm::vespo, RatioLevel::sequence_product, AdvantageUnit::row);
      check(b);
      b.terms().mismatch_low = 0.0f;
      b.terms().mismatch_high = kInfinity;
      check(b);
    }
  }
}

TEST_CASE("two-sided and dual clipping, alone and together") {
  for (const RatioLevel level : {RatioLevel::token, RatioLevel::sequence}) {
    for (const float delta : {kInfinity, 1.5f, 1.1f}) {
      for (const float dual_clip : {kInfinity, 3.0f, 1.7f, 1.2f}) {
        INFO("level ", int(level), ", delta ", delta, ", dual_clip ", dual_clip);
        BatchShape shape{kLengths};
        shape.weighted = true;
        SurrogateBatch b = surrogate_batch(shape);
        b.terms().level = level;
        b.terms().delta = delta;
        b.terms().dual_clip = dual_clip;
        check(b);
      }
    }
  }
}

TEST_CASE("normalised ratios: gradient of the log-prob and of the bias") {
  for (const SurrogateForm form :
       {SurrogateForm::clip, SurrogateForm::unclipped, SurrogateForm::sapo}) {
    SurrogateBatch b = surrogate_batch(everything(50));
    b.terms().form = form;
    b.ratio_scale = random_array(int64_t(b.tokens()), 51, 0.2f, 3.0f);
    b.ratio_bias = random_array(int64_t(b.tokens()), 52, -0.2f, 0.2f);
    check(b);
    b.terms().beta = 0.2f;
    b.terms().kl_ratio = true;
    b.terms().log_ratio_low = -0.5f;
    b.terms().log_ratio_high = 0.5f;
    check(b);
  }
}

TEST_CASE("a normalised ratio loses nothing to a large scale") {
  std::mt19937 random(3);
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  double worst = 0.0;
  for (int i = 0; i < 2000; ++i) {
    SurrogateBatch b;
    b.rows = {0, 1};
    b.log_prob = {-30.0f + uniform(random)};
    b.old_log_prob = {b.log_prob[0] + 0.3f * uniform(random)};
    b.ratio_bias = {0.3f * uniform(random)};
    b.ratio_scale = {40.0f + 10.0f * uniform(random)};
    b.advantage = {1.0f};
    b.terms().form = SurrogateForm::unclipped;
    const double x = double(b.ratio_scale[0]) *
                     (double(b.log_prob[0]) - double(b.old_log_prob[0]) + double(b.ratio_bias[0]));
    worst = std::max(worst, std::fabs(run(b).loss / -std::exp(x) - 1.0));
  }
  CHECK(worst <= 3e-7);
}

TEST_CASE("micro-batches with a common denominator add up to the batch, to the bit per token") {
  for (const RatioLevel level : {RatioLevel::token, RatioLevel::sequence, RatioLevel::none}) {
    for (int aggregation = 0; aggregation <= 4; ++aggregation) {
      INFO("level ", int(level), ", aggregation ", aggregation);
      SurrogateBatch whole = surrogate_batch(everything(31));
      whole.terms().level = level;
      whole.terms().beta = 0.1f;
      whole.options.aggregation = Aggregation(aggregation);
      const SurrogateResult all = run(whole);
      const double count = all.metrics[aggregation == 0 ? kTrainedTokens : kActiveRows];
      double loss = 0.0;
      for (size_t r = 0; r < whole.row_count(); ++r) {
        const auto cut = [&](const auto& x) {
          return x.empty() ? x
                           : std::decay_t<decltype(x)>(x.begin() + whole.rows[r],
                                                       x.begin() + whole.rows[r + 1]);
        };
        SurrogateBatch part = whole;
        part.options.denominator = aggregation == 4 ? 1.0 : count;
        part.rows = {0, whole.rows[r + 1] - whole.rows[r]};
        for (auto array : {&SurrogateBatch::log_prob, &SurrogateBatch::old_log_prob,
                           &SurrogateBatch::ref_log_prob, &SurrogateBatch::sampler_log_prob,
                           &SurrogateBatch::weight, &SurrogateBatch::entropy}) {
          part.*array = cut(whole.*array);
        }
        part.mask = cut(whole.mask);
        part.advantage = {whole.advantage[r]};
        part.shaped = {whole.shaped[r]};
        part.segments.clear();
        part.groups.clear();
        const SurrogateResult one = run(part);
        loss += one.loss;
        CHECK(one.d_log_prob == cut(all.d_log_prob));
      }
      CHECK(loss == doctest::Approx(all.loss).epsilon(1e-14));
    }
  }
}

TEST_CASE("the thread count changes no bit") {
  for (const RatioLevel level : {RatioLevel::token, RatioLevel::sequence, RatioLevel::segment}) {
    BatchShape shape = everything(1);
    shape.lengths.clear();
    for (int r = 0; r < 3000; ++r) shape.lengths.push_back(r % 41);
    SurrogateBatch b = surrogate_batch(shape);
    b.terms().level = level;
    const SurrogateResult one = run(b, 1), two = run(b, 2), three = run(b, 3);
    CHECK(one.loss == two.loss);
    CHECK(one.loss == three.loss);
    CHECK(one.metrics == two.metrics);
    CHECK(one.metrics == three.metrics);
    CHECK(one.d_log_prob == two.d_log_prob);
    CHECK(one.d_log_prob == three.d_log_prob);
  }
}

TEST_CASE("a token of a plain call has the bits of the same token in a call with everything") {
  BatchShape shape{{70, 3, 19}};
  for (const SurrogateForm form :
       {SurrogateForm::clip, SurrogateForm::unclipped, SurrogateForm::cispo, SurrogateForm::sapo,
        SurrogateForm::dppo_tv}) {
    SurrogateBatch plain = surrogate_batch(shape);
    set_form(plain, form, RatioLevel::token, AdvantageUnit::row);
    SurrogateBatch full = plain;
    full.sampler_log_prob = full.old_log_prob;
    full.terms().log_ratio_low = -50.0f;
    CHECK(run(plain).d_log_prob == run(full).d_log_prob);
  }
}

}  // namespace
}  // namespace firesteel
