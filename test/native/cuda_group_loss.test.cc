// row_score and group_loss on the emulated card: the same bits in every order of the threads, at
// every alignment, alone and in a batch; one value by hand. Values and gradients of every kind are
// held to float64 by src/verify.
#include "cuda_arrays.h"
#include "kernels/group_loss/group_loss.h"
#include "kernels/group_loss/row_score.h"

namespace firesteel {
namespace {

struct Scores {
  Doubles score, token_weight;
  std::vector<int32_t> trained;
  Array gradient;
  Faults faults;

  bool operator==(const Scores& o) const {
    return same_bits(score, o.score) && same_bits(token_weight, o.token_weight) &&
           trained == o.trained && same_bits(gradient, o.gradient);
  }
};

// The tokens begin `shift` elements behind a 16-byte boundary.
Scores score(Context& context, const std::vector<int>& lengths, RowTerm term, const Array& log_prob,
             const Array& base, const std::vector<uint8_t>& mask, size_t shift = 0) {
  const std::vector<int32_t> offsets = offsets_of(lengths);
  const size_t rows = lengths.size(), tokens = log_prob.size();
  const auto shifted = [&](const auto& x) {
    auto moved = x;
    moved.insert(moved.begin(), shift, {});
    return moved;
  };
  const Array own = shifted(log_prob), other = shifted(base);
  const std::vector<uint8_t> trained = shifted(mask);
  Scores s{Doubles(rows), Doubles(rows), std::vector<int32_t>(rows), Array(tokens + shift, kNaN),
           Faults()};
  RowScoreArgs a{};
  a.tokens = static_cast<int64_t>(tokens);
  a.rows = static_cast<int64_t>(rows);
  a.term = term;
  a.pooling = Pooling::mean;
  a.row_offsets = offsets.data();
  a.log_prob = own.data() + shift;
  a.base_log_prob = other.data() + shift;
  a.mask = trained.data() + shift;
  a.score = s.score.data();
  a.token_weight = s.token_weight.data();
  a.trained_tokens = s.trained.data();
  a.faults = &s.faults;
  must(row_score(context, a));
  const Doubles above(rows, 3.0);
  RowScoreBackwardArgs b{};
  b.tokens = a.tokens;
  b.rows = a.rows;
  b.row_offsets = a.row_offsets;
  b.log_prob = term == RowTerm::k3 ? a.log_prob : nullptr;
  b.base_log_prob = term == RowTerm::k3 ? a.base_log_prob : nullptr;
  b.mask = a.mask;
  b.token_weight = a.token_weight;
  b.d_score = above.data();
  b.d_log_prob = s.gradient.data() + shift;
  b.faults = &s.faults;
  must(row_score_backward(context, b));
  s.gradient.erase(s.gradient.begin(), s.gradient.begin() + static_cast<int64_t>(shift));
  return s;
}

TEST_CASE("scores of rows of all lengths, whatever the order of threads and the alignment") {
  const std::vector<int> lengths = {0, 1, 4, 5, 127, 0, 512, 515, 1300, 3};
  const int tokens = offsets_of(lengths).back();
  const Array log_prob = random_array(tokens, 1), base = random_array(tokens, 2);
  std::vector<uint8_t> mask;
  for (int t = 0; t < tokens; ++t) mask.push_back(t % 5 != 3);
  for (RowTerm term : {RowTerm::log_ratio, RowTerm::k3}) {
    Context straight;
    const Scores want = score(straight, lengths, term, log_prob, base, mask);
    CHECK(want.faults.none());
    const std::vector<int32_t> offsets = offsets_of(lengths);
    for (size_t r = 0; r < lengths.size(); ++r) {
      double sum = 0.0, trained = 0.0;
      for (size_t t = size_t(offsets[r]); t < size_t(offsets[r + 1]); ++t) {
        const double x = double{log_prob[t]} - double{base[t]};
        if (mask[t] == 0) continue;
        sum += term == RowTerm::k3 ? std::expm1(x) - x : x;
        trained += 1.0;
      }
      CHECK(std::fabs(want.score[r] - (trained > 0.0 ? sum / trained : 0.0)) <= 1e-13);
      CHECK(want.trained[r] == int(trained));
    }
    in_every_order([&](Context& context) {
      CHECK(score(context, lengths, term, log_prob, base, mask) == want);
    });
    for (size_t shift : {1, 2, 3}) {
      CHECK(score(straight, lengths, term, log_prob, base, mask, shift) == want);
    }
  }
}

struct Batch {
  std::vector<int> sizes;
  Doubles score;
  Array reward, advantage;
  std::vector<int32_t> length;
  std::vector<uint8_t> valid;

  explicit Batch(std::vector<int> groups, uint32_t seed = 1) : sizes(std::move(groups)) {
    const int rows = offsets_of(sizes).back();
    score = widened(random_array(rows, seed, -2.0f, 2.0f));
    advantage = random_array(rows, seed + 1);
    for (int i = 0; i < rows; ++i) {
      reward.push_back(i * 7 % 5 < 2 ? 1.0f : 0.0f);
      length.push_back(1 + i * 13 % 50);
      valid.push_back(i % 11 != 10);
    }
  }
};

struct Losses {
  double loss = 0.0;
  Doubles d_score, group_loss, metrics;
  Faults faults;

  bool operator==(const Losses& o) const {
    return loss == o.loss && same_bits(d_score, o.d_score) && same_bits(group_loss, o.group_loss) &&
           same_bits(metrics, o.metrics);
  }
};

Losses run(Context& context, const Batch& b, GroupLossKind kind, double denominator = 0.0) {
  const std::vector<int32_t> offsets = offsets_of(b.sizes);
  Losses out;
  out.d_score.assign(b.score.size(), std::nan(""));
  out.group_loss.assign(b.sizes.size(), std::nan(""));
  out.metrics.assign(kGroupLossMetricCount, std::nan(""));
  GroupLossArgs a{};
  a.rows = static_cast<int64_t>(b.score.size());
  a.groups = static_cast<int64_t>(b.sizes.size());
  a.kind = kind;
  a.group_offsets = offsets.data();
  a.score = b.score.data();
  a.score_type = DType::f64;
  a.valid = b.valid.data();
  const bool pairs = kind == GroupLossKind::dpo || kind == GroupLossKind::ipo;
  if (kind == GroupLossKind::reg_grpo) {
    a.advantage = b.advantage.data();
  } else if (!pairs) {
    a.reward = b.reward.data();
  }
  a.reward_type = DType::f32;
  a.length = b.length.data();
  a.tau = 0.5;
  a.lambda = 0.3;
  a.max_length = 50.0;
  a.eps = 0.1;
  a.beta = 0.7;
  a.denominator = denominator;
  a.loss = &out.loss;
  a.d_score = out.d_score.data();
  a.group_loss = out.group_loss.data();
  a.metrics = out.metrics.data();
  a.faults = &out.faults;
  Doubles workspace(static_cast<size_t>(group_loss_workspace(a.groups) / 8));
  a.workspace = workspace.data();
  must(group_loss(context, a));
  return out;
}

TEST_CASE("every kind, groups of all sizes: the same bits in every order of the threads") {
  for (int kind = 0; kind <= int(GroupLossKind::ipo); ++kind) {
    CAPTURE(kind);
    const bool pairs = kind >= int(GroupLossKind::dpo);
    const Batch b(pairs ? std::vector<int>(9, 2) : std::vector<int>{0, 1, 2, 31, 8, 33, 300, 0});
    Context straight;
    const Losses want = run(straight, b, GroupLossKind(kind));
    CHECK(want.faults.none());
    CHECK(std::isfinite(want.loss));
    CHECK(want.metrics[kGroupsUsed] > 0.0);
    in_every_order([&](Context& context) { CHECK(run(context, b, GroupLossKind(kind)) == want); });
  }
}

TEST_CASE("a group's bits do not depend on the batch") {
  Context context;
  const Batch b({100, 211, 5});
  const Losses whole = run(context, b, GroupLossKind::real);
  Batch alone({211});
  alone.score.assign(b.score.begin() + 100, b.score.begin() + 311);
  alone.reward.assign(b.reward.begin() + 100, b.reward.begin() + 311);
  alone.valid.assign(b.valid.begin() + 100, b.valid.begin() + 311);
  const Losses got = run(context, alone, GroupLossKind::real, 3.0);
  CHECK(same_bits(got.d_score, Doubles(whole.d_score.begin() + 100, whole.d_score.begin() + 311)));
  CHECK(got.group_loss[0] == whole.group_loss[1]);
}

TEST_CASE("a NaN takes its group out, is counted once, and goes no further") {
  in_every_order([](Context& context) {
    Batch b({40, 40});
    const Losses clean = run(context, b, GroupLossKind::real);
    b.score[50] = std::nan("");
    const Losses got = run(context, b, GroupLossKind::real);
    CHECK(got.faults.count[int(Fault::not_a_number)] == 1);
    CHECK(got.faults.first_row[int(Fault::not_a_number)] == 50);
    for (size_t r = 0; r < 40; ++r) CHECK(got.d_score[r] == clean.d_score[r]);
    for (size_t r = 40; r < 80; ++r) CHECK(got.d_score[r] == 0.0);
    CHECK(got.loss == clean.group_loss[0] / 2.0);
  });
}

TEST_CASE("one against one on the policy, by hand; no groups at all") {
  Context context;
  Batch b({2});
  b.score = {0.0, 0.0};
  b.reward = {1.0f, 0.0f};
  const Losses got = run(context, b, GroupLossKind::real);
  CHECK(std::fabs(got.loss - 2.0 * std::log(2.0)) <= 1e-15);
  CHECK(got.d_score == Doubles{-1.0, 1.0});
  CHECK(run(context, Batch({}), GroupLossKind::real).loss == 0.0);
}

}  // namespace
}  // namespace firesteel
