// group_norm on the emulated card: warps, blocks and their edges, in every order of threads.
#include "cuda_arrays.h"
#include "group_norm_batch.h"

namespace firesteel {
namespace {

GroupNormResult run(Context& context, const GroupNormBatch& b) {
  GroupNormResult out;
  must(run_group_norm(context, b, &out));
  return out;
}

// Sums in another order: a float may round the other way, no more.
void check(Context& context, const GroupNormBatch& b) {
  const GroupNormResult got = run(context, b), want = plain::group_norm(b);
  CHECK(distance(got.advantage, want.advantage, 1e-30, 2 * kEpsilon) <= 1.0);
  CHECK(distance(got.center, want.center, 1e-30, 2 * kEpsilon) <= 1.0);
  CHECK(distance(got.scale, want.scale, 1e-30, 2 * kEpsilon) <= 1.0);
}

GroupNormBatch batch_of(std::vector<int> sizes, int64_t columns, uint32_t seed) {
  GroupNormBatch b;
  b.sizes = std::move(sizes);
  b.columns = columns;
  const int rows = b.offsets().back();
  b.values = random_array(rows * columns, seed);
  for (size_t i = 1; i < b.values.size(); i += 3) b.values[i] = b.values[i - 1];  // ties
  for (int i = 0; i < rows; ++i) b.index.push_back(static_cast<int32_t>(int64_t{i} * 7919 % rows));
  for (size_t i = 0; i < b.values.size(); ++i) {
    b.valid.push_back(i % 5 != 2);
    if (i % 5 == 2) b.values[i] = kNaN;
  }
  return b;
}

TEST_CASE("every combination for groups of all sizes that a warp takes") {
  in_every_order([](Context& context) {
    GroupNormBatch b = batch_of({0, 1, 2, 3, 31, 33, 257, 0}, 2, 1);
    b.ema = random_array(16, 2);
    for_every_combination([&](Center center, Scale scale, Scope scope) {
      b.rule.center = center;
      b.rule.scale = scale;
      b.rule.scope = scope;
      CAPTURE(static_cast<int>(center));
      CAPTURE(static_cast<int>(scale));
      CAPTURE(static_cast<int>(scope));
      check(context, b);
    });
  });
}

TEST_CASE("groups around the size from which they get a block, wherever they begin") {
  in_every_order([](Context& context) {
    for (const Scale scale : {Scale::std, Scale::median_deviation}) {
      // Large groups that begin on, before and behind a multiple of 1024, two in a row, and last.
      GroupNormBatch b = batch_of({1023, 1, 1024, 0, 1025, 3, 2100, 1030, 0, 5, 1026}, 2, 3);
      b.rule.scale = scale;
      check(context, b);
    }
  });
}

TEST_CASE("the std of the others where one value holds nearly all of the spread") {
  in_every_order([](Context& context) {
    GroupNormBatch b;
    b.sizes = {8, 5, 4, 3};
    b.values = {0.35f, 0.35f, 0.35f, 0.35f, 0.35f, 0.35f, 0.35f, 0.0f, 1e6f, 0.1f,
                0.2f,  0.3f,  0.4f,  -9e5f, 2.0f,  3.0f,  4.5f,  1.0f, 1.0f, 2.0f};
    b.rule.center = Center::leave_one_out;
    b.rule.scale = Scale::leave_one_out_std;
    b.rule.eps = 0.0;
    check(context, b);
    CHECK(run(context, b).advantage[7] == 0.0f);
    b.values = random_array(1520, 6);
    b.values[1400] = 1e6f;
    b.sizes = {20, 1500};
    check(context, b);
  });
}

TEST_CASE("equal values give exactly 0, digits far behind the point count") {
  Context context;
  GroupNormBatch b;
  b.sizes = {3, 4, 1500};
  b.values = {0.1f, 0.1f, 0.1f, 1000.0f, 1000.01f, 1000.02f, 999.99f};
  b.values.resize(7 + 1500, 0.1f);
  for (const Scope scope : {Scope::group, Scope::batch}) {
    b.rule.scope = scope;
    const GroupNormResult result = run(context, b);
    for (size_t i = 0; i < b.values.size(); ++i) {
      if (i < 3 || i > 6) CHECK(result.advantage[i] == 0.0f);
    }
    CHECK(result.center[2] == 0.1f);
    CHECK(result.scale[0] == 0.0f);
    check(context, b);
  }
}

TEST_CASE("a reward that is not finite spoils its own group alone, of a warp or of a block") {
  Context context;
  constexpr int kKind = int(Fault::not_a_number);
  for (const Scope scope : {Scope::group, Scope::batch}) {
    GroupNormBatch b;
    b.sizes = {3, 1100, 40};
    b.values = random_array(1143, 4);
    b.rule.scope = scope;
    b.values[1] = kNaN;
    b.values[700] = kInfinity;
    const GroupNormResult result = run(context, b);
    for (size_t i = 0; i < 1103; ++i) CHECK(std::isnan(result.advantage[i]));
    CHECK(result.faults.count[kKind] == 2);
    CHECK(result.faults.first_row[kKind] == 1);
    b.valid.assign(1143, 1);
    b.valid[1] = b.valid[700] = 0;
    const GroupNormResult without = run(context, b);
    for (size_t i = 1103; i < 1143; ++i) CHECK(result.advantage[i] == without.advantage[i]);
  }
}

TEST_CASE("a group's bits do not depend on the batch") {
  Context context;
  const GroupNormBatch b = [] {
    GroupNormBatch whole;
    whole.sizes = {100, 211, 1200};
    whole.values = random_array(1511, 5);
    return whole;
  }();
  const Array whole = run(context, b).advantage;
  size_t begin = 0;
  for (int size : b.sizes) {
    GroupNormBatch alone;
    alone.sizes = {size};
    const size_t end = begin + static_cast<size_t>(size);
    alone.values.assign(b.values.begin() + begin, b.values.begin() + end);
    const Array part(whole.begin() + begin, whole.begin() + end);
    CHECK(same_bits(part, run(context, alone).advantage));
    begin = end;
  }
}

TEST_CASE("no rows, no groups, too many of both") {
  Context context;
  GroupNormBatch none;
  CHECK(run(context, none).advantage.empty());
  none.sizes = {0, 0};
  none.rule.scope = Scope::batch;
  CHECK(run(context, none).scale == Array{0.0f, 0.0f});

  GroupNormArgs a{};
  a.groups = int64_t{1} << 31;
  a.columns = 8;
  CHECK(group_norm(context, a).code == Code::range);
}

}  // namespace
}  // namespace firesteel
