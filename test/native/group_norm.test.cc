// group_norm on the CPU: the edges of its plan, which the published checks are too small to reach.
#include "arrays.h"
#include "group_norm_batch.h"

namespace firesteel {
namespace {

GroupNormResult run(const GroupNormBatch& b, int threads = 2) {
  GroupNormResult out;
  Threads cpu(threads);
  REQUIRE(run_group_norm(cpu, b, &out).ok());
  return out;
}

// A float may round the other way where sums were in another order, no more.
void check(const GroupNormBatch& b) {
  const GroupNormResult got = run(b), want = plain::group_norm(b);
  CHECK(distance(got.advantage, want.advantage, 1e-30, 0x1p-23) <= 1.0);
  CHECK(distance(got.center, want.center, 1e-30, 0x1p-23) <= 1.0);
  CHECK(distance(got.scale, want.scale, 1e-30, 0x1p-23) <= 1.0);
}

// Around 1000 +- 0.5, where a sum of squares in floats would lose every bit; every fifth is
// missing.
GroupNormBatch batch_of(std::vector<int> sizes, int64_t columns = 1, uint32_t seed = 1) {
  GroupNormBatch b;
  b.sizes = std::move(sizes);
  b.columns = columns;
  const int64_t rows = b.offsets().back();
  b.values = random_array(rows * columns, seed, 999.5f, 1000.5f);
  for (size_t i = 0; i < b.values.size(); ++i) {
    b.valid.push_back(i % 5 != 2);
    if (i % 5 == 2) b.values[i] = kNaN;
  }
  for (int64_t i = 0; i < rows; ++i) b.index.push_back(static_cast<int32_t>(i));
  std::shuffle(b.index.begin(), b.index.end(), std::mt19937(seed));
  return b;
}

TEST_CASE("every combination for groups around the size of a chunk") {
  for_every_combination([](Center center, Scale scale, Scope scope) {
    // The plain formula goes through the others of every value.
    GroupNormBatch b = center == Center::leave_one_out ? batch_of({3, 0, 700, 1, 2})
                                                       : batch_of({3, 0, 8191, 8192, 1, 8193, 2});
    b.rule.center = center;
    b.rule.scale = scale;
    b.rule.scope = scope;
    check(b);
  });
}

TEST_CASE("columns of unequal holes") {
  for_every_combination([](Center center, Scale scale, Scope scope) {
    GroupNormBatch b = batch_of({40, 3, 0, 1, 7, 16}, 3, 4);
    b.ema = random_array(18, 5);
    b.rule.center = center;
    b.rule.scale = scale;
    b.rule.scope = scope;
    check(b);
  });
}

TEST_CASE("any number of threads, in groups smaller and larger than a chunk") {
  for (const Scope scope : {Scope::group, Scope::batch}) {
    for (const Scale scale : {Scale::std, Scale::median_deviation}) {
      std::vector<int> sizes(4000, 8);
      sizes.push_back(50000);
      sizes.push_back(30001);
      GroupNormBatch b = batch_of(sizes, 2, 3);
      b.rule.scope = scope;
      b.rule.scale = scale;
      const GroupNormResult one = run(b, 1);
      CHECK(one == run(b, 2));
      CHECK(one == run(b, 3));
    }
  }
}

// 0 .. n - 1 in any order: mean and median (n - 1) / 2, variance (n^2 - 1) / 12, median deviation
// n / 4.
TEST_CASE("a million values in one group") {
  constexpr int kRows = 1000001;
  GroupNormBatch b;
  b.sizes = {kRows};
  for (int i = 0; i < kRows; ++i) b.values.push_back(static_cast<float>(i));
  std::shuffle(b.values.begin(), b.values.end(), std::mt19937(1));
  const auto expect = [&](Center center, Scale scale, double want) {
    b.rule.center = center;
    b.rule.scale = scale;
    b.rule.ddof = 0;
    const GroupNormResult out = run(b);
    CHECK(out.center[0] == 500000.0f);
    CHECK(out.scale[0] == static_cast<float>(want));
  };
  expect(Center::mean, Scale::std, std::sqrt((double(kRows) * kRows - 1.0) / 12.0));
  expect(Center::median, Scale::median_deviation, 250000.0);
  expect(Center::leave_one_out, Scale::leave_one_out_std,
         std::sqrt((double(kRows) * kRows - 1.0) / 12.0));
  // Sorted, and two values only: selection must not become quadratic.
  std::sort(b.values.begin(), b.values.end());
  expect(Center::median, Scale::median_deviation, 250000.0);
  for (int i = 0; i < kRows; ++i) b.values[size_t(i)] = i % 2 == 0 ? 500000.0f : 500001.0f;
  expect(Center::median, Scale::median_deviation, 0.0);
}

TEST_CASE("the others of an outlier, in a group of several chunks") {
  GroupNormBatch b;
  b.sizes = {20001};
  b.values = random_array(20001, 6);
  b.values[12345] = 1e9f;
  b.rule.center = Center::leave_one_out;
  b.rule.scale = Scale::leave_one_out_std;
  const plain::Values others =
      plain::others(plain::Values(b.values.begin(), b.values.end()), 12345);
  const double want = (1e9 - plain::mean(others)) / (plain::std_of(others, 1) + b.rule.eps);
  CHECK(distance(Array{run(b).advantage[12345]}, Array{static_cast<float>(want)}, 0.0, 0x1p-23) <=
        1.0);
}

TEST_CASE("a constant group is exactly 0 in every combination, whatever its neighbours are") {
  for_every_combination([](Center center, Scale scale, Scope scope) {
    GroupNormBatch b;
    b.sizes = {3, 3, 1, 9000};
    b.values = {0.1f, 0.1f, 0.1f, 1.0f, 2.0f, 4.0f, 5.0f};
    b.values.resize(7 + 9000, 0.1f);
    b.rule.center = center;
    b.rule.scale = scale;
    b.rule.scope = scope;
    b.rule.eps = 0.0;
    const GroupNormResult out = run(b);
    for (size_t row = 0; row < b.values.size(); ++row) {
      if (row < 3 || row > 5) CHECK(out.advantage[row] == 0.0f);
    }
    CHECK(out.scale[0] == 0.0f);
    if (center != Center::none && center != Center::ema) CHECK(out.center[3] == 0.1f);
  });
}

TEST_CASE("a reward that is not finite makes its own group NaN, is reported, and goes no further") {
  constexpr int kKind = int(Fault::not_a_number);
  for (const float bad : {kNaN, kInfinity, -kInfinity}) {
    for_every_combination([bad](Center center, Scale scale, Scope scope) {
      GroupNormBatch b;
      b.sizes = {3, 3, 1};
      b.values = {1.0f, bad, 3.0f, 1.0f, 2.0f, 4.0f, bad};
      b.rule.center = center;
      b.rule.scale = scale;
      b.rule.scope = scope;
      const GroupNormResult out = run(b);
      for (const size_t row : {0, 1, 2, 6}) CHECK(std::isnan(out.advantage[row]));
      for (const size_t group : {0, 2}) CHECK(std::isnan(out.center[group] + out.scale[group]));
      CHECK(out.faults.count[kKind] == 2);
      CHECK(out.faults.first_row[kKind] == 1);
      // The batch's scale is that of the finite ones.
      b.valid = {1, 0, 1, 1, 1, 1, 0};
      const GroupNormResult without = run(b);
      for (const size_t row : {3, 4, 5}) CHECK(out.advantage[row] == without.advantage[row]);
      CHECK(without.faults.count[kKind] == 0);
    });
  }
}

TEST_CASE("where the rows of a group stand changes no bit") {
  for_every_combination([](Center center, Scale scale, Scope scope) {
    GroupNormBatch b = batch_of({64, 3, 0, 17, 9000, 1, 16});
    b.rule.center = center;
    b.rule.scale = scale;
    b.rule.scope = scope;
    GroupNormBatch in_order = b;
    in_order.index.clear();
    for (size_t i = 0; i < b.index.size(); ++i) {
      const size_t row = static_cast<size_t>(b.index[i]);
      in_order.values[i] = b.values[row];
      in_order.valid[i] = b.valid[row];
    }
    const GroupNormResult scattered = run(b), dense = run(in_order);
    CHECK(scattered.center == dense.center);
    CHECK(scattered.scale == dense.scale);
    bool same = true;
    for (size_t i = 0; i < b.index.size(); ++i) {
      same &= scattered.advantage[static_cast<size_t>(b.index[i])] == dense.advantage[i];
    }
    CHECK(same);
  });
}

TEST_CASE("no rows, no columns, no groups") {
  GroupNormBatch none;
  CHECK(run(none).advantage.empty());
  none.sizes = {0, 0};
  for (const Scope scope : {Scope::group, Scope::batch}) {
    none.rule.scope = scope;
    none.rule.scale = Scale::median_deviation;
    CHECK(run(none).scale == Array{0.0f, 0.0f});
  }
}

}  // namespace
}  // namespace firesteel
