#include "simd_probe.h"

#include "runtime/simd/simd.h"

namespace firesteel {
namespace FIRESTEEL_ISA {
namespace {

template <class From, class To, class F>
FIRESTEEL_INLINE void map(const From* x, To* y, int n, F f) {
  int i = 0;
  for (; i + F32::lanes <= n; i += F32::lanes) store(y + i, f(load(x + i)));
  if (i < n) store_partial(y + i, f(load_partial(x + i, n - i, 0.0f)), n - i);
}

void probe_exp(const float* x, float* y, int n) {
  map(x, y, n, [](F32 v) { return exp(v); });
}
void probe_exp2(const float* x, float* y, int n) {
  map(x, y, n, [](F32 v) { return exp2(v); });
}
void probe_exp2_bounded(const float* x, float* y, int n) {
  map(x, y, n, [](F32 v) { return exp2_bounded(v); });
}
void probe_log1p(const float* x, float* y, int n) {
  map(x, y, n, [](F32 v) { return log1p(v); });
}
void probe_round_even(const float* x, float* y, int n) {
  map(x, y, n, [](F32 v) { return round_even(v); });
}
void probe_floor(const float* x, float* y, int n) {
  map(x, y, n, [](F32 v) { return floor(v); });
}
template <class From, class To>
void convert(const From* x, To* y, int n) {
  map(x, y, n, [](F32 v) { return v; });
}

void scale(const bf16* x, bf16* y, int n, float factor) {
  for (int i = 0; i < n; i += F32::lanes) store(y + i, load(x + i) * F32(factor));
}
void scale_pairs(const bf16* x, bf16* y, int n, float factor) {
  for (int i = 0; i < n; i += 2 * F32::lanes) {
    const Pair pair = load_pair(x + i);
    store_pair(y + i, {pair.a * F32(factor), pair.b * F32(factor)});
  }
}

FIRESTEEL_INLINE F32 positive_or_negated(F32 x, Mask chosen) {
  return select(chosen, select(x > F32(0.0f), F32(1.0f), F32(0.0f)), -x);
}
void masked(const float* x, const uint8_t* bytes, float* y, int n) {
  int i = 0;
  for (; i + F32::lanes <= n; i += F32::lanes) {
    store(y + i, positive_or_negated(load(x + i), load_mask(bytes + i)));
  }
  if (i == n) return;
  const F32 tail = load_partial(x + i, n - i, 0.0f);
  store_partial(y + i, positive_or_negated(tail, load_mask_partial(bytes + i, n - i)), n - i);
}

void reduce(const float* x, float* y, double* sum) {
  const F32 v = load(x);
  y[0] = reduce_add(v);
  y[1] = reduce_max(v);
  y[2] = reduce_min(v);
  *sum = reduce_add_f64(v);
}

int compare(const float* x, const float* y, float* highest, float* lowest) {
  store(highest, max(load(x), load(y)));
  store(lowest, min(load(x), load(y)));
  return count(load(x) < load(y));
}

}  // namespace

extern const SimdProbe simd_probe_table;
const SimdProbe simd_probe_table = {F32::lanes,
                                    probe_exp,
                                    probe_exp2,
                                    probe_exp2_bounded,
                                    kExp2Zero,
                                    probe_log1p,
                                    probe_round_even,
                                    probe_floor,
                                    convert<bf16, float>,
                                    convert<f16, float>,
                                    convert<float, bf16>,
                                    convert<float, f16>,
                                    scale,
                                    scale_pairs,
                                    masked,
                                    reduce,
                                    compare};

}  // namespace FIRESTEEL_ISA
}  // namespace firesteel
