// The element type of a call, from its code to a template argument.
#pragma once
#include "runtime/dtype.h"
#include "runtime/status.h"

namespace firesteel {

inline Status expected_float_type() {
  return Status::error(Code::dtype, "expected f32, bf16 or f16");
}

// call(T{}) for the T that the dtype stands for.
template <class Call>
Status with_float_type(DType dtype, Call call) {
  switch (dtype) {
    case DType::f32:
      return call(float{});
    case DType::bf16:
      return call(bf16{});
    case DType::f16:
      return call(f16{});
    default:
      return expected_float_type();
  }
}

// From this many bytes on; null stays null.
inline const void* offset(const void* p, int64_t bytes) {
  return p == nullptr ? nullptr : static_cast<const char*>(p) + bytes;
}
inline void* offset(void* p, int64_t bytes) {
  return p == nullptr ? nullptr : static_cast<char*>(p) + bytes;
}

}  // namespace firesteel
