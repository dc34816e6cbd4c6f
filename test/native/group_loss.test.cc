// row_score and group_loss on the CPU: memory around the arrays, large groups, threads. Values and
// gradients of every kind are held to float64 by src/verify.
#include "kernels/group_loss/group_loss.h"

#include <numeric>

#include "arrays.h"
#include "kernels/group_loss/row_score.h"

namespace firesteel {
namespace {

using Doubles = std::vector<double>;

FaultWord no_faults() {
  return FaultWord{{0, 0, 0}, {~0u, ~0u, ~0u}};
}

// Bytes with a page behind them that may not be touched.
class Bytes {
 public:
  explicit Bytes(const std::vector<uint8_t>& values)
      : room_(1, int64_t(values.size() + 3) / 4, int64_t(values.size() + 3) / 4),
        first_(reinterpret_cast<uint8_t*>(room_.data() + room_.width) - values.size()) {
    std::copy(values.begin(), values.end(), first_);
  }
  const uint8_t* data() const { return first_; }

 private:
  Padded room_;
  uint8_t* first_;
};

struct Scores {
  Doubles score, token_weight;
  std::vector<int32_t> trained;
  Array gradient;
};

// The rows at the end of their memory; the gradient is for d_score = 1.
Scores run(const std::vector<int32_t>& offsets, const Array& log_prob, const Array& base,
           const std::vector<uint8_t>& mask, RowTerm term, Pooling pooling, int threads = 2) {
  const int64_t rows = int64_t(offsets.size()) - 1, tokens = offsets.back();
  Padded own(1, tokens, tokens, log_prob), other(1, tokens, tokens, base), out(1, tokens, tokens);
  const Bytes trained(mask);
  Scores s{Doubles(size_t(rows)), Doubles(size_t(rows)), std::vector<int32_t>(size_t(rows)), {}};
  FaultWord faults = no_faults();
  RowScoreArgs a{};
  a.tokens = tokens;
  a.rows = rows;
  a.term = term;
  a.pooling = pooling;
  a.row_offsets = offsets.data();
  a.log_prob = own.data();
  a.base_log_prob = base.empty() ? nullptr : other.data();
  a.mask = mask.empty() ? nullptr : trained.data();
  a.score = s.score.data();
  a.token_weight = s.token_weight.data();
  a.trained_tokens = s.trained.data();
  a.faults = &faults;
  Threads cpu(threads);
  REQUIRE(row_score(cpu, a).ok());

  const Doubles above(size_t(rows), 1.0);
  RowScoreBackwardArgs b{};
  b.tokens = tokens;
  b.rows = rows;
  b.row_offsets = offsets.data();
  b.log_prob = term == RowTerm::k3 ? own.data() : nullptr;
  b.base_log_prob = term == RowTerm::k3 ? other.data() : nullptr;
  b.mask = a.mask;
  b.token_weight = a.token_weight;
  b.d_score = above.data();
  b.d_log_prob = out.data();
  b.faults = &faults;
  REQUIRE(row_score_backward(cpu, b).ok());
  CHECK(out.intact());
  CHECK(faults.count[int(Fault::not_a_number)] == 0);
  s.gradient = out.values();
  return s;
}

TEST_CASE("a row of any length reads and writes its own tokens alone") {
  for (int n = 0; n <= 40; ++n) {
    CAPTURE(n);
    const Array log_prob = random_array(n, uint32_t(n) + 1), base = random_array(n, 99);
    std::vector<uint8_t> mask(static_cast<size_t>(n));
    for (size_t t = 0; t < mask.size(); ++t) mask[t] = t % 3 != 1;
    for (const bool masked : {false, true}) {
      for (const RowTerm term : {RowTerm::log_ratio, RowTerm::k1, RowTerm::k3}) {
        double sum = 0.0;
        int32_t trained = 0;
        Doubles slope;
        for (size_t t = 0; t < log_prob.size(); ++t) {
          const double x = double{log_prob[t]} - double{base[t]};
          const bool counts = !masked || mask[t] != 0;
          const double k3 = std::exp(x) - 1.0 - x;
          sum += !counts ? 0.0 : term == RowTerm::k3 ? k3 : term == RowTerm::k1 ? -x : x;
          const double own = term == RowTerm::k3 ? std::exp(x) - 1.0 : term == RowTerm::k1 ? -1 : 1;
          slope.push_back(counts ? own : 0.0);
          trained += counts;
        }
        const Scores got =
            run({0, n}, log_prob, base, masked ? mask : std::vector<uint8_t>(), term, Pooling::sum);
        CHECK(std::fabs(got.score[0] - sum) <= 1e-13);
        CHECK(got.trained[0] == trained);
        CHECK(distance(got.gradient, slope, 1e-9, 0x1p-24) <= 1.0);
      }
    }
  }
}

TEST_CASE("a row's score has the same bits wherever it lies and on any number of threads") {
  const std::vector<int32_t> offsets = {0, 3, 3, 20, 21, 80, 87, 30000};
  const Array log_prob = random_array(offsets.back(), 1), base = random_array(offsets.back(), 2);
  const std::vector<uint8_t> all;
  const auto ask = [&](int threads) {
    return run(offsets, log_prob, base, all, RowTerm::log_ratio, Pooling::mean, threads);
  };
  const Scores one = ask(1);
  CHECK(one.score == ask(2).score);
  CHECK(one.score == ask(3).score);
  for (size_t r = 0; r + 1 < offsets.size(); ++r) {
    const auto own = [&](const Array& x) {
      return Array(x.begin() + offsets[r], x.begin() + offsets[r + 1]);
    };
    const int32_t length = offsets[r + 1] - offsets[r];
    CHECK(run({0, length}, own(log_prob), own(base), all, RowTerm::log_ratio, Pooling::mean)
              .score[0] == one.score[r]);
  }
}

struct Losses {
  double loss = 0.0;
  Doubles d_score, group_loss, metrics;
  FaultWord faults = no_faults();
};

// REAL with temperature 1.
Losses run(const std::vector<int32_t>& offsets, const Doubles& score, const Array& reward,
           int threads = 2) {
  constexpr double kWatch = 12345.0;
  const int64_t rows = offsets.back(), groups = int64_t(offsets.size()) - 1;
  Losses out;
  out.d_score.assign(size_t(rows) + 1, kWatch);
  out.group_loss.assign(size_t(groups) + 1, kWatch);
  out.metrics.assign(kGroupLossMetricCount + 1, kWatch);
  Doubles workspace(size_t(group_loss_workspace(groups) / 8) + 1, kWatch);
  GroupLossArgs a{};
  a.rows = rows;
  a.groups = groups;
  a.kind = GroupLossKind::real;
  a.group_offsets = offsets.data();
  a.score = score.data();
  a.score_type = DType::f64;
  a.reward = reward.data();
  a.reward_type = DType::f32;
  a.tau = 1.0;
  a.loss = &out.loss;
  a.d_score = out.d_score.data();
  a.group_loss = out.group_loss.data();
  a.metrics = out.metrics.data();
  a.workspace = workspace.data();
  a.faults = &out.faults;
  Threads cpu(threads);
  REQUIRE(group_loss(cpu, a).ok());
  for (Doubles* x : {&out.d_score, &out.group_loss, &out.metrics, &workspace}) {
    CHECK(x->back() == kWatch);
  }
  return out;
}

TEST_CASE("a group of a million rows") {
  constexpr int kRows = 1000000;
  Array reward(kRows);
  for (int i = 0; i < kRows; ++i) reward[size_t(i)] = i % 4 == 0 ? 1.0f : 0.0f;
  const Losses got = run({0, kRows}, Doubles(kRows), reward);
  CHECK(std::fabs(got.loss - std::log(250001.0) - std::log(750001.0)) <= 1e-9);
  CHECK(std::fabs(got.d_score[0] + 1.0 / 250001.0) <= 1e-18);
  CHECK(std::fabs(got.d_score[1] - 1.0 / 750001.0) <= 1e-18);
}

TEST_CASE("groups of all sizes give the same bits on any number of threads") {
  std::vector<int32_t> offsets{0};
  for (int g = 0; g < 3000; ++g) offsets.push_back(offsets.back() + g % 13);
  const Array values = random_array(offsets.back(), 4);
  const Doubles score(values.begin(), values.end());
  Array reward;
  for (const float x : random_array(offsets.back(), 5)) reward.push_back(x > 0.0f ? 1.0f : 0.0f);
  const Losses one = run(offsets, score, reward, 1);
  for (const int threads : {2, 3}) {
    const Losses got = run(offsets, score, reward, threads);
    CHECK(got.loss == one.loss);
    CHECK(got.d_score == one.d_score);
    CHECK(got.metrics == one.metrics);
  }
}

TEST_CASE("no rows and no groups") {
  CHECK(run({0}, {}, {}).loss == 0.0);
  CHECK(run({0, 0, 0}, {}, {}).metrics[kGroupsSkipped] == 2.0);
  CHECK(run({0}, {}, {}, {}, RowTerm::log_ratio, Pooling::mean).score.empty());
}

TEST_CASE("every wrong row is counted, and the first one named") {
  const double nan = std::nan("");
  const Losses got = run({0, 3, 6}, {0, 0, 0, nan, 0, nan}, {1, 0, 0, 1, 0, 0});
  CHECK(got.faults.count[int(Fault::not_a_number)] == 2);
  CHECK(got.faults.first_row[int(Fault::not_a_number)] == 3);
  CHECK(got.metrics[kGroupsFaulty] == 1.0);
}

}  // namespace
}  // namespace firesteel
