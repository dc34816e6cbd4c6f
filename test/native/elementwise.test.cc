// Sums, biases, casts, and rows by index: values, faults, order, and bits that do not depend on
// threads.
#include "nn/elementwise/elementwise.h"
#include "arrays.h"
#include "every_isa.h"
#include "nn/embed/embed.h"

namespace firesteel {
namespace {

TEST_CASE("elementwise operations are exact to one rounding per step, in place or not") {
  Threads threads(3);
  for (int64_t count : {0, 1, 15, 257, 200003}) {
    const Array a = random_array(count, 17), b = random_array(count, 18);
    Padded x(1, count, count, a), y(1, count, count, b), sum(1, count, count);
    REQUIRE(add(threads, {DType::f32, count, x.data(), y.data(), sum.data()}).ok());
    REQUIRE(add(threads, {DType::f32, count, x.data(), y.data(), x.data()}).ok());
    REQUIRE(scale(threads, {DType::f32, count, 0.7f, sum.data(), y.data(), true}).ok());
    CHECK(sum.intact());
    CHECK(x.intact());
    CHECK(y.intact());
    const Array added = sum.values(), in_place = x.values(), scaled = y.values();
    bool exact = true;
    double worst = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      exact = exact && added[i] == a[i] + b[i] && in_place[i] == added[i];
      const double expected = double{0.7f} * double{added[i]} + double{b[i]};
      worst = std::max(worst, std::fabs(double{scaled[i]} - expected));
    }
    CHECK(exact);
    CHECK(worst <= 4e-7);  // one rounding with fused multiply-add, two without, of values up to 2.4
    REQUIRE(scale(threads, {DType::f32, count, 0.5f, sum.data(), y.data(), false}).ok());
    const Array halves = y.values();
    for (size_t i = 0; i < halves.size(); ++i) exact = exact && halves[i] == 0.5f * added[i];
    REQUIRE(fill(threads, {DType::f32, count, 3.25f, y.data()}).ok());
    for (float v : y.values()) exact = exact && v == 3.25f;
    CHECK(exact);
    CHECK(y.intact());
  }
}

TEST_CASE("biases are added to rows and summed over rows in their order") {
  for (int count : {1, 3}) {
    Threads threads(count);
    const int64_t rows = 1001, width = 67;
    const Array x = random_array(rows * width, 19), bias = random_array(width, 20);
    Padded y(rows, width, width), total(1, width, width);
    REQUIRE(add_bias(threads, {DType::f32, rows, width, x.data(), bias.data(), y.data()}).ok());
    REQUIRE(sum_rows(threads, {DType::f32, rows, width, x.data(), total.data()}).ok());
    CHECK(y.intact());
    CHECK(total.intact());
    Array biased, expected(size_t(width), 0.0f);
    for (size_t i = 0; i < x.size(); ++i) {
      biased.push_back(x[i] + bias[i % size_t(width)]);
      expected[i % size_t(width)] += x[i];
    }
    CHECK(same_bits(y.values(), biased));
    CHECK(same_bits(total.values(), expected));
  }
}

TEST_CASE("casts round to nearest even and come back unchanged") {
  Threads threads(2);
  Array x = random_array(100003, 21, -300, 300);
  const float special[] = {1.00390625f, 1.01171875f, kInfinity, -0.0f, 1e-40f, 65520.0f};
  std::copy(std::begin(special), std::end(special), x.begin());
  const int64_t count = int64_t(x.size());
  for (DType half : {DType::bf16, DType::f16}) {
    std::vector<uint16_t> bits(x.size()), again(x.size());
    Array wide(x.size());
    REQUIRE(cast(threads, {count, x.data(), DType::f32, bits.data(), half}).ok());
    REQUIRE(cast(threads, {count, bits.data(), half, wide.data(), DType::f32}).ok());
    REQUIRE(cast(threads, {count, wide.data(), DType::f32, again.data(), half}).ok());
    CHECK(again == bits);
    const double ulp = half == DType::bf16 ? 0x1p-8 : 0x1p-11;
    double worst = 0;
    for (size_t i = 6; i < x.size(); ++i) {
      const double size = std::max(std::fabs(double{x[i]}), 0x1p-14);
      worst = std::max(worst, std::fabs(double{wide[i]} - double{x[i]}) / size);
    }
    CHECK(worst <= ulp);
    CHECK(wide[2] == kInfinity);
    CHECK(std::signbit(wide[3]));
    if (half == DType::bf16) {  // ties: 1 + 1/256 goes down to even, 1 + 3/256 up
      CHECK(wide[0] == 1.0f);
      CHECK(wide[1] == 1.015625f);
    } else {
      CHECK(wide[4] == 0.0f);
      CHECK(wide[5] == kInfinity);
    }
    const float nan[] = {kNaN};
    REQUIRE(cast(threads, {1, nan, DType::f32, bits.data(), half}).ok());
    REQUIRE(cast(threads, {1, bits.data(), half, wide.data(), DType::f32}).ok());
    CHECK(std::isnan(wide[0]));
  }
  CHECK(cast(threads, {0, nullptr, DType::f32, nullptr, DType::i32}).code == Code::dtype);
}

FaultWord clean() {
  return {{0, 0, 0}, {~0u, ~0u, ~0u}};
}

TEST_CASE("gather_rows copies rows and reports ids outside of the table") {
  Threads threads(2);
  const int64_t width = 33, rows = 5;
  const Array table = random_array(rows * width, 9);
  const std::vector<int32_t> ids = {4, 0, -1, 2, 5, 4};
  FaultWord faults = clean();
  Padded y(int64_t(ids.size()), width, width);
  REQUIRE(gather_rows(threads, {DType::f32, int64_t(ids.size()), width, rows, table.data(),
                                ids.data(), y.data(), &faults})
              .ok());
  CHECK(y.intact());
  const Array got = y.values();
  for (size_t t = 0; t < ids.size(); ++t) {
    for (size_t j = 0; j < size_t(width); ++j) {
      const float value = got[t * size_t(width) + j];
      if (ids[t] < 0 || ids[t] >= rows) {
        CHECK(std::isnan(value));
      } else {
        CHECK(value == table[size_t(ids[t]) * size_t(width) + j]);
      }
    }
  }
  CHECK(faults.count[int(Fault::id_out_of_range)] == 2);
  CHECK(faults.first_row[int(Fault::id_out_of_range)] == 2);
}

TEST_CASE("scatter_rows writes the rows named and no other") {
  Threads threads(2);
  const int64_t width = 7, rows = 5;
  const std::vector<int32_t> ids = {3, 9, 0};
  Padded x(3, width, width + 2, random_array(3 * width, 10));
  Padded table(rows, width, width, random_array(rows * width, 11));
  const Array before = table.values(), from = x.values();
  FaultWord faults = clean();
  REQUIRE(scatter_rows(threads, {DType::f32, 3, width, rows, x.data(), x.stride, ids.data(),
                                 table.data(), &faults})
              .ok());
  CHECK(table.intact());
  const Array after = table.values();
  for (size_t r = 0; r < size_t(rows); ++r) {
    for (size_t j = 0; j < size_t(width); ++j) {
      const size_t at = r * size_t(width) + j;
      CHECK(after[at] == (r == 3 ? from[j] : r == 0 ? from[2 * size_t(width) + j] : before[at]));
    }
  }
  CHECK(faults.count[int(Fault::id_out_of_range)] == 1);
  CHECK(faults.first_row[int(Fault::id_out_of_range)] == 1);
}

TEST_CASE("scatter_add_rows adds in the order of tokens at any thread count") {
  const int64_t width = 130, rows = 3, count = 2000;
  const Array d_y = random_array(count * width, 12);
  std::vector<int32_t> ids;
  for (int64_t t = 0; t < count; ++t) ids.push_back(int32_t(t * 7 % 5) - 1);  // -1 .. 3
  Array expected = random_array(rows * width, 13);
  const Array before = expected;
  for (size_t t = 0; t < size_t(count); ++t) {
    if (ids[t] < 0 || ids[t] >= rows) continue;
    for (size_t j = 0; j < size_t(width); ++j) {
      expected[size_t(ids[t]) * size_t(width) + j] += d_y[t * size_t(width) + j];
    }
  }
  for (int count_of_threads : {1, 3}) {
    Threads threads(count_of_threads);
    Array table = before;
    REQUIRE(scatter_add_rows(threads,
                             {DType::f32, count, width, rows, d_y.data(), ids.data(), table.data()})
                .ok());
    CHECK(same_bits(table, expected));
  }
}

using Halves = std::vector<uint16_t>;

Halves halves(DType type, const Array& x) {
  Halves bits;
  for (float v : x) bits.push_back(narrow(type, v));
  return bits;
}

TEST_CASE("16-bit tensors: computed in float32, rounded once") {
  Threads threads(3);
  for (DType type : {DType::bf16, DType::f16}) {
    for (int64_t width : {1, 37, 20011}) {
      const int64_t rows = 4, count = rows * width;
      const Halves a = halves(type, random_array(count, 1)),
                   b = halves(type, random_array(count, 2));
      Array wide_a, wide_b;
      for (uint16_t x : a) wide_a.push_back(widen(type, x));
      for (uint16_t x : b) wide_b.push_back(widen(type, x));
      Halves y(a.size());
      Array wide(a.size()), sums(static_cast<size_t>(width)), wide_sums = sums;
      REQUIRE(add(threads, {type, count, a.data(), b.data(), y.data()}).ok());
      REQUIRE(add(threads, {DType::f32, count, wide_a.data(), wide_b.data(), wide.data()}).ok());
      CHECK(y == halves(type, wide));
      REQUIRE(add_bias(threads, {type, rows, width, a.data(), b.data(), y.data()}).ok());
      REQUIRE(
          add_bias(threads, {DType::f32, rows, width, wide_a.data(), wide_b.data(), wide.data()})
              .ok());
      CHECK(y == halves(type, wide));
      REQUIRE(sum_rows(threads, {type, rows, width, a.data(), sums.data()}).ok());
      REQUIRE(sum_rows(threads, {DType::f32, rows, width, wide_a.data(), wide_sums.data()}).ok());
      CHECK(same_bits(sums, wide_sums));
      y = b;
      wide = wide_b;
      REQUIRE(scale(threads, {type, count, 0.3f, a.data(), y.data(), true}).ok());
      REQUIRE(scale(threads, {DType::f32, count, 0.3f, wide_a.data(), wide.data(), true}).ok());
      CHECK(y == halves(type, wide));
      REQUIRE(fill(threads, {type, count, 0.7f, y.data()}).ok());
      CHECK(y == halves(type, Array(y.size(), 0.7f)));

      const std::vector<int32_t> ids = {3, 7, 0, 3};
      FaultWord faults = clean();
      REQUIRE(
          gather_rows(threads, {type, rows, width, rows, a.data(), ids.data(), y.data(), &faults})
              .ok());
      Halves table = a;
      const std::vector<int32_t> distinct = {3, 7, 0, 1};
      REQUIRE(scatter_rows(threads, {type, rows, width, rows, b.data(), width, distinct.data(),
                                     table.data(), &faults})
                  .ok());
      Array d_table(a.size(), 1.0f), expected = d_table;
      REQUIRE(
          scatter_add_rows(threads, {type, rows, width, rows, b.data(), ids.data(), d_table.data()})
              .ok());
      bool right = true;
      for (size_t i = 0; i < a.size(); ++i) {
        const size_t w = size_t(width), t = i / w, j = i % w;
        if (ids[t] == 7) {
          right = right && std::isnan(widen(type, y[i]));
          continue;
        }
        right = right && y[i] == a[size_t(ids[t]) * w + j];
        right = right && table[size_t(distinct[t]) * w + j] == b[i];
        expected[size_t(ids[t]) * w + j] += wide_b[i];
      }
      CHECK(right);
      CHECK(same_bits(d_table, expected));
    }
  }
  CHECK(add(threads, {DType::i32, 0, nullptr, nullptr, nullptr}).code == Code::dtype);
}

}  // namespace
}  // namespace firesteel
