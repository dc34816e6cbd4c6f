// Per-element maths of adamw, over F = float (CUDA) or F32 (CPU).
#pragma once
#include "runtime/scalar.h"

namespace firesteel {

struct AdamwFactors {
  float clip;  // of the gradient
  float lr, beta1, beta2, eps, weight_decay, correction1, correction2;
};

template <class F>
struct AdamwState {
  F weight, m, v;
};
template <class F>
FIRESTEEL_HD inline AdamwState<F> adamw_step(const AdamwFactors& f, AdamwState<F> s, F grad) {
  const F g = grad * F(f.clip);
  const F m = fma(F(f.beta1), s.m, F(1.0f - f.beta1) * g);
  const F v = fma(F(f.beta2), s.v, F(1.0f - f.beta2) * g * g);
  const F step = m / F(f.correction1) / (sqrt(v / F(f.correction2)) + F(f.eps));
  return {fma(F(-f.lr), fma(F(f.weight_decay), s.weight, step), s.weight), m, v};
}

}  // namespace firesteel
