#include "nn/adamw/table.h"
#include "runtime/simd/vectors.h"

namespace firesteel {
namespace FIRESTEEL_ISA {
namespace {

// T: float where there is nothing to round.
template <class T>
void step(int64_t count, const AdamwFactors& factors, const float* grad, float* weight, float* m,
          float* v, void* rounded) {
  const AdamwFactors f = factors;
  T* const copy = static_cast<T*>(rounded);
  each_vector(count, [=](int64_t i, int n) {
    const AdamwState<F32> old = {load_some(weight + i, n), load_some(m + i, n),
                                 load_some(v + i, n)};
    const AdamwState<F32> next = adamw_step(f, old, load_some(grad + i, n));
    store_some(weight + i, next.weight, n);
    store_some(m + i, next.m, n);
    store_some(v + i, next.v, n);
    if (sizeof(T) < sizeof(float)) store_some(copy + i, next.weight, n);
  });
}

double sum_squares(int64_t count, const float* x) {
  F64 sum = widen(F32(0.0f));
  each_vector(count, [&](int64_t i, int n) {
    const F64 wide = widen(load_some(x + i, n));
    sum = sum + wide * wide;
  });
  return reduce_add(sum);
}

}  // namespace

extern const AdamwTable adamw_table;
const AdamwTable adamw_table = {{step<float>, step<bf16>, step<f16>}, sum_squares};

}  // namespace FIRESTEEL_ISA
}  // namespace firesteel
