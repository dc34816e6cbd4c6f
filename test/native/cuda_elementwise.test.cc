// Array operations, rows by index and the optimiser on the emulated card. Where every element is
// one or two roundings, the expected bits are those of the plain loop.
#include "cuda_arrays.h"
#include "nn/adamw/adamw.h"
#include "nn/elementwise/elementwise.h"
#include "nn/embed/embed.h"

namespace firesteel {
namespace {

// Nothing, parts of a quad, parts of a warp, more than the grid of four multiprocessors at once.
constexpr int64_t kCounts[] = {0, 1, 3, 31, 33, 257, 40000};

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
        must(add(context, {count, x, b.data(), y.data()}));
        CHECK(same_bits(values(), mapped(
                                      count, [](float p, float q) { return p + q; }, x_values, b)));
        must(scale(context, {count, 0.3f, x, y.data(), false}));
        CHECK(
            same_bits(values(), mapped(
                                    count, [](float p, float) { return 0.3f * p; }, x_values, b)));
        y = b;
        must(scale(context, {count, 0.3f, x, y.data(), true}));
        CHECK(same_bits(values(), mapped(
                                      count, [](float p, float q) { return std::fma(0.3f, p, q); },
                                      x_values, b)));
        y = b;
        must(add(context, {count, y.data(), y.data(), y.data()}));
        CHECK(same_bits(values(), mapped(
                                      count, [](float, float q) { return q + q; }, x_values, b)));
        y.back() = kNaN;
        must(fill(context, {count, 2.5f, y.data()}));
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
        must(add_bias(context, {rows, width, x.data(), bias.data(), y.data()}));
        CHECK(same_bits(y, expected));
        must(sum_rows(context, {rows, width, x.data(), sum.data()}));
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
      must(gather_rows(context,
                       {count, width, table_rows, table.data(), ids.data(), y.data(), &faults}));
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
      must(scatter_rows(context, {count, width, table_rows, x.data(), stride, ids.data(),
                                  out.data(), &scatter_faults}));
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
        must(scatter_add_rows(context,
                              {count, width, table_rows, d_y.data(), ids.data(), table.data()}));
        CHECK(same_bits(table, expected));
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
        Doubles workspace(static_cast<size_t>(sum_squares_workspace(count) / 8), std::nan(""));
        must(sum_squares(context, {count, x.data() + shift, &total, workspace.data()}));
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
        a.count = count;
        a.param = new_param.data();
        a.grad = grad.data();
        a.m = new_m.data();
        a.v = new_v.data();
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
      }
    }
  });
}

}  // namespace
}  // namespace firesteel
