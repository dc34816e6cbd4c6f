#include "nn/sample/table.h"

#include "runtime/simd/vectors.h"

namespace firesteel {
namespace FIRESTEEL_ISA {
namespace {

float scan(int64_t count, const float* logits, bool* bad) {
  constexpr float kInfinity = __builtin_inff();
  F32 top = -kInfinity;
  bool finite = true;
  each_vector(count, [&](int64_t i, int n) {
    const F32 x = n == F32::lanes ? load(logits + i) : load_partial(logits + i, n, -kInfinity);
    finite = finite && all(x < kInfinity);
    top = max(top, x);
  });
  *bad = !finite;
  return reduce_max(top);
}

double weigh(int64_t count, const float* logits, float max, float inv_temperature, float* e) {
  F64 sum = widen(F32(0.0f));
  each_vector(count, [&](int64_t i, int n) {
    F32 p = exp((load_some(logits + i, n) - max) * inv_temperature);
    p = select(first_lanes(n), p, 0.0f);
    sum = sum + widen(p);
    if (e) store_some(e + i, p, n);
  });
  return reduce_add(sum);
}

}  // namespace

extern const SampleTable sample_table;
const SampleTable sample_table = {scan, weigh};

}  // namespace FIRESTEEL_ISA
}  // namespace firesteel
