// The way to cuBLASLt and back, by a library that stands in for it (cublas_lt_double.cc): which
// products it is asked for and how, and what becomes of its errors.
#include "gemm/cublas_lt.h"

#include <dlfcn.h>

#include "cuda_arrays.h"
#include "gemm/gemm.h"
#include "runtime/scalar.h"

namespace firesteel {
namespace {

// What the stand-in tells of itself.
template <class Function>
Function control(const char* name) {
  static void* const library = dlopen(CUBLAS_LT_DOUBLE, RTLD_NOW);
  REQUIRE(library != nullptr);
  return reinterpret_cast<Function>(dlsym(library, name));
}
int count(const char* name) {
  return control<int (*)()>(name)();
}
void fail_next(const char* function, int result) {
  control<void (*)(const char*, int)>("double_fail")(function, result);
}

struct Library {
  explicit Library(const char* path) { setenv("FIRESTEEL_CUBLASLT", path, 1); }
  ~Library() { unsetenv("FIRESTEEL_CUBLASLT"); }
};

struct Engine : Context {
  Engine() {
    const Library path(CUBLAS_LT_DOUBLE);
    MatmulInfo info;
    must(matmul_open(*this, MatmulChoice::cublas, &info));
    CHECK(info.cublas);
    CHECK(info.detail == "cuBLASLt 13.1.2 (" CUBLAS_LT_DOUBLE ")");
    CHECK(info.workspace_bytes == 32 << 20);
  }
};

struct Operands {
  int64_t m, n, k;
  DType type;
  std::vector<uint16_t> a, b;
  Array a_values, b_values;

  Operands(int64_t rows, int64_t columns, int64_t terms, DType dtype)
      : m(rows), n(columns), k(terms), type(dtype) {
    const auto fill = [&](std::vector<uint16_t>* bits, Array* values, int64_t size, uint32_t seed) {
      for (float x : random_array(size, seed)) {
        bits->push_back(type == DType::bf16 ? from_float<bf16>(x).bits : from_float<f16>(x).bits);
        values->push_back(type == DType::bf16 ? to_float(bf16{bits->back()})
                                              : to_float(f16{bits->back()}));
      }
    };
    fill(&a, &a_values, m * k, 1);
    fill(&b, &b_values, k * n, 2);
  }
  // `across`: the stored matrix is the transpose.
  GemmArgs args(bool a_across, bool b_across, float* c, int64_t c_row) const {
    GemmArgs g{};
    g.m = m;
    g.n = n;
    g.k = k;
    g.a = a.data();
    g.b = b.data();
    g.a_row = a_across ? 1 : k;
    g.a_col = a_across ? m : 1;
    g.b_row = b_across ? 1 : n;
    g.b_col = b_across ? k : 1;
    g.a_type = g.b_type = type;
    g.c = c;
    g.c_row = c_row;
    return g;
  }
  Array product(const GemmArgs& g, const Array& old) const {
    Array out;
    for (int64_t i = 0; i < m * n; ++i) {
      float sum = 0.0f;
      for (int64_t p = 0; p < k; ++p) {
        sum += a_values[static_cast<size_t>(i / n * g.a_row + p * g.a_col)] *
               b_values[static_cast<size_t>(p * g.b_row + i % n * g.b_col)];
      }
      out.push_back(old.empty() ? sum : sum + old[static_cast<size_t>(i)]);
    }
    return out;
  }
};

TEST_CASE("every layout, both types, with and without what C holds") {
  Engine engine;
  for (DType type : {DType::bf16, DType::f16}) {
    const Operands x(5, 7, 9, type);
    for (int layout = 0; layout < 4; ++layout) {
      const bool a_across = (layout & 1) != 0, b_across = (layout & 2) != 0;
      for (int keep = 0; keep < 3; ++keep) {
        const Array old = random_array(5 * 7, 3);
        Array c(5 * 10, 8.0f);
        for (size_t i = 0; i < old.size(); ++i) c[i / 7 * 10 + i % 7] = old[i];
        GemmArgs g = x.args(a_across, b_across, c.data(), 10);
        g.accumulate = keep == 1;
        g.resume = keep == 2;
        const int before = count("double_products");
        must(gemm(engine, g));
        CHECK(count("double_products") == before + 1);
        Array got;
        for (size_t i = 0; i < old.size(); ++i) got.push_back(c[i / 7 * 10 + i % 7]);
        CHECK(same_bits(got, x.product(g, keep == 0 ? Array() : old)));
        CHECK(c[7] == 8.0f);  // between the rows
      }
    }
  }
}

TEST_CASE("one search for a shape, one more for another alignment, and a bound on what is kept") {
  Engine engine;
  const Operands x(4, 8, 16, DType::bf16);
  Array c(40);
  const auto multiply = [&](int64_t offset) {
    must(gemm(engine, x.args(false, true, c.data() + offset, 8)));
  };
  const int before = count("double_searches");
  for (int i = 0; i < 3; ++i) multiply(0);
  CHECK(count("double_searches") == before + 1);
  multiply(1);
  CHECK(count("double_searches") == before + 2);
  CHECK(control<uint32_t (*)(int)>("double_alignment")(2) == 4);
  CHECK(control<uint32_t (*)(int)>("double_alignment")(0) >= 16);
  const int open = count("double_open_objects");
  Array wide(4 * 700);
  for (int64_t row = 8; row < 700; ++row) must(gemm(engine, x.args(false, true, wide.data(), row)));
  CHECK(count("double_open_objects") <= open + 4 * 256);
}

TEST_CASE("the workspace is the engine's") {
  Engine engine;
  const Operands x(4, 8, 16, DType::bf16);
  Array c(32);
  must(gemm(engine, x.args(false, false, c.data(), 8)));
  CHECK(control<uint64_t (*)()>("double_workspace")() == 0);
  std::vector<char> workspace(8192);
  matmul_use_workspace(engine, workspace.data(), 8192);
  must(gemm(engine, x.args(false, false, c.data(), 8)));
  CHECK(control<uint64_t (*)()>("double_workspace")() == 8192);
  CHECK(workspace[0] == 1);
  CHECK(workspace[4096] == 0);  // the algorithm asked for less
}

TEST_CASE("what cuBLASLt cannot do is done by the own kernels") {
  Engine engine;
  const int before = count("double_products");
  const Operands narrow(3, 13, 5, DType::bf16);  // no algorithm
  Array c(39);
  const GemmArgs g = narrow.args(false, false, c.data(), 13);
  must(gemm(engine, g));
  CHECK(same_bits(c, narrow.product(g, {})));
  const Operands loose(3, 4, 5, DType::f16);  // no unit stride
  GemmArgs strided = loose.args(false, false, c.data(), 4);
  strided.k = 2;
  strided.a_col = 2;
  must(gemm(engine, strided));
  const Array a = random_array(15, 1), b = random_array(15, 2);  // f32
  GemmArgs plain{};
  plain.m = plain.n = 3;
  plain.k = 5;
  plain.a = a.data();
  plain.b = b.data();
  plain.a_row = plain.b_col = 5;
  plain.a_col = plain.b_row = 1;
  plain.c = c.data();
  plain.c_row = 3;
  must(gemm(engine, plain));
  CHECK(count("double_products") == before);
}

TEST_CASE("an error of the library says which call, which error and what helps") {
  for (const char* call :
       {"cublasLtMatmulDescCreate", "cublasLtMatmulDescSetAttribute", "cublasLtMatrixLayoutCreate",
        "cublasLtMatmulPreferenceCreate", "cublasLtMatmulPreferenceSetAttribute",
        "cublasLtMatmulAlgoGetHeuristic", "cublasLtMatmul"}) {
    Engine engine;
    const Operands x(4, 8, 16, DType::bf16);
    Array c(32);
    fail_next(call, 7);
    const Status status = gemm(engine, x.args(false, false, c.data(), 8));
    CHECK(status.code == Code::range);
    CHECK(status.message == std::string("matmul: ") + call +
                                " failed: CUBLAS_STATUS_INVALID_VALUE (matmul: \"own\" does "
                                "without cuBLASLt)");
    fail_next(call, 3);
    const Status memory = gemm(engine, x.args(false, true, c.data(), 8));
    CHECK(memory.code == Code::out_of_memory);
    must(gemm(engine, x.args(false, false, c.data(), 8)));
  }
}

TEST_CASE("a library that does not open") {
  const auto opened = [](const char* path, MatmulChoice choice, MatmulInfo* info) {
    const Library library(path);
    Context context;
    return matmul_open(context, choice, info);
  };
  MatmulInfo info;
  const Status missing = opened("/nowhere/libcublasLt.so.13", MatmulChoice::cublas, &info);
  CHECK(missing.code == Code::no_device);
  CHECK(missing.message.find("tried /nowhere/libcublasLt.so.13: ") != std::string::npos);
  must(opened("/nowhere/libcublasLt.so.13", MatmulChoice::automatic, &info));
  CHECK(!info.cublas);
  CHECK(info.detail.find("/nowhere/") != std::string::npos);
  const Status other = opened("libm.so.6", MatmulChoice::cublas, &info);
  CHECK(other.message.find("libm.so.6: has no cublasLtCreate") != std::string::npos);
  fail_next("cublasLtCreate", 7);
  const Status refused = opened(CUBLAS_LT_DOUBLE, MatmulChoice::cublas, &info);
  CHECK(refused.message.find("cublasLtCreate failed: CUBLAS_STATUS_INVALID_VALUE") !=
        std::string::npos);
  MatmulInfo own;
  must(opened(CUBLAS_LT_DOUBLE, MatmulChoice::own, &own));
  CHECK(!own.cublas);
  MatmulInfo emulated;
  must(opened("", MatmulChoice::automatic, &emulated));
  CHECK(!emulated.cublas);  // a card's library is not looked for without a card
}

TEST_CASE("everything is given back") {
  const int before = count("double_open_objects");
  {
    Engine engine;
    const Operands x(4, 8, 16, DType::bf16);
    Array c(32);
    must(gemm(engine, x.args(false, false, c.data(), 8)));
    CHECK(count("double_open_objects") > before);
  }
  CHECK(count("double_open_objects") == before);
}

}  // namespace
}  // namespace firesteel
