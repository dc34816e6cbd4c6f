// group_norm on the CPU against the formula in float64, rounded once.
#include "kernels/group_norm/group_norm.h"

#include <algorithm>
#include <numeric>

#include "arrays.h"

namespace firesteel {
namespace {

struct Batch {
  std::vector<int32_t> offsets;
  Array values;
  std::vector<uint8_t> valid;
  std::vector<int32_t> index;
  Center center = Center::mean;
  Scale scale = Scale::std;
  Scope scope = Scope::group;
  int32_t ddof = 1;
  float eps = 1e-4f;
};

struct Result {
  Array advantage, center, scale;
  FaultWord faults;
  bool operator==(const Result& o) const {
    return advantage == o.advantage && center == o.center && scale == o.scale;
  }
};

Result run(const Batch& b, int threads = 2) {
  const int64_t rows = static_cast<int64_t>(b.values.size());
  const int64_t groups = static_cast<int64_t>(b.offsets.size()) - 1;
  Result out{Array(size_t(rows), 7.0f), Array(size_t(groups), 7.0f), Array(size_t(groups), 7.0f),
             FaultWord{{0, 0, 0}, {~0u, ~0u, ~0u}}};
  std::vector<double> workspace(size_t(group_norm_workspace(rows, groups) / 8));
  const GroupNormArgs a{b.values.data(),
                        b.valid.empty() ? nullptr : b.valid.data(),
                        b.offsets.data(),
                        b.index.empty() ? nullptr : b.index.data(),
                        rows,
                        groups,
                        b.center,
                        b.scale,
                        b.scope,
                        b.ddof,
                        b.eps,
                        out.advantage.data(),
                        out.center.data(),
                        out.scale.data(),
                        workspace.data(),
                        &out.faults};
  Threads cpu(threads);
  REQUIRE(group_norm(cpu, a).ok());
  return out;
}

using Values = std::vector<double>;
double lower_median(Values x) {
  std::sort(x.begin(), x.end());
  return x[(x.size() - 1) / 2];
}
double mean(const Values& x) {
  return std::accumulate(x.begin(), x.end(), 0.0) / double(x.size());
}
double spread(const Values& x, const Batch& b) {
  if (b.scale == Scale::none) return 1.0;
  Values away;
  const double middle = b.scale == Scale::std ? mean(x) : lower_median(x);
  for (const double v : x) away.push_back(std::fabs(v - middle));
  if (b.scale == Scale::median_deviation) return lower_median(away);
  double sum = 0.0;
  for (const double v : away) sum += v * v;
  return std::sqrt(sum / double(int(x.size()) - b.ddof));
}

void check(const Batch& b) {
  const Result got = run(b);
  Values all;
  for (size_t r = 0; r < b.values.size(); ++r) {
    if (b.valid.empty() || b.valid[r]) all.push_back(double(b.values[r]));
  }
  for (size_t g = 0; g + 1 < b.offsets.size(); ++g) {
    Values group;
    std::vector<size_t> rows;
    for (int32_t i = b.offsets[g]; i < b.offsets[g + 1]; ++i) {
      const size_t row = size_t(b.index.empty() ? i : b.index[size_t(i)]);
      if (b.valid.empty() || b.valid[row]) {
        group.push_back(double(b.values[row]));
        rows.push_back(row);
      } else {
        CHECK(got.advantage[row] == 0.0f);
      }
    }
    if (group.size() < 2) {
      for (const size_t row : rows) CHECK(got.advantage[row] == 0.0f);
      CHECK(got.scale[g] == 0.0f);
      CHECK(got.center[g] == (group.empty() || b.center == Center::none ? 0.0f : float(group[0])));
      continue;
    }
    const double center = b.center == Center::none     ? 0.0
                          : b.center == Center::median ? lower_median(group)
                                                       : mean(group);
    const double scale = spread(b.scope == Scope::batch ? all : group, b);
    const double eps = b.scale == Scale::none ? 0.0 : double(b.eps);
    CHECK(got.center[g] == float(center));
    CHECK(got.scale[g] == float(scale));
    for (size_t i = 0; i < rows.size(); ++i) {
      CHECK(got.advantage[rows[i]] == float((group[i] - center) / (scale + eps)));
    }
  }
}

// Groups of 0 to 40 rows around 1000 +- 0.5, where a sum of squares in floats would lose every bit.
Batch random_batch(uint32_t seed) {
  Batch b;
  b.offsets = {0};
  for (const int size : {8, 0, 1, 2, 3, 40, 7, 16}) b.offsets.push_back(b.offsets.back() + size);
  b.values = random_array(b.offsets.back(), seed, 999.5f, 1000.5f);
  std::mt19937 random(seed);
  b.valid.resize(b.values.size());
  for (size_t r = 0; r < b.valid.size(); ++r) {
    b.valid[r] = random() % 5 != 0;
    if (!b.valid[r]) b.values[r] = kNaN;  // a missing reward must not be looked at
  }
  b.index.resize(b.values.size());
  std::iota(b.index.begin(), b.index.end(), 0);
  std::shuffle(b.index.begin(), b.index.end(), random);
  return b;
}

TEST_CASE("every centre, scale and scope is the float64 formula rounded once") {
  for (int seed = 0; seed < 4; ++seed) {
    for (const Center center : {Center::none, Center::mean, Center::median}) {
      for (const Scale scale : {Scale::none, Scale::std, Scale::median_deviation}) {
        for (const Scope scope : {Scope::group, Scope::batch}) {
          for (const int ddof : {0, 1}) {
            Batch b = random_batch(uint32_t(seed));
            b.center = center;
            b.scale = scale;
            b.scope = scope;
            b.ddof = ddof;
            if (seed == 1) b.index.clear();
            if (seed == 2) {
              b.valid.clear();
              b.values = random_array(b.offsets.back(), 9);
            }
            check(b);
          }
        }
      }
    }
  }
}

TEST_CASE("a constant group is exactly 0 in every combination, whatever its neighbours are") {
  for (const Center center : {Center::none, Center::mean, Center::median}) {
    for (const Scale scale : {Scale::none, Scale::std, Scale::median_deviation}) {
      for (const Scope scope : {Scope::group, Scope::batch}) {
        Batch b;
        b.offsets = {0, 3, 6, 7};
        b.values = {0.1f, 0.1f, 0.1f, 1.0f, 2.0f, 4.0f, 5.0f};
        b.center = center;
        b.scale = scale;
        b.scope = scope;
        b.eps = 0.0f;
        const Result out = run(b);
        for (const size_t row : {0, 1, 2, 6}) CHECK(out.advantage[row] == 0.0f);
        CHECK(out.scale[0] == 0.0f);
        CHECK(out.center[0] == (center == Center::none ? 0.0f : 0.1f));
        CHECK(out.advantage[5] != 0.0f);
      }
    }
  }
}

TEST_CASE("a median deviation of 0 with unequal values divides by eps; by nothing, it is 0") {
  Batch b;
  b.offsets = {0, 5};
  b.values = {1.0f, 1.0f, 1.0f, 1.0f, 3.0f};
  b.center = Center::median;
  b.scale = Scale::median_deviation;
  b.eps = 0.5f;
  CHECK(run(b).advantage == Array{0.0f, 0.0f, 0.0f, 0.0f, 4.0f});
  b.eps = 0.0f;
  CHECK(run(b).advantage == Array{0.0f, 0.0f, 0.0f, 0.0f, 0.0f});
}

TEST_CASE("a reward that is not finite makes its own group NaN, is reported, and goes no further") {
  constexpr int kKind = int(Fault::not_a_number);
  for (const float bad : {kNaN, HUGE_VALF, -HUGE_VALF}) {
    for (const Center center : {Center::mean, Center::median}) {
      Batch b;
      b.offsets = {0, 3, 6};
      b.values = {1.0f, bad, 3.0f, 1.0f, 2.0f, 4.0f};
      b.center = center;
      const Result out = run(b);
      for (const size_t row : {0, 1, 2}) CHECK(std::isnan(out.advantage[row]));
      CHECK(std::isnan(out.center[0]));
      CHECK(std::isnan(out.scale[0]));
      for (const size_t row : {3, 4, 5}) CHECK(std::isfinite(out.advantage[row]));
      CHECK(out.faults.count[kKind] == 1);
      CHECK(out.faults.first_row[kKind] == 1);
      // The batch's scale is that of the finite ones.
      b.scope = Scope::batch;
      const float with = run(b).advantage[5];
      b.valid = {1, 0, 1, 1, 1, 1};
      CHECK(with == run(b).advantage[5]);
      CHECK(run(b).faults.count[kKind] == 0);
    }
  }
}

TEST_CASE("no rows, no groups, and any number of threads") {
  Batch none;
  none.offsets = {0};
  CHECK(run(none).advantage.empty());
  none.offsets = {0, 0, 0};
  CHECK(run(none).scale == Array{0.0f, 0.0f});
  none.scope = Scope::batch;
  CHECK(run(none).scale == Array{0.0f, 0.0f});

  Batch large;
  large.offsets = {0};
  for (int g = 0; g < 4000; ++g) large.offsets.push_back(large.offsets.back() + 8);
  large.values = random_array(large.offsets.back(), 3);
  const Result one = run(large, 1);
  CHECK(one == run(large, 2));
  CHECK(one == run(large, 3));
}

}  // namespace
}  // namespace firesteel
