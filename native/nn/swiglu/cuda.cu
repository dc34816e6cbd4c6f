#include "nn/swiglu/math.h"
#include "nn/swiglu/swiglu.h"
#include "runtime/cuda/context.h"
#include "runtime/cuda/launch.h"
#include "runtime/cuda/pack.h"

namespace firesteel {
namespace {

__global__ void swiglu_kernel(SwigluArgs a, bool wide) {
  for_quads(a.count, [&](int64_t i, int64_t left) {
    const Quad gate = load_quad(a.gate + i, left, wide), up = load_quad(a.up + i, left, wide);
    Quad y;
#pragma unroll
    for (int e = 0; e < Quad::size; ++e) y.x[e] = swiglu_value(gate.x[e], up.x[e]);
    store_quad(a.y + i, y, left, wide);
  });
}

__global__ void swiglu_backward_kernel(SwigluBackwardArgs a, bool wide) {
  for_quads(a.count, [&](int64_t i, int64_t left) {
    const Quad gate = load_quad(a.gate + i, left, wide), up = load_quad(a.up + i, left, wide);
    const Quad d_y = load_quad(a.d_y + i, left, wide);
    Quad d_gate, d_up;
#pragma unroll
    for (int e = 0; e < Quad::size; ++e) {
      const SwigluGradient<float> d = swiglu_gradient(gate.x[e], up.x[e], d_y.x[e]);
      d_gate.x[e] = d.gate;
      d_up.x[e] = d.up;
    }
    store_quad(a.d_gate + i, d_gate, left, wide);
    store_quad(a.d_up + i, d_up, left, wide);
  });
}

}  // namespace

Status swiglu_forward(Context& context, const SwigluArgs& a) {
  return launch(context, "swiglu", quads_shape(context, a.count), swiglu_kernel, a,
                all_aligned(a.gate, a.up, a.y));
}

Status swiglu_backward(Context& context, const SwigluBackwardArgs& a) {
  return launch(context, "swiglu_backward", quads_shape(context, a.count), swiglu_backward_kernel,
                a, all_aligned(a.gate, a.up, a.d_y, a.d_gate, a.d_up));
}

}  // namespace firesteel
