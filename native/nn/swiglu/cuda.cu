#include "nn/swiglu/math.h"
#include "nn/swiglu/swiglu.h"
#include "runtime/cuda/context.h"
#include "runtime/cuda/floats.h"
#include "runtime/cuda/launch.h"
#include "runtime/float_type.h"

namespace firesteel {
namespace {

template <class T>
__global__ void swiglu_kernel(int64_t count, const T* gates, const T* ups, T* ys, bool wide) {
  constexpr int N = kFloats<T>;
  for_floats<N>(count, [&](int64_t i, int64_t left) {
    const Floats<N> gate = load_floats<N>(gates + i, left, wide);
    Floats<N> y = load_floats<N>(ups + i, left, wide);
#pragma unroll
    for (int e = 0; e < N; ++e) y.x[e] = swiglu_value(gate.x[e], y.x[e]);
    store_floats(ys + i, y, left, wide);
  });
}

template <class T>
__global__ void swiglu_backward_kernel(int64_t count, const T* gates, const T* ups, const T* d_ys,
                                       T* d_gates, T* d_ups, bool wide) {
  constexpr int N = kFloats<T>;
  for_floats<N>(count, [&](int64_t i, int64_t left) {
    Floats<N> gate = load_floats<N>(gates + i, left, wide);
    Floats<N> up = load_floats<N>(ups + i, left, wide);
    const Floats<N> d_y = load_floats<N>(d_ys + i, left, wide);
#pragma unroll
    for (int e = 0; e < N; ++e) {
      const SwigluGradient<float> d = swiglu_gradient(gate.x[e], up.x[e], d_y.x[e]);
      gate.x[e] = d.gate;
      up.x[e] = d.up;
    }
    store_floats(d_gates + i, gate, left, wide);
    store_floats(d_ups + i, up, left, wide);
  });
}

}  // namespace

Status swiglu_forward(Context& context, const SwigluArgs& a) {
  return with_float_type(a.dtype, [&](auto t) {
    using T = decltype(t);
    const T *const gate = static_cast<const T*>(a.gate), *const up = static_cast<const T*>(a.up);
    T* const y = static_cast<T*>(a.y);
    return launch(context, "swiglu", floats_shape<kFloats<T>>(context, a.count), swiglu_kernel<T>,
                  a.count, gate, up, y, spans_aligned<T>(0, {gate, up, y}));
  });
}

Status swiglu_backward(Context& context, const SwigluBackwardArgs& a) {
  return with_float_type(a.dtype, [&](auto t) {
    using T = decltype(t);
    const T *const gate = static_cast<const T*>(a.gate), *const up = static_cast<const T*>(a.up);
    const T* const d_y = static_cast<const T*>(a.d_y);
    T *const d_gate = static_cast<T*>(a.d_gate), *const d_up = static_cast<T*>(a.d_up);
    return launch(context, "swiglu_backward", floats_shape<kFloats<T>>(context, a.count),
                  swiglu_backward_kernel<T>, a.count, gate, up, d_y, d_gate, d_up,
                  spans_aligned<T>(0, {gate, up, d_y, d_gate, d_up}));
  });
}

}  // namespace firesteel
