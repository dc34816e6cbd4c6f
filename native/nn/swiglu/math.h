// Per-element maths of swiglu, over F = float (CUDA) or F32 (CPU).
#pragma once
#include "runtime/scalar.h"

namespace firesteel {

template <class F>
FIRESTEEL_HD inline F sigmoid(F x) {
  return F(1.0f) / (F(1.0f) + exp(-x));
}

template <class F>
FIRESTEEL_HD inline F swiglu_value(F gate, F up) {
  return gate * sigmoid(gate) * up;
}

template <class F>
struct SwigluGradient {
  F gate, up;
};
// d silu / d x = s + x s (1 - s) with s = sigmoid(x).
template <class F>
FIRESTEEL_HD inline SwigluGradient<F> swiglu_gradient(F gate, F up, F d_y) {
  const F s = sigmoid(gate), silu = gate * s;
  return {d_y * up * fma(silu, F(1.0f) - s, s), d_y * silu};
}

}  // namespace firesteel
