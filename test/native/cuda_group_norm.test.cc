// group_norm on the emulated card against the formula in double, rounded once.
#include "cuda_arrays.h"
#include "kernels/group_norm/group_norm.h"

namespace firesteel {
namespace {

struct Batch {
  std::vector<int> sizes;  // of the groups
  Array values;
  std::vector<uint8_t> valid;  // or empty
  std::vector<int32_t> index;  // or empty
  Center center = Center::mean;
  Scale scale = Scale::std;
  Scope scope = Scope::group;
  int32_t ddof = 1;
  float eps = 1e-4f;
};

struct Result {
  Array advantage, center, scale;
  Faults faults = {};
};

Result run(Context& context, const Batch& b) {
  const std::vector<int32_t> offsets = offsets_of(b.sizes);
  Result out{Array(b.values.size(), kNaN), Array(b.sizes.size(), kNaN), Array(b.sizes.size(), kNaN),
             Faults()};
  GroupNormArgs a{};
  a.faults = &out.faults;
  a.values = b.values.data();
  a.valid = b.valid.empty() ? nullptr : b.valid.data();
  a.group_offsets = offsets.data();
  a.index = b.index.empty() ? nullptr : b.index.data();
  a.rows = static_cast<int64_t>(b.values.size());
  a.groups = static_cast<int64_t>(b.sizes.size());
  a.center = b.center;
  a.scale = b.scale;
  a.scope = b.scope;
  a.ddof = b.ddof;
  a.eps = b.eps;
  a.advantage = out.advantage.data();
  a.center_out = out.center.data();
  a.scale_out = out.scale.data();
  Doubles workspace(static_cast<size_t>(group_norm_workspace(a.rows, a.groups) / 8));
  a.workspace = workspace.data();
  must(group_norm(context, a));
  return out;
}

bool is_constant(const Doubles& x) {
  return std::all_of(x.begin(), x.end(), [&](double v) { return v == x[0]; });
}

double mean(const Doubles& x) {
  double sum = 0.0;
  for (double v : x) sum += v;
  return x.empty() ? 0.0 : sum / static_cast<double>(x.size());
}

double lower_median(Doubles x) {
  std::sort(x.begin(), x.end());
  return x.empty() ? 0.0 : x[(x.size() - 1) / 2];
}

double spread(const Doubles& x, const Batch& b) {
  if (is_constant(x)) return 0.0;
  if (b.scale == Scale::none) return 1.0;
  const double middle = b.scale == Scale::std ? mean(x) : lower_median(x);
  Doubles away;
  double squares = 0.0;
  for (double v : x) {
    away.push_back(std::fabs(v - middle));
    squares += (v - middle) * (v - middle);
  }
  if (b.scale == Scale::median_deviation) return lower_median(away);
  return std::sqrt(squares / static_cast<double>(static_cast<int>(x.size()) - b.ddof));
}

Result plain(const Batch& b) {
  const std::vector<int32_t> offsets = offsets_of(b.sizes);
  const auto row = [&](int i) { return b.index.empty() ? i : b.index[static_cast<size_t>(i)]; };
  const auto counts = [&](int r) {
    return b.valid.empty() || b.valid[static_cast<size_t>(r)] != 0;
  };
  std::vector<Doubles> groups;
  Doubles batch;
  for (size_t g = 0; g < b.sizes.size(); ++g) {
    groups.emplace_back();
    for (int i = offsets[g]; i < offsets[g + 1]; ++i) {
      if (counts(row(i))) groups[g].push_back(double{b.values[static_cast<size_t>(row(i))]});
    }
    batch.insert(batch.end(), groups[g].begin(), groups[g].end());
  }
  Result out{Array(b.values.size()), {}, {}};
  for (size_t g = 0; g < groups.size(); ++g) {
    const Doubles& x = groups[g];
    const bool constant = is_constant(x);
    const double center = b.center == Center::none     ? 0.0
                          : b.center == Center::median ? lower_median(x)
                                                       : mean(x);
    const double scale = constant ? 0.0 : spread(b.scope == Scope::group ? x : batch, b);
    const double divisor = b.scale == Scale::none ? scale : scale + double{b.eps};
    out.center.push_back(static_cast<float>(center));
    out.scale.push_back(static_cast<float>(scale));
    for (int i = offsets[g]; i < offsets[g + 1]; ++i) {
      if (constant || divisor == 0.0 || !counts(row(i))) continue;
      const size_t r = static_cast<size_t>(row(i));
      out.advantage[r] = static_cast<float>((double{b.values[r]} - center) / divisor);
    }
  }
  return out;
}

// Sums in another order: a float may round the other way, no more.
void check(Context& context, const Batch& b) {
  const Result result = run(context, b), expected = plain(b);
  CHECK(distance(result.advantage, expected.advantage, 1e-30, 2 * kEpsilon) <= 1.0);
  CHECK(distance(result.center, expected.center, 1e-30, 2 * kEpsilon) <= 1.0);
  CHECK(distance(result.scale, expected.scale, 1e-30, 2 * kEpsilon) <= 1.0);
}

TEST_CASE("every centre, scale and scope for groups of all sizes") {
  in_every_order([](Context& context) {
    Batch b;
    b.sizes = {0, 1, 2, 3, 31, 33, 257, 0};
    b.values = random_array(offsets_of(b.sizes).back(), 1);
    for (size_t i = 1; i < b.values.size(); i += 3) b.values[i] = b.values[i - 1];  // ties
    for (Center center : {Center::none, Center::mean, Center::median}) {
      for (Scale scale : {Scale::none, Scale::std, Scale::median_deviation}) {
        for (Scope scope : {Scope::group, Scope::batch}) {
          b.center = center;
          b.scale = scale;
          b.scope = scope;
          b.ddof = scope == Scope::group ? 1 : 0;
          CAPTURE(static_cast<int>(center));
          CAPTURE(static_cast<int>(scale));
          CAPTURE(static_cast<int>(scope));
          check(context, b);
        }
      }
    }
  });
}

TEST_CASE("scattered groups and invalid rows, NaN in them") {
  in_every_order([](Context& context) {
    Batch b;
    b.sizes = {40, 3, 1, 6};
    const int rows = offsets_of(b.sizes).back();
    b.values = random_array(rows, 2);
    for (int i = 0; i < rows; ++i) {
      b.index.push_back(i * 7 % rows);
      b.valid.push_back(i % 5 != 2);
      if (i % 5 == 2) b.values[static_cast<size_t>(i)] = kNaN;
    }
    for (Scale scale : {Scale::std, Scale::median_deviation}) {
      for (Scope scope : {Scope::group, Scope::batch}) {
        b.scale = scale;
        b.scope = scope;
        check(context, b);
      }
    }
  });
}

TEST_CASE("equal values give exactly 0, digits far behind the point count") {
  Context context;
  Batch b;
  b.sizes = {3, 4};
  b.values = {0.1f, 0.1f, 0.1f, 1000.0f, 1000.01f, 1000.02f, 999.99f};
  const Result result = run(context, b);
  CHECK(same_bits(Array(result.advantage.begin(), result.advantage.begin() + 3), Array(3, 0.0f)));
  CHECK(result.center[0] == 0.1f);
  CHECK(result.scale[0] == 0.0f);
  check(context, b);
  b.scope = Scope::batch;
  CHECK(run(context, b).advantage[0] == 0.0f);
}

TEST_CASE("a median deviation of 0 divides by eps, with eps 0 it gives 0") {
  Context context;
  Batch b;
  b.sizes = {5};
  b.values = {1.0f, 1.0f, 1.0f, 1.0f, 3.0f};
  b.center = Center::median;
  b.scale = Scale::median_deviation;
  b.eps = 0.5f;
  CHECK(run(context, b).advantage == Array{0.0f, 0.0f, 0.0f, 0.0f, 4.0f});
  b.eps = 0.0f;
  CHECK(run(context, b).advantage == Array(5, 0.0f));
}

TEST_CASE("a valid NaN spreads in its group and no further") {
  Context context;
  for (Center center : {Center::mean, Center::median}) {
    Batch b;
    b.sizes = {3, 3};
    b.values = {1.0f, kNaN, 1.0f, 1.0f, 2.0f, 3.0f};
    b.center = center;
    const Result result = run(context, b);
    CHECK(std::isnan(result.advantage[0]));
    CHECK(result.faults.count[int(Fault::not_a_number)] == 1);
    CHECK(result.faults.first_row[int(Fault::not_a_number)] == 1);
    b.scope = Scope::batch;
    const float with = run(context, b).advantage[5];
    b.valid = {1, 0, 1, 1, 1, 1};
    CHECK(with == run(context, b).advantage[5]);
    b.valid.clear();
    b.scope = Scope::group;
    b.values[1] = 2.0f;
    CHECK(same_bits(Array(result.advantage.begin() + 3, result.advantage.end()), [&] {
      const Array a = run(context, b).advantage;
      return Array(a.begin() + 3, a.end());
    }()));
  }
}

TEST_CASE("a group's bits do not depend on the batch") {
  Context context;
  Batch b;
  b.sizes = {100, 211};
  b.values = random_array(311, 5);
  Batch alone;
  alone.sizes = {211};
  alone.values.assign(b.values.begin() + 100, b.values.end());
  const Array whole = run(context, b).advantage;
  CHECK(same_bits(Array(whole.begin() + 100, whole.end()), run(context, alone).advantage));
}

}  // namespace
}  // namespace firesteel
