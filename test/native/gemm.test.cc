// gemm against double loops on awkward shapes, and the promise that an element's bits depend on its
// row, its column and K alone.
#include "gemm/gemm.h"

#include "arrays.h"
#include "every_isa.h"

namespace firesteel {
namespace {

struct Shape {
  int64_t m, n, k;
};

// What fits a 16-bit type.
Array rounded(DType type, Array values) {
  for (float& x : values) x = type == DType::f32 ? x : widen(type, narrow(type, x));
  return values;
}

// Operands in dense [m, k] and [k, n] order; `a_across` and `b_across` lay them out transposed.
struct Product {
  Shape shape;
  bool a_across = false, b_across = false, accumulate = false;
  int64_t gap = 0;  // NaN between rows of a, b and c
  DType a_type = DType::f32, b_type = DType::f32;
  bool resume = false;

  Array run(Context& context, const Array& a, const Array& b, const Array& c) const {
    const auto [m, n, k] = shape;
    Padded in_a = layout(a, m, k, a_across), in_b = layout(b, k, n, b_across);
    Padded out(m, n, n + gap, accumulate || resume ? c : Array(c.size(), kNaN));
    Typed typed_a(in_a, a_type), typed_b(in_b, b_type);
    std::vector<char> workspace(size_t(gemm_workspace(m, n, k, accumulate)));
    GemmArgs g{};
    g.m = m;
    g.n = n;
    g.k = k;
    g.a = typed_a.data();
    g.a_row = a_across ? 1 : in_a.stride;
    g.a_col = a_across ? in_a.stride : 1;
    g.b = typed_b.data();
    g.a_type = a_type;
    g.b_type = b_type;
    g.b_row = b_across ? 1 : in_b.stride;
    g.b_col = b_across ? in_b.stride : 1;
    g.c = out.data();
    g.c_row = out.stride;
    g.accumulate = accumulate;
    g.resume = resume;
    g.workspace = workspace.data();
    REQUIRE(gemm(context, g).ok());
    CHECK(out.intact());
    return out.values();
  }

  Padded layout(const Array& x, int64_t rows, int64_t cols, bool across) const {
    if (!across) return Padded(rows, cols, cols + gap, x);
    Array turned(x.size());
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < cols; ++j) turned[size_t(j * rows + i)] = x[size_t(i * cols + j)];
    }
    return Padded(cols, rows, rows + gap, turned);
  }
};

// Error of one rounding per term of a block and per block, times the sum of absolute terms.
void check_close(const Array& c, const Product& p, const Array& a, const Array& b,
                 const Array& before) {
  const auto [m, n, k] = p.shape;
  const double roundings = double(std::min<int64_t>(k, 256) + k / 256 + 3);
  double worst = 0.0;
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      const double old = p.accumulate ? double{before[size_t(i * n + j)]} : 0.0;
      double sum = old, magnitude = std::fabs(old);
      for (int64_t t = 0; t < k; ++t) {
        const double term = double{a[size_t(i * k + t)]} * double{b[size_t(t * n + j)]};
        sum += term;
        magnitude += std::fabs(term);
      }
      const double off = std::fabs(double{c[size_t(i * n + j)]} - sum);
      worst = std::max(worst, off / (roundings * 0x1p-24 * magnitude + 1e-30));
    }
  }
  CHECK(worst <= 1.0);
}

Array operand(int64_t count, uint32_t seed) {
  return random_array(count, seed);
}

TEST_CASE("products match double loops in every layout") {
  Threads threads(2);
  // 0 and 1; one below and above 6, 12 (tile rows), 8, 16, 32 (tile columns); a block of K and one
  // more; several blocks.
  const int64_t ms[] = {0, 1, 5, 7, 12, 13, 33}, ns[] = {0, 1, 7, 16, 31, 33, 65};
  const int64_t ks[] = {0, 1, 31, 256, 257, 600};
  for (int64_t m : ms) {
    for (int64_t n : ns) {
      for (int64_t k : ks) {
        const Array a = operand(m * k, 1), b = operand(k * n, 2), c = operand(m * n, 3);
        for (int layout = 0; layout < 8; ++layout) {
          Product p{{m, n, k}, (layout & 1) != 0, (layout & 2) != 0, (layout & 4) != 0, 3};
          CAPTURE(m);
          CAPTURE(n);
          CAPTURE(k);
          CAPTURE(layout);
          check_close(p.run(threads, a, b, c), p, a, b, c);
        }
      }
    }
  }
}

TEST_CASE("passes over rows, columns and K add up") {
  Threads threads(2);
  for (Shape shape : {Shape{2100, 37, 1100}, Shape{3, 2100, 300}}) {
    const Array a = operand(shape.m * shape.k, 4), b = operand(shape.k * shape.n, 5);
    const Array c = operand(shape.m * shape.n, 6);
    for (bool accumulate : {false, true}) {
      Product p{shape, false, true, accumulate};
      check_close(p.run(threads, a, b, c), p, a, b, c);
    }
  }
}

TEST_CASE("several passes over K meet several over the columns") {
  Threads threads(2);
  const Shape shape{2010, 2060, 520};  // more than one pass in n and in k
  const auto [m, n, k] = shape;
  const Array a = operand(m * k, 14), b = operand(k * n, 15), c = operand(m * n, 16);
  const Array whole = Product{shape, false, true, true}.run(threads, a, b, c);
  const int64_t cols = n - 2048;  // the last columns alone
  Array part_b, part_c, expected;
  for (int64_t t = 0; t < k; ++t) {
    part_b.insert(part_b.end(), b.begin() + t * n + 2048, b.begin() + (t + 1) * n);
  }
  for (int64_t i = 0; i < m; ++i) {
    part_c.insert(part_c.end(), c.begin() + i * n + 2048, c.begin() + (i + 1) * n);
    expected.insert(expected.end(), whole.begin() + i * n + 2048, whole.begin() + (i + 1) * n);
  }
  const Product p{{m, cols, k}, false, true, true};
  CHECK(same_bits(p.run(threads, a, part_b, part_c), expected));
}

TEST_CASE("an element's bits do not depend on M, N, layout or threads") {
  const Shape shape{97, 131, 700};
  const auto [m, n, k] = shape;
  const Array a = operand(m * k, 7), b = operand(k * n, 8), c = operand(m * n, 9);
  Threads one(1);
  for (bool accumulate : {false, true}) {
    const Array whole = Product{shape, false, false, accumulate}.run(one, a, b, c);
    for (int threads : {2, 3, 7}) {
      Threads several(threads);
      CHECK(same_bits(Product{shape, false, false, accumulate}.run(several, a, b, c), whole));
    }
    for (int layout = 1; layout < 4; ++layout) {
      Product p{shape, (layout & 1) != 0, (layout & 2) != 0, accumulate, 5};
      CHECK(same_bits(p.run(one, a, b, c), whole));
    }
    for (int64_t rows : {1, 2, 11, 12, 25}) {  // the first rows alone: decoding
      const Array head_a(a.begin(), a.begin() + rows * k), head_c(c.begin(), c.begin() + rows * n);
      const Array expected(whole.begin(), whole.begin() + rows * n);
      for (bool across : {false, true}) {
        Product p{{rows, n, k}, false, across, accumulate};
        CHECK(same_bits(p.run(one, head_a, b, head_c), expected));
      }
    }
    for (int64_t first : {1, 17, 100}) {  // the last columns alone
      Array part_b, part_c, expected;
      for (int64_t t = 0; t < k; ++t) {
        part_b.insert(part_b.end(), b.begin() + t * n + first, b.begin() + (t + 1) * n);
      }
      for (int64_t i = 0; i < m; ++i) {
        part_c.insert(part_c.end(), c.begin() + i * n + first, c.begin() + (i + 1) * n);
        expected.insert(expected.end(), whole.begin() + i * n + first, whole.begin() + (i + 1) * n);
      }
      Product p{{m, n - first, k}, false, false, accumulate};
      CHECK(same_bits(p.run(one, a, part_b, part_c), expected));
    }
  }
}

TEST_CASE("16-bit operands give the bits of their widened values") {
  Threads threads(2);
  for (DType type : {DType::bf16, DType::f16}) {
    for (Shape shape : {Shape{1, 1, 1}, Shape{7, 33, 31}, Shape{13, 70, 257}, Shape{50, 95, 600}}) {
      const auto [m, n, k] = shape;
      const Array a = rounded(type, operand(m * k, 20)), b = rounded(type, operand(k * n, 21));
      const Array c = operand(m * n, 22);
      for (int layout = 0; layout < 4; ++layout) {
        Product p{shape, (layout & 1) != 0, (layout & 2) != 0, layout == 3, 3};
        const Array wide = p.run(threads, a, b, c);
        p.b_type = type;
        CHECK(same_bits(p.run(threads, a, b, c), wide));
        p.a_type = type;
        CHECK(same_bits(p.run(threads, a, b, c), wide));
      }
    }
  }
}

TEST_CASE("A is f32 or as B") {
  Threads threads(1);
  GemmArgs g{};
  g.a_type = DType::bf16;
  CHECK(gemm(threads, g).code == Code::dtype);
  g.b_type = DType::f16;
  CHECK(gemm(threads, g).code == Code::dtype);
  g.a_type = g.b_type = DType::f64;
  CHECK(gemm(threads, g).code == Code::dtype);
}

// Columns first .. first + width - 1 of x [rows, columns].
Array columns_of(const Array& x, int64_t columns, int64_t first, int64_t width) {
  Array out;
  for (size_t row = 0; row < x.size(); row += size_t(columns)) {
    const auto at = x.begin() + int64_t(row) + first;
    out.insert(out.end(), at, at + width);
  }
  return out;
}

TEST_CASE("resumed products over parts of K are one product over all of it") {
  Threads threads(2);
  const Shape shape{37, 70, 1100};
  const auto [m, n, k] = shape;
  const Array a = operand(m * k, 23), b = operand(k * n, 24), c = operand(m * n, 25);
  const Array whole = Product{shape}.run(threads, a, b, c);
  for (int64_t step : {256, 512, 768}) {
    Array sum(size_t(m * n), kNaN);
    for (int64_t first = 0; first < k; first += step) {
      const int64_t terms = std::min(step, k - first);
      Product part{{m, n, terms}};
      part.resume = first > 0;
      const Array part_b(b.begin() + first * n, b.begin() + (first + terms) * n);
      sum = part.run(threads, columns_of(a, k, first, terms), part_b, sum);
    }
    CHECK(same_bits(sum, whole));
  }
  Product nothing{{m, n, 0}};
  nothing.resume = true;
  CHECK(same_bits(nothing.run(threads, {}, {}, c), c));
}

TEST_CASE("NaN in one row and one column stays there") {
  const Shape shape{29, 45, 70};
  const auto [m, n, k] = shape;
  Array a = operand(m * k, 10), b = operand(k * n, 11);
  Threads threads(1);
  const Product p{shape};
  const Array clean = p.run(threads, a, b, Array(size_t(m * n)));
  a[size_t(13 * k + 5)] = kNaN;
  b[size_t(7 * n + 20)] = kInfinity;
  const Array spoilt = p.run(threads, a, b, Array(size_t(m * n)));
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      const size_t at = size_t(i * n + j);
      if (i == 13 || j == 20) {
        CHECK(!std::isfinite(spoilt[at]));
      } else {
        CHECK(spoilt[at] == clean[at]);
      }
    }
  }
}

}  // namespace
}  // namespace firesteel
