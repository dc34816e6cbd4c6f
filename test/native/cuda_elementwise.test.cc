// Array operations, rows by index and the optimiser on the emulated card. Where every element is
// one or two roundings, the expected bits are those of the plain loop.
#include "cuda_arrays.h"
#include "nn/adamw/adamw.h"
#include "nn/elementwise/elementwise.h"
#include "nn/embed/embed.h"
#include "runtime/scalar.h"

namespace firesteel {
namespace {

// Nothing, parts of a quad, parts of a warp, more than the grid of four multiprocessors at once.
constexpr int64_t kCounts[] = {0, 1, 3, 31, 33, 257, 40000};

using Halves = std::vector<uint16_t>;

Halves halves(DType type, const Array& x) {
  Halves bits;
  for (float v : x) {
    bits.push_back(type == DType::bf16 ? from_float<bf16>(v).bits : from_float<f16>(v).bits);
  }
  return bits;
}
Array floats(DType type, const Halves& x) {
  Array values;
  for (uint16_t v : x) values.push_back(type == DType::bf16 ? to_float(bf16{v}) : to_float(f16{v}));
  return values;
}

Array mapped(int64_t count, float (*f)(float, float), const Array& a, const Array& b) {
  Array y;
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) y.push_back(f(a[i], b[i]));
  return y;
}

TEST_CASE("add, scale and fill at every length and alignment, in place too") {
  in_every_order([](Context& context) {
    for (int64_t count : kCounts) {
      for (size_t shift : {size_t{0}, size_t{1}}) {
        const Array a = random_array(count + 1, 1), b = random_array(count + 1, 2);
        const float* const x = a.data() + shift;
        const Array x_values(a.begin() + static_cast<long>(shift), a.end());
        CAPTURE(count);
        Array y(static_cast<size_t>(count) + 1, kNaN);
        const auto values = [&] { return Array(y.begin(), y.begin() + static_cast<long>(count)); };
        must(add(context, {DType::f32, count, x, b.data(), y.data()}));
        CHECK(same_bits(values(), mapped(
                                      count, [](float p, float q) { return p + q; }, x_values, b)));
        must(scale(context, {DType::f32, count, 0.3f, x, y.data(), false}));
        CHECK(
            same_bits(values(), mapped(
                                    count, [](float p, float) { return 0.3f * p; }, x_values, b)));
        y = b;
        must(scale(context, {DType::f32, count, 0.3f, x, y.data(), true}));
        CHECK(same_bits(values(), mapped(
                                      count, [](float p, float q) { return std::fma(0.3f, p, q); },
                                      x_values, b)));
        y = b;
        must(add(context, {DType::f32, count, y.data(), y.data(), y.data()}));
        CHECK(same_bits(values(), mapped(
                                      count, [](float, float q) { return q + q; }, x_values, b)));
        y.back() = kNaN;
        must(fill(context, {DType::f32, count, 2.5f, y.data()}));
        CHECK(same_bits(values(), Array(static_cast<size_t>(count), 2.5f)));
        CHECK(std::isnan(y.back()));
      }
    }
  });
}

TEST_CASE("a bias is added to every row, and summed over rows on the way back") {
  in_every_order([](Context& context) {
    for (int64_t rows : {0, 1, 9, 100}) {
      for (int64_t width : {1, 31, 33, 128, 257}) {
        const Array x = random_array(rows * width, 1), bias = random_array(width, 2);
        Array y(x.size(), kNaN), sum(bias.size(), kNaN), expected;
        Doubles expected_sum(bias.size());
        for (size_t i = 0; i < x.size(); ++i) {
          expected.push_back(x[i] + bias[i % bias.size()]);
          expected_sum[i % bias.size()] += double{x[i]};
        }
        must(add_bias(context, {DType::f32, rows, width, x.data(), bias.data(), y.data()}));
        CHECK(same_bits(y, expected));
        must(sum_rows(context, {DType::f32, rows, width, x.data(), sum.data()}));
        CHECK(distance(sum, expected_sum, 1e-14, 2 * kEpsilon) <= 1.0);
      }
    }
  });
}

template <class To, class From>
std::vector<To> cast_to(DType to, DType from, const std::vector<From>& x) {
  Context context;
  std::vector<To> y(x.size());
  must(cast(context, {static_cast<int64_t>(x.size()), x.data(), from, y.data(), to}));
  return y;
}

TEST_CASE("casts round to nearest even and keep NaN, infinity and subnormals") {
  using Bits = std::vector<uint16_t>;
  const float tie = 1.0f + 0x1p-8f, above = 1.0f + 3 * 0x1p-8f;
  const Array x{1.0f, -2.5f, tie, above, kInfinity, -0.0f, 3.4e38f};
  CHECK(cast_to<uint16_t>(DType::bf16, DType::f32, x) ==
        Bits{0x3f80, 0xc020, 0x3f80, 0x3f82, 0x7f80, 0x8000, 0x7f80});
  const Array h{1.0f,     1.0f + 0x1p-11f, 1.0f + 3 * 0x1p-11f, 65504.0f, 65520.0f,
                0x1p-24f, -0x1p-25f};
  CHECK(cast_to<uint16_t>(DType::f16, DType::f32, h) ==
        Bits{0x3c00, 0x3c00, 0x3c02, 0x7bff, 0x7c00, 0x0001, 0x8000});
  Bits all(65536);
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<uint16_t>(i);
  for (DType half : {DType::bf16, DType::f16}) {
    const Array wide = cast_to<float>(DType::f32, half, all);
    const Bits back = cast_to<uint16_t>(half, DType::f32, wide);
    const Bits same = cast_to<uint16_t>(half, half, all);
    for (size_t i = 0; i < all.size(); ++i) {
      const bool nan = std::isnan(wide[i]);
      CHECK((nan ? std::isnan(cast_to<float>(DType::f32, half, Bits{back[i]})[0])
                 : back[i] == all[i] && same[i] == all[i]));
    }
  }
  Context context;
  CHECK(cast(context, {1, x.data(), DType::i32, all.data(), DType::f32}).code == Code::dtype);
  CHECK(cast(context, {1, x.data(), DType::f32, all.data(), DType::f64}).code == Code::dtype);
}

TEST_CASE("rows by index, there and back") {
  in_every_order([](Context& context) {
    for (int64_t width : {1, 33, 64, 257}) {
      CAPTURE(width);
      const int64_t table_rows = 6, count = 5;
      const Array table = random_array(table_rows * width, 1);
      const std::vector<int32_t> ids{3, -1, 0, 6, 5};
      const auto row_of = [&](const Array& a, int64_t r) {
        return Array(a.begin() + r * width, a.begin() + (r + 1) * width);
      };
      Array y(static_cast<size_t>(count * width), 0.0f);
      Faults faults;
      must(gather_rows(context, {DType::f32, count, width, table_rows, table.data(), ids.data(),
                                 y.data(), &faults}));
      for (int64_t t : {0, 2, 4}) {
        CHECK(same_bits(row_of(y, t), row_of(table, ids[static_cast<size_t>(t)])));
      }
      for (int64_t t : {1, 3}) {
        for (float v : row_of(y, t)) CHECK(std::isnan(v));
      }
      CHECK(faults.count[0] == 2);
      CHECK(faults.first_row[0] == 1);

      const int64_t stride = width + 3;
      const Array x = random_array(count * stride, 2);
      Array out = table;
      Faults scatter_faults;
      must(scatter_rows(context, {DType::f32, count, width, table_rows, x.data(), stride,
                                  ids.data(), out.data(), &scatter_faults}));
      CHECK(scatter_faults.count[0] == 2);
      CHECK(scatter_faults.first_row[0] == 1);
      for (int64_t t : {0, 2, 4}) {
        CHECK(same_bits(row_of(out, ids[static_cast<size_t>(t)]),
                        Array(x.begin() + t * stride, x.begin() + t * stride + width)));
      }
      for (int64_t r : {1, 2, 4}) CHECK(same_bits(row_of(out, r), row_of(table, r)));
    }
  });
}

TEST_CASE("scattered rows of one id are added in order") {
  in_every_order([](Context& context) {
    for (int64_t count : {0, 1, 31, 33, 1300}) {
      for (int64_t width : {1, 33, 1030}) {
        if (count * width > 50000) continue;
        CAPTURE(count);
        CAPTURE(width);
        const int64_t table_rows = 9;
        const Array d_y = random_array(count * width, 1);
        Array table = random_array(table_rows * width, 2), expected = table;
        std::vector<int32_t> ids;
        for (int64_t t = 0; t < count; ++t) {
          const int32_t id = static_cast<int32_t>(t * t % 11) - 1;  // -1 and 9 are outside
          ids.push_back(id);
          for (int64_t j = 0; id >= 0 && id < table_rows && j < width; ++j) {
            expected[static_cast<size_t>(id * width + j)] +=
                d_y[static_cast<size_t>(t * width + j)];
          }
        }
        must(scatter_add_rows(
            context, {DType::f32, count, width, table_rows, d_y.data(), ids.data(), table.data()}));
        CHECK(same_bits(table, expected));
      }
    }
  });
}

TEST_CASE("16-bit tensors: computed in float32, rounded once, at any alignment") {
  in_every_order([](Context& context) {
    for (DType type : {DType::bf16, DType::f16}) {
      for (int64_t width : {1, 33, 264}) {
        CAPTURE(width);
        const int64_t rows = 5, count = rows * width;
        const Halves a = halves(type, random_array(count + 1, 1));
        const Halves b = halves(type, random_array(count + 1, 2));
        const Array wide_a = floats(type, a), wide_b = floats(type, b);
        Halves y(a.size());
        const auto check = [&](const char* what, float (*f)(float, float), size_t shift) {
          CAPTURE(std::string(what));
          Array expected;
          for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
            expected.push_back(f(wide_a[i + shift], wide_b[i]));
          }
          CHECK(same_bits(Halves(y.begin(), y.end() - 1), halves(type, expected)));
        };
        for (size_t shift : {size_t{0}, size_t{1}}) {
          must(add(context, {type, count, a.data() + shift, b.data(), y.data()}));
          check(
              "add", [](float p, float q) { return p + q; }, shift);
          must(scale(context, {type, count, 0.3f, a.data() + shift, y.data(), false}));
          check(
              "scale", [](float p, float) { return 0.3f * p; }, shift);
          y = b;
          must(scale(context, {type, count, 0.3f, a.data() + shift, y.data(), true}));
          check(
              "accumulate", [](float p, float q) { return std::fma(0.3f, p, q); }, shift);
        }
        must(fill(context, {type, count, 0.7f, y.data()}));
        check(
            "fill", [](float, float) { return 0.7f; }, 0);

        must(add_bias(context, {type, rows, width, a.data(), b.data(), y.data()}));
        Array sums(static_cast<size_t>(width), kNaN), expected, biased;
        Doubles columns(sums.size());
        for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
          biased.push_back(wide_a[i] + wide_b[i % sums.size()]);
          columns[i % sums.size()] += double{wide_a[i]};
        }
        CHECK(same_bits(Halves(y.begin(), y.end() - 1), halves(type, biased)));
        must(sum_rows(context, {type, rows, width, a.data(), sums.data()}));
        CHECK(distance(sums, columns, 1e-14, 2 * kEpsilon) <= 1.0);

        const std::vector<int32_t> ids{4, 0, 4, -1, 2};
        Faults faults;
        Halves gathered(static_cast<size_t>(count)), scattered = a;
        must(gather_rows(
            context, {type, rows, width, rows, a.data(), ids.data(), gathered.data(), &faults}));
        Array d_table(static_cast<size_t>(count), 1.0f), d_expected = d_table;
        must(scatter_add_rows(context,
                              {type, rows, width, rows, b.data(), ids.data(), d_table.data()}));
        const std::vector<int32_t> distinct{4, 0, 1, -1, 2};
        must(scatter_rows(context, {type, rows, width, rows, b.data(), width, distinct.data(),
                                    scattered.data(), &faults}));
        for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
          const size_t w = static_cast<size_t>(width), t = i / w, j = i % w;
          if (ids[t] < 0) {
            CHECK(std::isnan(floats(type, {gathered[i]})[0]));
            continue;
          }
          const size_t from = static_cast<size_t>(ids[t]) * w + j;
          CHECK(gathered[i] == a[from]);
          d_expected[from] += wide_b[i];
          CHECK(scattered[static_cast<size_t>(distinct[t]) * w + j] == b[i]);
        }
        CHECK(same_bits(d_table, d_expected));
      }
    }
  });
}

TEST_CASE("sums of squares accumulate in double") {
  in_every_order([](Context& context) {
    double total = 0.5, expected = 0.5;
    for (int64_t count : {0, 1, 31, 33, 257, 40000}) {
      const Array x = random_array(count + 1, 1, -100.0f, 100.0f);
      for (size_t shift : {size_t{0}, size_t{1}}) {
        for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
          expected += double{x[shift + i]} * double{x[shift + i]};
        }
        SumSquaresArgs a{};
        a.tensors = 3;
        a.tensor[0] = {count / 3, x.data() + shift};
        a.tensor[1] = {0, nullptr};
        a.tensor[2] = {count - count / 3, x.data() + shift + count / 3};
        Doubles workspace(static_cast<size_t>(sum_squares_workspace(a) / 8), std::nan(""));
        a.total = &total;
        a.workspace = workspace.data();
        must(sum_squares(context, a));
        CHECK(std::fabs(total - expected) <= 1e-12 * expected);
      }
    }
  });
}

TEST_CASE(
    "adamw takes the published step, clips by the norm, and stands still when it is not finite") {
  in_every_order([](Context& context) {
    for (int64_t count : kCounts) {
      CAPTURE(count);
      const Array grad = random_array(count, 1), m = random_array(count, 2);
      const Array v = random_array(count, 3, 0.0f, 1.0f), param = random_array(count, 4);
      const double bound = std::nan("");
      for (double square : {bound, 1e-4, 9.0, double{kInfinity}}) {  // NaN: not given
        Array new_m = m, new_v = v, new_param = param;
        AdamwArgs a{};
        // Cut into tensors off the 16-byte boundary, one of them empty.
        const int64_t cut = count / 3;
        Halves rounded(grad.size(), 0x7fff);
        a.tensors = 3;
        a.tensor[0] = {cut,          new_param.data(), grad.data(),
                       new_m.data(), new_v.data(),     rounded.data()};
        a.tensor[1] = {};
        a.tensor[2] = {count - cut,        new_param.data() + cut, grad.data() + cut,
                       new_m.data() + cut, new_v.data() + cut,     rounded.data() + cut};
        a.dtype = square > 1.0 ? DType::bf16 : std::isnan(square) ? DType::f16 : DType::f32;
        a.lr = 0.01f;
        a.beta1 = 0.9f;
        a.beta2 = 0.95f;
        a.eps = 1e-8f;
        a.weight_decay = 0.1f;
        a.correction1 = 0.271f;
        a.correction2 = 0.142625f;
        a.grad_square = std::isnan(square) ? nullptr : &square;
        a.max_grad_norm = 0.7f;
        must(adamw(context, a));
        if (std::isinf(square)) {
          CHECK(same_bits(rounded, Halves(grad.size(), 0x7fff)));
          CHECK(same_bits(new_param, param));
          CHECK(same_bits(new_m, m));
          CHECK(same_bits(new_v, v));
          continue;
        }
        const double clip = square > 1.0 ? double{0.7f} / (3.0 + 1e-6) : 1.0;
        Doubles expected, expected_m, expected_v;
        for (size_t i = 0; i < grad.size(); ++i) {
          const double g = double{grad[i]} * clip;
          expected_m.push_back(double{a.beta1} * double{m[i]} + (1.0 - double{a.beta1}) * g);
          expected_v.push_back(double{a.beta2} * double{v[i]} + (1.0 - double{a.beta2}) * g * g);
          const double step = expected_m[i] / double{a.correction1} /
                              (std::sqrt(expected_v[i] / double{a.correction2}) + double{a.eps});
          expected.push_back(double{param[i]} -
                             double{a.lr} * (step + double{a.weight_decay} * double{param[i]}));
        }
        CHECK(distance(new_m, expected_m, 2e-7, 1e-6) <= 1.0);
        CHECK(distance(new_v, expected_v, 1e-7, 1e-6) <= 1.0);
        CHECK(distance(new_param, expected, 2e-7, 1e-6) <= 1.0);
        if (a.dtype == DType::f32) {
          CHECK(same_bits(rounded, Halves(grad.size(), 0x7fff)));
        } else {
          CHECK(same_bits(rounded, halves(a.dtype, new_param)));
        }
      }
    }
  });
}

}  // namespace
}  // namespace firesteel
