// surrogate on the emulated card against the formulas in float64: every combination, rows of many
// tiles, more tiles than warps, faults, and the independence of the batch.
#include "cuda_arrays.h"
#include "surrogate_oracle.h"

namespace firesteel {
namespace {

constexpr int kTileTokens = 256;

BatchShape everything(std::vector<int> lengths, uint32_t seed = 1) {
  BatchShape shape{std::move(lengths)};
  shape.seed = seed;
  shape.weighted = shape.reference = shape.sampler = shape.entropies = shape.shaped = true;
  return shape;
}

TEST_CASE("every legal combination with everything that goes with it") {
  uint32_t turn = 0;
  for_legal([&](SurrogateForm form, RatioLevel level, AdvantageUnit unit) {
    Context context;
    SurrogateBatch b = surrogate_batch(everything({5, 0, 34, 1, 9}, ++turn));
    const Array old_log_prob = b.old_log_prob;
    set_form(b, form, level, unit);
    b.old_log_prob = old_log_prob;
    SurrogateTerms& s = b.terms();
    s.beta = 0.3f;
    s.kl = KlEstimator(turn % 5);
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
    b.options.denominator = turn % 4 == 0 ? 17.0 : 0.0;
    check_surrogate(context, b);
  });
}

TEST_CASE("every order of threads gives the same") {
  std::vector<SurrogateResult> results;
  in_every_order([&](Context& context) {
    for (const RatioLevel level : {RatioLevel::token, RatioLevel::segment}) {
      SurrogateBatch b = surrogate_batch(everything({33, 0, 300, 1}));
      b.terms().level = level;
      b.terms().mismatch = Mismatch::geometric_mask;
      b.terms().mismatch_low = 0.0f;
      b.options.aggregation = Aggregation::balanced;
      results.push_back(run_surrogate(context, b));
    }
  });
  for (size_t i = 2; i < results.size(); ++i) {
    CHECK(same_bits(results[i].d_log_prob, results[i % 2].d_log_prob));
    CHECK(same_bits(results[i].metrics, results[i % 2].metrics));
    CHECK(results[i].loss == results[i % 2].loss);
  }
}

TEST_CASE("units longer than a tile, and offsets at its edges") {
  Context context;
  for (const RatioLevel level :
       {RatioLevel::token, RatioLevel::segment, RatioLevel::sequence, RatioLevel::sequence_token}) {
    for (const Aggregation aggregation :
         {Aggregation::seq_mean_token_mean, Aggregation::balanced}) {
      INFO("level ", int(level), ", aggregation ", int(aggregation));
      SurrogateBatch b = surrogate_batch(
          everything({kTileTokens, kTileTokens + 1, 0, 3, 2 * kTileTokens - 1, 1300}));
      b.terms().level = level;
      b.terms().mismatch = Mismatch::sequence_truncate;
      b.terms().beta = 0.1f;
      b.options.aggregation = aggregation;
      const SurrogateResult got = run_surrogate(context, b);
      SurrogateOracle oracle(b);
      check_values(b, oracle, got);
      check_gradients(b, oracle, got, 97);
    }
  }
}

TEST_CASE("more tiles than warps: a warp takes several") {
  Context context;
  std::vector<int> lengths;
  for (int r = 0; r < 4500; ++r) lengths.push_back(r % 7 == 3 ? 0 : 1 + r % 3);
  for (const RatioLevel level : {RatioLevel::token, RatioLevel::segment}) {
    SurrogateBatch b = surrogate_batch(everything(lengths));
    b.terms().level = level;
    b.options.aggregation = Aggregation::seq_mean_token_mean;
    const SurrogateResult got = run_surrogate(context, b);
    SurrogateOracle oracle(b);
    check_values(b, oracle, got);
    check_gradients(b, oracle, got, 1201);
  }
}

TEST_CASE("what stands under a mask changes nothing") {
  Context context;
  for (const RatioLevel level : {RatioLevel::token, RatioLevel::sequence_product}) {
    SurrogateBatch b = surrogate_batch(everything({33, 5, 0, 12}));
    b.terms().level = level;
    b.terms().beta = 0.1f;
    b.terms().mismatch = Mismatch::sequence_mask;
    const SurrogateResult clean = run_surrogate(context, b);
    for (size_t t = 0; t < b.tokens(); ++t) {
      if (b.mask[t] != 0) continue;
      b.log_prob[t] = b.ref_log_prob[t] = b.entropy[t] = kNaN;
      b.old_log_prob[t] = b.sampler_log_prob[t] = -kInfinity;
      b.weight[t] = kInfinity;
      CHECK(clean.d_log_prob[t] == 0.0f);
    }
    const SurrogateResult got = run_surrogate(context, b);
    CHECK(same_bits(got.d_log_prob, clean.d_log_prob));
    CHECK(same_bits(got.metrics, clean.metrics));
    CHECK(got.loss == clean.loss);
    CHECK(got.fault_count() == 0);
  }
}

TEST_CASE("a trained NaN is a fault and contributes nothing") {
  Context context;
  SurrogateBatch b = surrogate_batch(everything({10, 10}));
  b.mask.clear();
  b.shaped.clear();
  b.terms().beta = 0.1f;
  for (Array* input : {&b.log_prob, &b.old_log_prob, &b.ref_log_prob, &b.sampler_log_prob,
                       &b.weight, &b.entropy}) {
    const float kept = (*input)[12];
    (*input)[12] = kNaN;
    const SurrogateResult got = run_surrogate(context, b);
    CHECK(got.fault_count() == 1);
    CHECK(got.fault_row() == 1);
    CHECK(got.d_log_prob[12] == 0.0f);
    for (const double metric : got.metrics) CHECK(std::isfinite(metric));
    (*input)[12] = kept;
  }
}

TEST_CASE("a fault takes its unit along, over all its tiles, and nothing else") {
  Context context;
  SurrogateBatch b = surrogate_batch(everything({40, 700, 20}));
  b.mask.clear();
  b.shaped.clear();
  b.terms().beta = 0.1f;
  b.options.aggregation = Aggregation::token_sum;
  for (const RatioLevel level :
       {RatioLevel::segment, RatioLevel::sequence, RatioLevel::sequence_token}) {
    INFO("level ", int(level));
    b.terms().level = level;
    const size_t lost_end = level == RatioLevel::segment ? 390 : 740;
    const SurrogateResult clean = run_surrogate(context, b);
    // What the ratio is made of, and what only the token's own gradient shows.
    for (Array* input : {&b.old_log_prob, &b.ref_log_prob}) {
      const float kept = (*input)[380];
      (*input)[380] = input == &b.old_log_prob ? kNaN : 200.0f;
      const SurrogateResult got = run_surrogate(context, b);
      CHECK(got.fault_count() == int(lost_end - 40));
      CHECK(got.fault_row() == 1);
      for (size_t t = 0; t < b.tokens(); ++t) {
        const bool lost = t >= 40 && t < lost_end;
        CHECK(got.d_log_prob[t] == (lost ? 0.0f : clean.d_log_prob[t]));
      }
      for (const double metric : got.metrics) CHECK(std::isfinite(metric));
      (*input)[380] = kept;
    }
  }
}

TEST_CASE("an infinite KL estimate is a metric while beta or the coefficient is 0") {
  Context context;
  BatchShape shape{{10, 10}};
  shape.masked = false;
  shape.reference = true;
  SurrogateBatch b = surrogate_batch(shape);
  b.ref_log_prob[2] = -kInfinity;
  b.terms().kl = KlEstimator::k1;
  for (const float beta : {0.0f, 0.1f}) {
    b.terms().beta = beta;
    b.advantage[0] = 0.0f;
    b.options.aggregation = beta == 0.0f ? Aggregation::token_mean : Aggregation::balanced;
    const SurrogateResult got = run_surrogate(context, b);
    CHECK(got.metrics[kKlSum] == kFar);
    CHECK(std::isfinite(got.metrics[kKlLoss]));
    CHECK(std::isfinite(got.loss));
    CHECK(got.fault_count() == 0);
  }
}

TEST_CASE("nothing trained gives 0") {
  Context context;
  for (const std::vector<int>& lengths :
       {std::vector<int>{}, std::vector<int>{0, 0}, std::vector<int>{4, 3}}) {
    SurrogateBatch b = surrogate_batch(everything(lengths));
    std::fill(b.mask.begin(), b.mask.end(), uint8_t{0});
    const bool nowhere = b.tokens() == 0;
    if (nowhere) {
      b.terms().form = SurrogateForm::reinforce;
      b.terms().level = RatioLevel::none;
    }
    for (int aggregation = 0; aggregation <= 6; ++aggregation) {
      b.options.aggregation = Aggregation(aggregation);
      const SurrogateResult got = run_surrogate(context, b);
      REQUIRE(got.refusal == "");
      CHECK(got.intact);
      CHECK(got.loss == 0.0);
      CHECK(same_bits(got.d_log_prob, Array(b.tokens(), 0.0f)));
      CHECK(got.metrics[kTrainedTokens] == 0.0);
      CHECK(got.metrics[kRatioMin] == kFar);
      CHECK(got.metrics[kRatioMax] == -kFar);
      CHECK(got.metrics[kClippedHighRowMax] == -kFar);
    }
  }
}

TEST_CASE("a row's gradient does not depend on the batch around it") {
  Context context;
  for (const RatioLevel level : {RatioLevel::token, RatioLevel::sequence}) {
    SurrogateBatch both = surrogate_batch(everything({700, 1300}));
    both.shaped.clear();
    both.terms().level = level;
    both.terms().beta = 0.1f;
    both.options.denominator = 5.0;
    SurrogateBatch alone = both;
    alone.rows = {0, 1300};
    alone.segments.clear();
    alone.groups.clear();
    alone.advantage = {both.advantage[1]};
    for (auto member :
         {&SurrogateBatch::log_prob, &SurrogateBatch::old_log_prob, &SurrogateBatch::ref_log_prob,
          &SurrogateBatch::sampler_log_prob, &SurrogateBatch::weight, &SurrogateBatch::entropy}) {
      (alone.*member).erase((alone.*member).begin(), (alone.*member).begin() + 700);
    }
    alone.mask.erase(alone.mask.begin(), alone.mask.begin() + 700);
    const Array whole = run_surrogate(context, both).d_log_prob;
    CHECK(same_bits(Array(whole.begin() + 700, whole.end()),
                    run_surrogate(context, alone).d_log_prob));
  }
}

TEST_CASE("what does not go together is refused before any launch") {
  Context context;
  SurrogateBatch b = surrogate_batch(everything({5, 5}));
  b.terms().form = SurrogateForm::gmpo;
  CHECK(run_surrogate(context, b).refusal != "");
}

}  // namespace
}  // namespace firesteel
