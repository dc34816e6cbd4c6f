// gemm on the emulated card. Every element is one chain over k in order, so the expected bits are
// those of the plain loop: of fused multiply-adds, and of the emulator's tensor cores too, where
// products of 16-bit operands are exact.
#include "cuda_arrays.h"
#include "gemm/gemm.h"
#include "runtime/scalar.h"

namespace firesteel {
namespace {

struct Product {
  int64_t m, n, k;
  bool a_across, b_across, accumulate;
  int shift;  // elements by which operands miss a boundary of 16 bytes
  DType a_type = DType::f32, b_type = DType::f32;
  bool resume = false;
  bool split_in_two = false;
};

uint16_t narrow_to(DType type, float x) {
  return type == DType::bf16 ? from_float<bf16>(x).bits : from_float<f16>(x).bits;
}

// What fits a 16-bit type.
Array rounded(DType type, Array values) {
  for (float& x : values) {
    const uint16_t bits = narrow_to(type, x);
    if (type == DType::bf16) x = to_float(bf16{bits});
    if (type == DType::f16) x = to_float(f16{bits});
  }
  return values;
}

// Memory of floats as memory of a type.
std::vector<uint16_t> narrowed(DType type, const Array& memory) {
  std::vector<uint16_t> out;
  for (float x : memory) out.push_back(narrow_to(type, x));
  return out;
}

// `values` [rows, columns] as they lie in memory: transposed or not, `shift` floats off.
Array laid_out(const Array& values, int64_t rows, int64_t columns, bool across, int shift) {
  Array memory(static_cast<size_t>(shift), kNaN);
  for (int64_t i = 0; i < rows * columns; ++i) {
    memory.push_back(values[static_cast<size_t>(across ? i % rows * columns + i / rows : i)]);
  }
  return memory;
}

Array multiply(Context& context, const Product& p, const Array& a, const Array& b, const Array& c) {
  const Array a_memory = laid_out(a, p.m, p.k, p.a_across, p.shift);
  const Array b_memory = laid_out(b, p.k, p.n, p.b_across, p.shift);
  const std::vector<uint16_t> a_half = narrowed(p.a_type, a_memory);
  const std::vector<uint16_t> b_half = narrowed(p.b_type, b_memory);
  const int64_t c_row = p.n + p.shift;
  Array c_memory(static_cast<size_t>(p.m * c_row), kNaN);
  for (int64_t i = 0; i < p.m * p.n; ++i) {
    c_memory[static_cast<size_t>(i / p.n * c_row + i % p.n)] = c[static_cast<size_t>(i)];
  }
  GemmArgs g{};
  g.m = p.m;
  g.n = p.n;
  g.k = p.k;
  g.a_type = p.a_type;
  g.b_type = p.b_type;
  g.a = a_memory.data() + p.shift;
  if (p.a_type != DType::f32) g.a = a_half.data() + p.shift;
  g.a_row = p.a_across ? 1 : p.k;
  g.a_col = p.a_across ? p.m : 1;
  g.b = b_memory.data() + p.shift;
  if (p.b_type != DType::f32) g.b = b_half.data() + p.shift;
  g.b_row = p.b_across ? 1 : p.n;
  g.b_col = p.b_across ? p.k : 1;
  g.c = c_memory.data();
  g.c_row = c_row;
  g.accumulate = p.accumulate;
  g.resume = p.resume;
  g.split_in_two = p.split_in_two;
  must(gemm(context, g));
  Array out;
  for (int64_t i = 0; i < p.m * c_row; ++i) {
    if (i % c_row < p.n) {
      out.push_back(c_memory[static_cast<size_t>(i)]);
    } else {
      CHECK(std::isnan(c_memory[static_cast<size_t>(i)]));
    }
  }
  return out;
}

Array plain(const Product& p, const Array& a, const Array& b, const Array& c) {
  Array out;
  for (int64_t i = 0; i < p.m * p.n; ++i) {
    float sum = p.resume ? c[static_cast<size_t>(i)] : 0.0f;
    for (int64_t t = 0; t < p.k; ++t) {
      sum = std::fma(a[static_cast<size_t>(i / p.n * p.k + t)],
                     b[static_cast<size_t>(t * p.n + i % p.n)], sum);
    }
    out.push_back(p.accumulate ? c[static_cast<size_t>(i)] + sum : sum);
  }
  return out;
}

void check(Context& context, const Product& p) {
  const DType type = p.b_type;
  const Array a = rounded(type, random_array(p.m * p.k, 1));
  const Array b = rounded(type, random_array(p.k * p.n, 2));
  const Array c = random_array(p.m * p.n, 3);
  CAPTURE(p.m);
  CAPTURE(p.n);
  CAPTURE(p.k);
  CHECK(same_bits(multiply(context, p, a, b, c), plain(p, a, b, c)));
}

TEST_CASE("products in every layout, at every alignment") {
  Context context;
  context.sm_count = 4;
  // Both sides of a flat tile's 16 rows and of every tile's edge; k: none, a part of a slice, one
  // and a bit, several.
  for (int64_t m : {0, 1, 16, 17, 65}) {
    for (int64_t n : {0, 1, 31, 64, 68}) {
      for (int64_t k : {0, 1, 16, 33}) {
        for (int layout = 0; layout < 8; ++layout) {
          const bool a_across = (layout & 1) != 0, b_across = (layout & 2) != 0;
          check(context, {m, n, k, a_across, b_across, (layout & 4) != 0, layout % 3});
        }
      }
    }
  }
}

TEST_CASE("large tiles") {
  Context context;
  context.sm_count = 1;
  for (int layout = 0; layout < 8; ++layout) {
    check(context, {129, 132, 20, (layout & 1) != 0, (layout & 2) != 0, (layout & 4) != 0, 0});
  }
  check(context, {257, 31, 9, false, true, false, 1});
}

TEST_CASE("16-bit operands, at every alignment") {
  Context context;
  context.sm_count = 4;
  for (DType type : {DType::bf16, DType::f16}) {
    for (DType a_type : {DType::f32, type}) {
      for (int layout = 0; layout < 4; ++layout) {
        const bool a_across = (layout & 1) != 0, b_across = (layout & 2) != 0;
        check(context, {5, 67, 33, a_across, b_across, false, layout % 3, a_type, type});
        check(context, {66, 64, 20, a_across, b_across, true, layout % 2 * 2, a_type, type});
      }
      context.sm_count = 1;
      check(context, {129, 132, 20, false, true, false, 0, a_type, type});
      context.sm_count = 4;
    }
  }
}

constexpr int kTensorSizes = 3;  // both tiles, and the small one again for few rows
void check_tensor(Context& context, DType type, int layout, bool accumulate, bool resume) {
  const bool a_across = (layout & 1) != 0, b_across = (layout & 2) != 0;
  const int shift = layout % 3 == 2 ? 1 : 0;
  const int64_t m[kTensorSizes] = {150, 70, 3}, n[kTensorSizes] = {264, 88, 72};
  // Fewer slices than stages, as many, more; the last one whole or not.
  const int64_t k[kTensorSizes] = {200, 64 * 6, 8};
  for (int i = 0; i < kTensorSizes; ++i) {
    context.sm_count = i == 0 ? 4 : 32;
    check(context, {m[i], n[i], k[i], a_across, b_across, accumulate, shift, type, type, resume});
  }
}

TEST_CASE("tensor cores: every tile, layout and alignment") {
  Context context;
  for (int layout = 0; layout < 4; ++layout) {
    check_tensor(context, DType::bf16, layout, layout % 2 == 0, false);
    check_tensor(context, DType::f16, layout, false, layout % 2 == 1);
  }
  // A card with too little shared memory for the large tile.
  context.sm_count = 4;
  context.shared_bytes = size_t{99} << 10;
  check(context, {150, 264, 40, false, true, false, 0, DType::bf16, DType::bf16});
}

TEST_CASE("tensor cores: any order of threads") {
  in_every_order([](Context& context) {
    check(context, {150, 264, 264, false, true, false, 0, DType::bf16, DType::bf16});
    context.sm_count = 32;
    check(context, {66, 70, 330, true, false, true, 0, DType::f16, DType::f16});
    check(context, {66, 70, 130, true, false, true, 1, DType::f32, DType::bf16});
  });
}

TEST_CASE("tensor cores: operands with no unit stride") {
  Context context;
  for (int sms : {4, 64}) {
    context.sm_count = sms;
    const int64_t m = 70, n = 130, k = 40;
    const Array a = rounded(DType::bf16, random_array(m * k * 6, 1));
    const Array b = rounded(DType::bf16, random_array(n * k * 6, 2));
    const std::vector<uint16_t> x = narrowed(DType::bf16, a), y = narrowed(DType::bf16, b);
    Array c(static_cast<size_t>(m * n)), want;
    GemmArgs g{};
    g.m = m;
    g.n = n;
    g.k = k;
    g.a_type = g.b_type = DType::bf16;
    g.a = x.data();
    g.b = y.data();
    g.a_row = 3;
    g.a_col = 2 * 3 * m;
    g.b_row = 2;
    g.b_col = 3 * 2 * k;
    g.c = c.data();
    g.c_row = n;
    must(gemm(context, g));
    for (int64_t i = 0; i < m * n; ++i) {
      float sum = 0.0f;
      for (int64_t p = 0; p < k; ++p) {
        sum += a[static_cast<size_t>(i / n * g.a_row + p * g.a_col)] *
               b[static_cast<size_t>(p * g.b_row + i % n * g.b_col)];
      }
      want.push_back(sum);
    }
    CHECK(same_bits(c, want));
  }
}

// Floats times bf16, in three parts: what the additions cost; in two also 2^-16 of every |a b|.
TEST_CASE("tensor cores: floats are split into two parts or three") {
  Context context;
  for (int run = 0; run < 4; ++run) {
    const bool two = run % 2 == 0;
    context.sm_count = run < 2 ? 4 : 64;
    for (int layout = run % 2; layout < 4; layout += 2 - run % 2) {
      const bool a_across = (layout & 1) != 0, b_across = (layout & 2) != 0;
      const int shift = layout % 3 == 2 ? 1 : 0;
      Product p{140, 130, 210, a_across, b_across, false, shift, DType::f32, DType::bf16};
      p.split_in_two = two;
      Array a = random_array(p.m * p.k, 1);
      for (size_t i = 0; i < a.size(); i += 7) a[i] *= i % 2 == 0 ? 1e-20f : 1e20f;
      const Array b = rounded(DType::bf16, random_array(p.k * p.n, 2));
      const Array c = multiply(context, p, a, b, Array(static_cast<size_t>(p.m * p.n)));
      double worst = 0.0;
      for (int64_t i = 0; i < p.m * p.n; ++i) {
        double sum = 0.0, size = 0.0;
        for (int64_t t = 0; t < p.k; ++t) {
          const double product = static_cast<double>(a[static_cast<size_t>(i / p.n * p.k + t)]) *
                                 static_cast<double>(b[static_cast<size_t>(t * p.n + i % p.n)]);
          sum += product;
          size += std::fabs(product);
        }
        const double off = std::fabs(static_cast<double>(c[static_cast<size_t>(i)]) - sum);
        const double sums = (two ? 2.0 : 3.0) * static_cast<double>(p.k) * kEpsilon;
        worst = std::max(worst, off / (size * (sums + (two ? 0x1p-16 : 0.0))));
      }
      CHECK(worst <= 1.0);
    }
  }
}

TEST_CASE("tensor cores: infinite floats stay infinite") {
  Context context;
  const Product p{1, 1, 3, false, false, false, 0, DType::f32, DType::bf16};
  const Array zero{0.0f};
  CHECK(multiply(context, p, {1.0f, kInfinity, 2.0f}, {1.0f, 1.0f, 1.0f}, zero)[0] == kInfinity);
  const float large = multiply(context, p, {1.0f, -3.4e38f, 2.0f}, {1.0f, 1.0f, 1.0f}, zero)[0];
  CHECK(large == -3.4e38f);
  Array nan{1.0f, kNaN, 2.0f};
  const uint32_t low_payload = 0x7f800001u;  // whose upper half alone is an infinity
  std::memcpy(&nan[1], &low_payload, sizeof low_payload);
  CHECK(std::isnan(multiply(context, p, nan, {1.0f, 1.0f, 1.0f}, zero)[0]));
}

// What training and decoding rely on: neither the other rows and columns nor the tile show, and
// parts of K that are whole blocks go on where the last one ended.
TEST_CASE("tensor cores: bits depend on row, column and K alone") {
  Context context;
  const int64_t m = 140, n = 300, k = 2 * kGemmBlock + 24;
  for (DType a_type : {DType::bf16, DType::f32}) {
    const Array a = random_array(m * k, 1), b = random_array(k * n, 2);
    const std::vector<uint16_t> x = narrowed(DType::bf16, a), y = narrowed(DType::bf16, b);
    const auto product = [&](int sms, int64_t row, int64_t rows, int64_t column, int64_t columns,
                             const std::vector<int64_t>& cuts) {
      context.sm_count = sms;
      Array c(static_cast<size_t>(rows * columns), kNaN);
      for (size_t i = 0; i + 1 < cuts.size(); ++i) {
        GemmArgs g{};
        g.m = rows;
        g.n = columns;
        g.k = cuts[i + 1] - cuts[i];
        g.a_type = a_type;
        g.b_type = DType::bf16;
        const int64_t at = row * k + cuts[i];
        g.a = a_type == DType::f32 ? static_cast<const void*>(a.data() + at) : x.data() + at;
        g.a_row = k;
        g.a_col = 1;
        g.b = y.data() + cuts[i] * n + column;
        g.b_row = n;
        g.b_col = 1;
        g.c = c.data();
        g.c_row = columns;
        g.resume = i > 0;
        must(gemm(context, g));
      }
      return c;
    };
    const Array whole = product(4, 0, m, 0, n, {0, k});
    CHECK(same_bits(product(64, 0, m, 0, n, {0, k}), whole));
    CHECK(same_bits(product(4, 0, m, 0, n, {0, kGemmBlock, 2 * kGemmBlock, k}), whole));
    const Array one = product(64, 137, 1, 0, n, {0, k});
    CHECK(same_bits(one, Array(whole.begin() + 137 * n, whole.begin() + 138 * n)));
    const Array some = product(64, 3, 1, 37, 9, {0, kGemmBlock, k});
    CHECK(same_bits(some, Array(whole.begin() + 3 * n + 37, whole.begin() + 3 * n + 46)));
  }
}

TEST_CASE("A is f32 or as B") {
  Context context;
  GemmArgs g{};
  g.a_type = DType::bf16;
  CHECK(gemm(context, g).code == Code::dtype);
  g.b_type = DType::f16;
  CHECK(gemm(context, g).code == Code::dtype);
  g.a_type = g.b_type = DType::f64;
  CHECK(gemm(context, g).code == Code::dtype);
}

TEST_CASE("a resumed product goes on with the chain that C holds") {
  Context context;
  context.sm_count = 1;
  for (int64_t m : {5, 66, 130}) {
    check(context, {m, 70, 17, true, false, false, 1, DType::f32, DType::f32, true});
    check(context, {m, 68, 0, false, true, false, 0, DType::f32, DType::f32, true});
  }
}

TEST_CASE("products do not depend on the order of threads") {
  in_every_order([](Context& context) {
    check(context, {5, 70, 33, false, true, false, 0});
    check(context, {66, 70, 33, false, true, true, 0});
    context.sm_count = 1;
    check(context, {130, 130, 17, true, false, false, 0});
  });
}

TEST_CASE("NaN stays in its row and column") {
  Context context;
  const Product p{40, 40, 20, false, false, false, 0};
  Array a = random_array(p.m * p.k, 1), b = random_array(p.k * p.n, 2);
  const Array zero(static_cast<size_t>(p.m * p.n));
  const Array clean = multiply(context, p, a, b, zero);
  a[13 * 20 + 5] = kNaN;
  b[7 * 40 + 20] = kInfinity;
  const Array spoilt = multiply(context, p, a, b, zero);
  for (size_t i = 0; i < spoilt.size(); ++i) {
    const bool hit = i / 40 == 13 || i % 40 == 20;
    CHECK((hit ? !std::isfinite(spoilt[i]) : spoilt[i] == clean[i]));
  }
}

}  // namespace
}  // namespace firesteel
