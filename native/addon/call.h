// One kernel call from JavaScript: unpacks positional arguments, keeps the first error, enqueues.
// TypeScript has validated shapes and options and says what is wrong in its own words; what is
// checked here is that no argument reaches outside of its tensor.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "addon/handles.h"
#include "runtime/fault.h"

namespace firesteel {

template <class T>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<float>() {
  return DType::f32;
}
template <>
constexpr DType dtype_of<double>() {
  return DType::f64;
}
template <>
constexpr DType dtype_of<int32_t>() {
  return DType::i32;
}
template <>
constexpr DType dtype_of<uint8_t>() {
  return DType::u8;
}

class Call {
 public:
  // Argument 0 is the engine.
  Call(napi_env env, napi_callback_info info, const char* name);

  // The next argument is an array of numbers: integers, numbers and flags are taken from it until
  // it is used up. One look at an array instead of one at each of dozens of arguments.
  void scalars();
  int64_t integer();
  double number();
  float real() { return static_cast<float>(number()); }
  bool flag();
  DType dtype();

  // Tensors of at least `count` elements of the dtype. An input may be null where `_or_null` says
  // so.
  const void* input(DType dtype, int64_t count) { return access(dtype, count, true, false, false); }
  void* output(DType dtype, int64_t count) { return access(dtype, count, false, true, false); }
  void* update(DType dtype, int64_t count) { return access(dtype, count, true, true, false); }
  const void* input_or_null(DType dtype, int64_t count) {
    return access(dtype, count, true, false, true);
  }
  template <class T>
  const T* input(int64_t count) {
    return static_cast<const T*>(input(dtype_of<T>(), count));
  }
  template <class T>
  const T* input_or_null(int64_t count) {
    return static_cast<const T*>(access(dtype_of<T>(), count, true, false, true));
  }
  template <class T>
  T* output(int64_t count) {
    return static_cast<T*>(output(dtype_of<T>(), count));
  }
  template <class T>
  T* output_or_null(int64_t count) {
    return static_cast<T*>(access(dtype_of<T>(), count, false, true, true));
  }
  template <class T>
  T* update(int64_t count) {
    return static_cast<T*>(update(dtype_of<T>(), count));
  }
  template <class T>
  T* update_or_null(int64_t count) {
    return static_cast<T*>(access(dtype_of<T>(), count, true, true, true));
  }

  // Refuses a call of which one optional argument is given and the other that goes with it is not.
  void together(const void* one, const void* other);
  // A scalar temperature, as kernels take it where no tensor of temperatures is given.
  void check_temperature(float scalar, const float* temperatures);

  // Alive until the call has run; one a call. Calls that are queued share it, so that it stays in
  // the caches and a long queue holds no more than one.
  void* workspace(int64_t bytes);
  FaultWord* faults();  // reported by the first read of any output

  bool failed() const { return !status_.ok(); }
  // `cost`: bytes touched, or what takes as long: decides whether the call may run on the caller.
  napi_value enqueue(int64_t cost, std::function<Status(Context&)> run);

 private:
  napi_value next();
  bool packed(double* value);
  void fail(Code code, const std::string& message);
  void* access(DType dtype, int64_t count, bool reads, bool writes, bool optional);
  std::string position() const { return "argument " + std::to_string(at_ - 1); }

  static constexpr size_t kMaxArguments = 80;  // a merge of 64 shards has 72
  napi_env env_;
  napi_value arguments_[kMaxArguments];
  size_t given_ = kMaxArguments, at_ = 0;
  const double *scalar_ = nullptr,
               *scalars_end_ = nullptr;  // read before any JavaScript runs again
  std::shared_ptr<EngineState> engine_;
  Status status_;
  FaultWord* fault_word_ = nullptr;
  bool has_workspace_ = false;
  Task task_;
};

}  // namespace firesteel
