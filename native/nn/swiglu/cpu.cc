#include "nn/swiglu/swiglu.h"
#include "nn/swiglu/table.h"
#include "runtime/cpu/context.h"
#include "runtime/simd/dispatch.h"

namespace firesteel {

FIRESTEEL_DISPATCH(SwigluTable, swiglu_table)

namespace {

constexpr int64_t kGrain = 1 << 14;  // elements: about 20 us of exp

}  // namespace

Status swiglu_forward(Context& context, const SwigluArgs& a) {
  return context.parallel(a.count, kGrain, [&](int64_t begin, int64_t end) {
    swiglu_table().forward(end - begin, a.gate + begin, a.up + begin, a.y + begin);
  });
}

Status swiglu_backward(Context& context, const SwigluBackwardArgs& a) {
  return context.parallel(a.count, kGrain, [&](int64_t begin, int64_t end) {
    swiglu_table().backward(end - begin, a.gate + begin, a.up + begin, a.d_y + begin,
                            a.d_gate + begin, a.d_up + begin);
  });
}

}  // namespace firesteel
