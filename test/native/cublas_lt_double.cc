// A library with the interface of cuBLASLt that multiplies by plain loops in host memory, which is
// the emulated device's. It keeps what it was asked for, and fails where a test tells it to.
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <string>

namespace {

struct Descriptor {
  int compute, scale;
  int32_t a_operation = 0, b_operation = 0;
};
struct Layout {
  int type;
  uint64_t rows, columns;
  int64_t leading;
};
struct Preference {
  uint64_t workspace_bytes = 0;
  uint32_t reductions = 0, alignment[4] = {};
};
struct Heuristic {
  uint64_t algorithm[8];
  size_t workspace_bytes;
  int state;
  float waves;
  int reserved[4];
};

constexpr uint64_t kAlgorithm = 0x5eed;
constexpr size_t kWorkspace = 4096;
constexpr int kInvalid = 7, kNotSupported = 15;

std::string failing;  // the function that fails next
int failure = 0;
int open_objects = 0, searches = 0, products = 0;
Preference last_preference;

bool fails(const char* function, int* result) {
  if (failing != function) return false;
  failing.clear();
  *result = failure;
  return true;
}

float element(const void* data, int type, uint64_t i) {
  if (type == 0) return static_cast<const float*>(data)[i];
  const uint16_t bits = static_cast<const uint16_t*>(data)[i];
  if (type == 14) {
    const uint32_t wide = static_cast<uint32_t>(bits) << 16;
    float x;
    memcpy(&x, &wide, sizeof x);
    return x;
  }
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  float x = static_cast<float>(exponent == 0 ? fraction : fraction + 1024);
  for (int e = exponent == 0 ? 1 : exponent; e < 25; ++e) x /= 2.0f;
  for (int e = 25; e < exponent; ++e) x *= 2.0f;
  return bits >> 15 != 0 ? -x : x;
}

}  // namespace

#define FAIL_IF_TOLD(function) \
  int told = 0;                \
  if (fails(function, &told)) return told;

extern "C" {

void double_fail(const char* function, int result) {
  failing = function;
  failure = result;
}
int double_open_objects() {
  return open_objects;
}
int double_searches() {
  return searches;
}
int double_products() {
  return products;
}
uint64_t double_workspace() {
  return last_preference.workspace_bytes;
}
uint32_t double_alignment(int operand) {
  return last_preference.alignment[operand];
}

size_t cublasLtGetVersion() {
  return 130102;
}
const char* cublasLtGetStatusName(int status) {
  return status == kInvalid ? "CUBLAS_STATUS_INVALID_VALUE" : "CUBLAS_STATUS_OTHER";
}
int cublasLtCreate(void** handle) {
  FAIL_IF_TOLD("cublasLtCreate")
  *handle = new int(0);
  ++open_objects;
  return 0;
}
int cublasLtDestroy(void* handle) {
  delete static_cast<int*>(handle);
  --open_objects;
  return 0;
}
int cublasLtMatmulDescCreate(void** descriptor, int compute, int scale) {
  FAIL_IF_TOLD("cublasLtMatmulDescCreate")
  *descriptor = new Descriptor{compute, scale};
  ++open_objects;
  return 0;
}
int cublasLtMatmulDescDestroy(void* descriptor) {
  delete static_cast<Descriptor*>(descriptor);
  --open_objects;
  return 0;
}
int cublasLtMatmulDescSetAttribute(void* descriptor, int attribute, const void* value,
                                   size_t bytes) {
  FAIL_IF_TOLD("cublasLtMatmulDescSetAttribute")
  if ((attribute != 3 && attribute != 4) || bytes != sizeof(int32_t)) return kInvalid;
  Descriptor* d = static_cast<Descriptor*>(descriptor);
  memcpy(attribute == 3 ? &d->a_operation : &d->b_operation, value, bytes);
  return 0;
}
int cublasLtMatrixLayoutCreate(void** layout, int type, uint64_t rows, uint64_t columns,
                               int64_t leading) {
  FAIL_IF_TOLD("cublasLtMatrixLayoutCreate")
  if (leading < static_cast<int64_t>(rows)) return kInvalid;
  *layout = new Layout{type, rows, columns, leading};
  ++open_objects;
  return 0;
}
int cublasLtMatrixLayoutDestroy(void* layout) {
  delete static_cast<Layout*>(layout);
  --open_objects;
  return 0;
}
int cublasLtMatmulPreferenceCreate(void** preference) {
  FAIL_IF_TOLD("cublasLtMatmulPreferenceCreate")
  *preference = new Preference;
  ++open_objects;
  return 0;
}
int cublasLtMatmulPreferenceDestroy(void* preference) {
  delete static_cast<Preference*>(preference);
  --open_objects;
  return 0;
}
int cublasLtMatmulPreferenceSetAttribute(void* preference, int attribute, const void* value,
                                         size_t bytes) {
  FAIL_IF_TOLD("cublasLtMatmulPreferenceSetAttribute")
  Preference* p = static_cast<Preference*>(preference);
  void* to = attribute == 1                     ? static_cast<void*>(&p->workspace_bytes)
             : attribute == 3                   ? static_cast<void*>(&p->reductions)
             : attribute >= 5 && attribute <= 8 ? static_cast<void*>(&p->alignment[attribute - 5])
                                                : nullptr;
  if (to == nullptr || bytes != (attribute == 1 ? sizeof(uint64_t) : sizeof(uint32_t))) {
    return kInvalid;
  }
  memcpy(to, value, bytes);
  return 0;
}

// Has no algorithm for products 13 columns wide.
int cublasLtMatmulAlgoGetHeuristic(void*, void*, void*, void*, void*, void* d, void* preference,
                                   int wanted, Heuristic* found, int* count) {
  FAIL_IF_TOLD("cublasLtMatmulAlgoGetHeuristic")
  ++searches;
  last_preference = *static_cast<Preference*>(preference);
  if (wanted != 1 || (last_preference.reductions & 1) != 0) return kInvalid;
  *count = 0;
  if (static_cast<Layout*>(d)->rows == 13) return kNotSupported;
  *found = {};
  found->algorithm[0] = kAlgorithm;
  found->workspace_bytes = last_preference.workspace_bytes < kWorkspace ? 0 : kWorkspace;
  *count = 1;
  return 0;
}

int cublasLtMatmul(void*, void* descriptor, const void* alpha, const void* a, void* a_layout,
                   const void* b, void* b_layout, const void* beta, const void* c, void* c_layout,
                   void* d, void* d_layout, const uint64_t* algorithm, void* workspace,
                   size_t workspace_bytes, void*) {
  FAIL_IF_TOLD("cublasLtMatmul")
  const Descriptor& x = *static_cast<Descriptor*>(descriptor);
  const Layout &la = *static_cast<Layout*>(a_layout), &lb = *static_cast<Layout*>(b_layout),
               &lc = *static_cast<Layout*>(c_layout);
  if (x.compute != 68 || x.scale != 0 || algorithm[0] != kAlgorithm || c != d ||
      c_layout != d_layout || lc.type != 0 || la.type != lb.type) {
    return kInvalid;
  }
  const uint64_t k = x.a_operation != 0 ? la.rows : la.columns;
  if ((x.a_operation != 0 ? la.columns : la.rows) != lc.rows ||
      (x.b_operation != 0 ? lb.rows : lb.columns) != lc.columns ||
      (x.b_operation != 0 ? lb.columns : lb.rows) != k) {
    return kInvalid;
  }
  if (workspace_bytes > 0) memset(workspace, 1, workspace_bytes);
  const auto at = [](int32_t transposed, const Layout& l, uint64_t row, uint64_t column) {
    const uint64_t leading = static_cast<uint64_t>(l.leading);
    return transposed != 0 ? column + row * leading : row + column * leading;
  };
  float scale, old;
  memcpy(&scale, alpha, sizeof scale);
  memcpy(&old, beta, sizeof old);
  for (uint64_t j = 0; j < lc.columns; ++j) {
    for (uint64_t i = 0; i < lc.rows; ++i) {
      float sum = 0.0f;
      for (uint64_t p = 0; p < k; ++p) {
        sum += element(a, la.type, at(x.a_operation, la, i, p)) *
               element(b, lb.type, at(x.b_operation, lb, p, j));
      }
      float* to = static_cast<float*>(d) + at(0, lc, i, j);
      *to = old == 0.0f ? scale * sum : scale * sum + old * *to;
    }
  }
  ++products;
  return 0;
}

}  // extern "C"
