#include "nn/swiglu/math.h"
#include "nn/swiglu/table.h"
#include "runtime/simd/vectors.h"

namespace firesteel {
namespace FIRESTEEL_ISA {
namespace {

template <class T>
void forward(int64_t count, const void* gates, const void* ups, void* out) {
  const T *const gate = static_cast<const T*>(gates), *const up = static_cast<const T*>(ups);
  T* const y = static_cast<T*>(out);
  each_vector(count, [=](int64_t i, int n) {
    store_some(y + i, swiglu_value(load_some(gate + i, n), load_some(up + i, n)), n);
  });
}

template <class T>
void backward(int64_t count, const void* gates, const void* ups, const void* slopes, void* to_gate,
              void* to_up) {
  const T *const gate = static_cast<const T*>(gates), *const up = static_cast<const T*>(ups);
  const T* const d_y = static_cast<const T*>(slopes);
  T *const d_gate = static_cast<T*>(to_gate), *const d_up = static_cast<T*>(to_up);
  each_vector(count, [=](int64_t i, int n) {
    const SwigluGradient<F32> d =
        swiglu_gradient(load_some(gate + i, n), load_some(up + i, n), load_some(d_y + i, n));
    store_some(d_gate + i, d.gate, n);
    store_some(d_up + i, d.up, n);
  });
}

}  // namespace

extern const SwigluTable swiglu_table;
const SwigluTable swiglu_table = {
    {forward<float>, forward<bf16>, forward<f16>},
    {backward<float>, backward<bf16>, backward<f16>},
};

}  // namespace FIRESTEEL_ISA
}  // namespace firesteel
