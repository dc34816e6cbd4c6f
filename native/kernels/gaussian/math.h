// Per-element maths of gaussian, over F = float (CUDA) or F32 (CPU).
#pragma once
#include "runtime/scalar.h"

namespace firesteel {

template <class F>
FIRESTEEL_HD inline F flow_mean(F x, F v, F x_scale, F v_scale) {
  return fma(v_scale, v, x_scale * x);
}

template <class F>
FIRESTEEL_HD inline F flow_next(F mean, F noise, F std) {
  return fma(std, noise, mean);
}

// `factor` is the sample's d_out * slope * gain.
template <class F>
FIRESTEEL_HD inline F gaussian_gradient(F value, F mean, F factor, F d_mean, F gain) {
  return fma(gain, d_mean, factor * (value - mean));
}

}  // namespace firesteel
