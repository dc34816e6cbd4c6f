// gemm on the emulated card. Every element is one chain of fused multiply-adds over k in order, so
// the expected bits are those of the plain loop.
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
