// The declarations below restate, from the documentation of the library, the part of its C
// interface that is used here. It is the same in versions 12 and 13.
#include "gemm/cublas_lt.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <map>
#include <tuple>
#include <vector>

namespace firesteel {
namespace {

using Result = int;
constexpr Result kSuccess = 0, kAllocationFailed = 3, kInvalidValue = 7, kNotSupported = 15;

enum DataType : int { kR32F = 0, kR16F = 2, kR16BF = 14 };
enum ComputeType : int { kCompute32F = 68 };
enum Operation : int32_t { kPlain = 0, kTransposed = 1 };
enum DescriptorAttribute : int { kTransposeA = 3, kTransposeB = 4 };
enum PreferenceAttribute : int {
  kWorkspaceBytes = 1,
  kReductionSchemes = 3,
  kAlignmentA = 5,
  kAlignmentB = 6,
  kAlignmentC = 7,
  kAlignmentD = 8,
};
// Parts of K may be added through the workspace, but not by atomics on C.
constexpr uint32_t kOrderedReductions = 2 | 4;

struct Algorithm {
  uint64_t data[8];
};
struct Heuristic {
  Algorithm algorithm;
  size_t workspace_bytes;
  Result state;
  float waves;
  int reserved[4];
};

using Handle = void*;
using Object = void*;  // a descriptor, a layout or a preference

}  // namespace

struct CublasLt::Api {
  void* library = nullptr;
  Result (*create)(Handle*);
  Result (*destroy)(Handle);
  size_t (*version)();
  const char* (*status_name)(Result);
  Result (*descriptor_create)(Object*, ComputeType, DataType scale);
  Result (*descriptor_destroy)(Object);
  Result (*descriptor_set)(Object, DescriptorAttribute, const void*, size_t);
  Result (*layout_create)(Object*, DataType, uint64_t rows, uint64_t columns, int64_t leading);
  Result (*layout_destroy)(Object);
  Result (*preference_create)(Object*);
  Result (*preference_destroy)(Object);
  Result (*preference_set)(Object, PreferenceAttribute, const void*, size_t);
  Result (*heuristic)(Handle, Object descriptor, Object a, Object b, Object c, Object d,
                      Object preference, int wanted, Heuristic* found, int* count);
  Result (*multiply)(Handle, Object descriptor, const void* alpha, const void* a, Object a_layout,
                     const void* b, Object b_layout, const void* beta, const void* c,
                     Object c_layout, void* d, Object d_layout, const Algorithm*, void* workspace,
                     size_t workspace_bytes, void* stream);

  // The name of the first function that the library lacks, or null.
  const char* find() {
    const char* missing = nullptr;
    const auto get = [&](auto* function, const char* name) {
      void* found = dlsym(library, name);
      if (found == nullptr && missing == nullptr) missing = name;
      memcpy(function, &found, sizeof found);
    };
    get(&create, "cublasLtCreate");
    get(&destroy, "cublasLtDestroy");
    get(&version, "cublasLtGetVersion");
    get(&status_name, "cublasLtGetStatusName");
    get(&descriptor_create, "cublasLtMatmulDescCreate");
    get(&descriptor_destroy, "cublasLtMatmulDescDestroy");
    get(&descriptor_set, "cublasLtMatmulDescSetAttribute");
    get(&layout_create, "cublasLtMatrixLayoutCreate");
    get(&layout_destroy, "cublasLtMatrixLayoutDestroy");
    get(&preference_create, "cublasLtMatmulPreferenceCreate");
    get(&preference_destroy, "cublasLtMatmulPreferenceDestroy");
    get(&preference_set, "cublasLtMatmulPreferenceSetAttribute");
    get(&heuristic, "cublasLtMatmulAlgoGetHeuristic");
    get(&multiply, "cublasLtMatmul");
    return missing;
  }

  Status error(Result result, const char* call) const {
    const Code code = result == kAllocationFailed ? Code::out_of_memory
                      : result == kInvalidValue   ? Code::range
                                                  : Code::device_lost;
    return Status::error(code, std::string("matmul: ") + call + " failed: " + status_name(result) +
                                   " (matmul: \"own\" does without cuBLASLt)");
  }
};

// What an algorithm is chosen for. The library thinks in columns: its A is our B, its product is
// the transpose of ours.
struct CublasLt::Shape {
  DataType type;
  int64_t m, n, k;
  Operation a_operation, b_operation;  // of our operands
  int64_t a_leading, b_leading, c_leading;
  uint32_t a_alignment, b_alignment, c_alignment;  // bytes, a power of two up to 256

  auto key() const {
    return std::tie(type, m, n, k, a_operation, b_operation, a_leading, b_leading, c_leading,
                    a_alignment, b_alignment, c_alignment);
  }
  bool operator<(const Shape& other) const { return key() < other.key(); }
};

namespace {

uint32_t alignment_of(const void* p) {
  const uintptr_t bits = reinterpret_cast<uintptr_t>(p) | 256;
  return static_cast<uint32_t>(bits & (~bits + 1));
}

// An operand [outer, k] of ours as a column-major matrix: [outer, k] itself, or [k, outer]
// transposed. False where neither stride is 1.
bool columns_of(int64_t outer, int64_t k, int64_t outer_stride, int64_t k_stride, bool first,
                Operation* operation, int64_t* leading) {
  // Of the library's product, op(A) is [outer, k] and op(B) is [k, outer].
  if (outer_stride == 1 && k_stride >= outer) {
    *operation = first ? kPlain : kTransposed;
    *leading = k_stride;
    return true;
  }
  if (k_stride == 1 && outer_stride >= k) {
    *operation = first ? kTransposed : kPlain;
    *leading = outer_stride;
    return true;
  }
  return false;
}

}  // namespace

// How a shape is multiplied; without a descriptor: not at all.
struct CublasLt::Plans {
  struct Plan {
    Object descriptor = nullptr, a = nullptr, b = nullptr, c = nullptr;
    Algorithm algorithm{};
    size_t workspace_bytes = 0;
  };
  // Training has a few dozen; the bound is for whoever has a new length every step.
  static constexpr size_t kMost = 256;

  const Api& api;
  std::map<Shape, Plan> plans;

  explicit Plans(const Api& of) : api(of) {}
  ~Plans() { clear(); }

  void destroy(const Plan& plan) {
    if (plan.descriptor != nullptr) api.descriptor_destroy(plan.descriptor);
    for (Object layout : {plan.a, plan.b, plan.c}) {
      if (layout != nullptr) api.layout_destroy(layout);
    }
  }
  void clear() {
    for (const auto& entry : plans) destroy(entry.second);
    plans.clear();
  }

  Status describe(const Shape& s, Plan* plan) const {
    const auto u = [](int64_t size) { return static_cast<uint64_t>(size); };
    const bool a_plain = s.a_operation == kPlain, b_plain = s.b_operation == kPlain;
    Result r = api.descriptor_create(&plan->descriptor, kCompute32F, kR32F);
    if (r != kSuccess) return api.error(r, "cublasLtMatmulDescCreate");
    r = api.descriptor_set(plan->descriptor, kTransposeA, &s.b_operation, sizeof s.b_operation);
    if (r == kSuccess) {
      r = api.descriptor_set(plan->descriptor, kTransposeB, &s.a_operation, sizeof s.a_operation);
    }
    if (r != kSuccess) return api.error(r, "cublasLtMatmulDescSetAttribute");
    r = api.layout_create(&plan->b, s.type, u(b_plain ? s.n : s.k), u(b_plain ? s.k : s.n),
                          s.b_leading);
    if (r == kSuccess) {
      r = api.layout_create(&plan->a, s.type, u(a_plain ? s.k : s.m), u(a_plain ? s.m : s.k),
                            s.a_leading);
    }
    if (r == kSuccess) r = api.layout_create(&plan->c, kR32F, u(s.n), u(s.m), s.c_leading);
    if (r != kSuccess) return api.error(r, "cublasLtMatrixLayoutCreate");
    return {};
  }

  // *found stays false where the library has no algorithm.
  Status choose(Handle handle, const Shape& s, uint64_t workspace, Plan* plan, bool* found) const {
    Object preference = nullptr;
    Result r = api.preference_create(&preference);
    if (r != kSuccess) return api.error(r, "cublasLtMatmulPreferenceCreate");
    const auto set = [&](PreferenceAttribute attribute, auto value) {
      if (r == kSuccess) r = api.preference_set(preference, attribute, &value, sizeof value);
    };
    set(kWorkspaceBytes, workspace);
    set(kReductionSchemes, kOrderedReductions);
    set(kAlignmentA, s.b_alignment);
    set(kAlignmentB, s.a_alignment);
    set(kAlignmentC, s.c_alignment);
    set(kAlignmentD, s.c_alignment);
    Heuristic best{};
    int count = 0;
    const char* call = "cublasLtMatmulPreferenceSetAttribute";
    if (r == kSuccess) {
      call = "cublasLtMatmulAlgoGetHeuristic";
      r = api.heuristic(handle, plan->descriptor, plan->b, plan->a, plan->c, plan->c, preference, 1,
                        &best, &count);
    }
    api.preference_destroy(preference);
    if (r == kNotSupported || (r == kSuccess && (count == 0 || best.state != kSuccess))) return {};
    if (r != kSuccess) return api.error(r, call);
    plan->algorithm = best.algorithm;
    plan->workspace_bytes = best.workspace_bytes;
    *found = true;
    return {};
  }

  // The shape's plan, made at its first product.
  Status get(Handle handle, const Shape& s, uint64_t workspace, const Plan** out) {
    const auto known = plans.find(s);
    if (known != plans.end()) {
      *out = &known->second;
      return {};
    }
    if (plans.size() == kMost) clear();
    Plan plan;
    bool found = false;
    Status status = describe(s, &plan);
    if (status.ok()) status = choose(handle, s, workspace, &plan, &found);
    if (!status.ok() || !found) {
      destroy(plan);
      plan = {};
    }
    if (!status.ok()) return status;
    *out = &plans.emplace(s, plan).first->second;
    return {};
  }
};

CublasLt::CublasLt() : api_(new Api{}), plans_(new Plans(*api_)) {}

CublasLt::~CublasLt() {
  plans_.reset();
  if (handle_ != nullptr) api_->destroy(handle_);
  // The library stays loaded: its threads and its hooks on exit may outlive this engine.
}

Status CublasLt::load(const std::string& path) {
  const auto refuse = [&](const std::string& why) {
    return Status::error(Code::no_device, path + ": " + why);
  };
  api_->library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (api_->library == nullptr) {
    const char* why = dlerror();
    return refuse(why == nullptr ? "cannot be opened" : why);
  }
  if (const char* missing = api_->find()) return refuse(std::string("has no ") + missing);
  const Result result = api_->create(&handle_);
  if (result != kSuccess) {
    handle_ = nullptr;
    return refuse(std::string("cublasLtCreate failed: ") + api_->status_name(result));
  }
  const size_t version = api_->version();  // 130102: 13.1.2
  description_ = "cuBLASLt " + std::to_string(version / 10000) + "." +
                 std::to_string(version / 100 % 100) + "." + std::to_string(version % 100) + " (" +
                 path + ")";
  return {};
}

Status CublasLt::open(std::shared_ptr<CublasLt>* out) {
  std::vector<std::string> paths;
  const char* given = getenv("FIRESTEEL_CUBLASLT");
  if (given != nullptr && *given != '\0') {
    paths = {given};
  } else {
#ifdef FIRESTEEL_EMULATED
    return Status::error(Code::no_device,
                         "cuBLASLt does not run on the emulated device (FIRESTEEL_CUBLASLT names a "
                         "library that stands in for it)");
#else
    for (const char* name : {"libcublasLt.so.13", "libcublasLt.so.12"}) {
      paths.push_back(name);
      paths.push_back(std::string("/usr/local/cuda/lib64/") + name);
    }
#endif
  }
  std::string tried;
  for (const std::string& path : paths) {
    std::shared_ptr<CublasLt> library(new CublasLt);
    const Status status = library->load(path);
    if (status.ok()) {
      *out = std::move(library);
      return {};
    }
    tried += (tried.empty() ? "" : "; ") + status.message;
  }
  return Status::error(Code::no_device, "cuBLASLt cannot be used; tried " + tried);
}

void CublasLt::set_workspace(void* data, int64_t bytes) {
  workspace_ = data;
  workspace_bytes_ = static_cast<uint64_t>(bytes);
  plans_->clear();
}

Status CublasLt::multiply(const GemmArgs& g, void* stream, bool* done) {
  *done = false;
  Shape s{};
  s.type = g.a_type == DType::bf16 ? kR16BF : kR16F;
  s.m = g.m;
  s.n = g.n;
  s.k = g.k;
  s.c_leading = g.c_row;
  if (!columns_of(g.n, g.k, g.b_col, g.b_row, true, &s.b_operation, &s.b_leading) ||
      !columns_of(g.m, g.k, g.a_row, g.a_col, false, &s.a_operation, &s.a_leading) ||
      g.c_row < g.n) {
    return {};
  }
  s.a_alignment = alignment_of(g.a);
  s.b_alignment = alignment_of(g.b);
  s.c_alignment = alignment_of(g.c);
  const Plans::Plan* plan = nullptr;
  const Status status = plans_->get(handle_, s, workspace_bytes_, &plan);
  if (!status.ok() || plan->descriptor == nullptr) return status;
  const float alpha = 1.0f, beta = g.accumulate || g.resume ? 1.0f : 0.0f;
  const Result result =
      api_->multiply(handle_, plan->descriptor, &alpha, g.b, plan->b, g.a, plan->a, &beta, g.c,
                     plan->c, g.c, plan->c, &plan->algorithm, workspace_,
                     std::min<size_t>(workspace_bytes_, plan->workspace_bytes), stream);
  if (result != kSuccess) return api_->error(result, "cublasLtMatmul");
  *done = true;
  return {};
}

}  // namespace firesteel
