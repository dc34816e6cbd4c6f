#include "kernels/gaussian/math.h"
#include "kernels/gaussian/table.h"
#include "runtime/simd/vectors.h"

namespace firesteel {
namespace FIRESTEEL_ISA {
namespace {

FIRESTEEL_INLINE Mask valid_lanes(const uint8_t* mask, int n) {
  if (mask == nullptr) return first_lanes(n);
  return n == F32::lanes ? load_mask(mask) : load_mask_partial(mask, n);
}

FIRESTEEL_INLINE F64 square(F32 x) {
  const F64 wide = widen(x);
  return wide * wide;
}

double squares(const GaussianPart& p, int64_t* valid) {
  F64 sum = widen(F32(0.0f));
  int64_t live = 0;
  each_vector(p.count, [&](int64_t i, int n) {
    const Mask lanes = valid_lanes(p.mask == nullptr ? nullptr : p.mask + i, n);
    const F32 e = load_some(p.value + i, n) - load_some(p.mean + i, n);
    sum = sum + square(select(lanes, e, F32(0.0f)));
    live += count(lanes);
  });
  *valid = live;
  return reduce_add(sum);
}

double flow_step(const FlowPart& part) {
  const FlowPart p = part;
  F64 sum = widen(F32(0.0f));
  each_vector(p.count, [&](int64_t i, int n) {
    const F32 mean =
        flow_mean<F32>(load_some(p.x + i, n), load_some(p.v + i, n), p.x_scale, p.v_scale);
    F32 next = mean;
    if (p.given != nullptr) {
      next = load_some(p.given + i, n);
    } else {
      if (p.noise != nullptr) next = flow_next<F32>(mean, load_some(p.noise + i, n), p.std);
      store_some(p.next + i, next, n);
    }
    store_some(p.mean + i, mean, n);
    sum = sum + square(next - mean);
  });
  return reduce_add(sum);
}

void backward(const GradientPart& part) {
  const GradientPart p = part;
  each_vector(p.count, [&](int64_t i, int n) {
    const Mask lanes = valid_lanes(p.mask == nullptr ? nullptr : p.mask + i, n);
    const F32 d_mean = p.d_mean == nullptr ? F32(0.0f) : load_some(p.d_mean + i, n);
    const F32 gradient = gaussian_gradient<F32>(load_some(p.value + i, n), load_some(p.mean + i, n),
                                                p.factor, d_mean, p.gain);
    store_some(p.d_input + i, select(lanes, gradient, F32(0.0f)), n);
  });
}

}  // namespace

extern const GaussianTable gaussian_table;
const GaussianTable gaussian_table = {squares, flow_step, backward};

}  // namespace FIRESTEEL_ISA
}  // namespace firesteel
