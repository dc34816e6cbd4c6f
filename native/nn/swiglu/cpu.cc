#include "nn/swiglu/swiglu.h"

#include "nn/swiglu/table.h"
#include "runtime/cpu/context.h"
#include "runtime/float_type.h"
#include "runtime/simd/dispatch.h"

namespace firesteel {

FIRESTEEL_DISPATCH(SwigluTable, swiglu_table)

namespace {

constexpr int64_t kGrain = 1 << 14;  // elements: about 20 us of exp

}  // namespace

Status swiglu_forward(Context& context, const SwigluArgs& a) {
  if (a.dtype > DType::f16) return expected_float_type();
  const auto forward = swiglu_table().forward[static_cast<int>(a.dtype)];
  return context.parallel(a.count, kGrain, [&](int64_t begin, int64_t end) {
    const int64_t at = begin * size_of(a.dtype);
    forward(end - begin, offset(a.gate, at), offset(a.up, at), offset(a.y, at));
  });
}

Status swiglu_backward(Context& context, const SwigluBackwardArgs& a) {
  if (a.dtype > DType::f16) return expected_float_type();
  const auto backward = swiglu_table().backward[static_cast<int>(a.dtype)];
  return context.parallel(a.count, kGrain, [&](int64_t begin, int64_t end) {
    const int64_t at = begin * size_of(a.dtype);
    backward(end - begin, offset(a.gate, at), offset(a.up, at), offset(a.d_y, at),
             offset(a.d_gate, at), offset(a.d_up, at));
  });
}

}  // namespace firesteel
