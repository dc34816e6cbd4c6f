#include "nn/swiglu/math.h"
#include "nn/swiglu/table.h"
#include "runtime/simd/vectors.h"

namespace firesteel {
namespace FIRESTEEL_ISA {
namespace {

void forward(int64_t count, const float* gate, const float* up, float* y) {
  each_vector(count, [=](int64_t i, int n) {
    store_some(y + i, swiglu_value(load_some(gate + i, n), load_some(up + i, n)), n);
  });
}

void backward(int64_t count, const float* gate, const float* up, const float* d_y, float* d_gate,
              float* d_up) {
  each_vector(count, [=](int64_t i, int n) {
    const SwigluGradient<F32> d =
        swiglu_gradient(load_some(gate + i, n), load_some(up + i, n), load_some(d_y + i, n));
    store_some(d_gate + i, d.gate, n);
    store_some(d_up + i, d.up, n);
  });
}

}  // namespace

extern const SwigluTable swiglu_table;
const SwigluTable swiglu_table = {forward, backward};

}  // namespace FIRESTEEL_ISA
}  // namespace firesteel
