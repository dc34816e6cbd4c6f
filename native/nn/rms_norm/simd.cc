#include "nn/rms_norm/table.h"

#include "runtime/simd/vectors.h"

namespace firesteel {
namespace FIRESTEEL_ISA {
namespace {

// sum of term(i, n), vectors in four interleaved chains.
template <class Term>
FIRESTEEL_INLINE float sum_over(int64_t width, const Term& term) {
  constexpr int kChains = 4, kRound = kChains * F32::lanes;
  F32 sum[kChains] = {splat(0.0f), splat(0.0f), splat(0.0f), splat(0.0f)};
  int64_t i = 0;
  for (; i + kRound <= width; i += kRound) {
    for (int c = 0; c < kChains; ++c) sum[c] = term(i + c * F32::lanes, F32::lanes, sum[c]);
  }
  for (; i < width; i += F32::lanes) {
    sum[0] = term(i, width - i < F32::lanes ? static_cast<int>(width - i) : F32::lanes, sum[0]);
  }
  return reduce_add((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

template <class T>
void forward(const RmsNormRows& a) {
  const int64_t width = a.width;
  const T* const weight = static_cast<const T*>(a.weight);
  for (int64_t r = 0; r < a.rows; ++r) {
    const int64_t at = r * width;
    const T* x = static_cast<const T*>(a.x) + at;
    T* const y = static_cast<T*>(a.y) + at;
    if (a.residual != nullptr) {
      const T *const update = x, *const residual = static_cast<const T*>(a.residual) + at;
      T* const sum = static_cast<T*>(a.sum) + at;
      each_vector(width, [=](int64_t i, int n) {
        store_some(sum + i, load_some(update + i, n) + load_some(residual + i, n), n);
      });
      x = sum;
    }
    const float squares = sum_over(width, [=](int64_t i, int n, F32 sum) {
      const F32 v = load_some(x + i, n);
      return fma(v, v, sum);
    });
    const float inverse = 1.0f / __builtin_sqrtf(squares / static_cast<float>(width) + a.eps);
    a.inv_rms[r] = inverse;
    each_vector(width, [=](int64_t i, int n) {
      store_some(y + i, load_some(x + i, n) * inverse * load_some(weight + i, n), n);
    });
  }
}

// With g = d_y * weight: d_x = inv_rms * (g - x * inv_rms^2 * mean(g * x)), d_weight = sum over
// rows of d_y * x * inv_rms.
template <class T>
void backward(const RmsNormBackwardRows& a) {
  const int64_t width = a.width;
  const T* const weight = static_cast<const T*>(a.weight);
  float* const d_weight = a.d_weight;
  each_vector(width, [=](int64_t i, int n) { store_some(d_weight + i, F32(0.0f), n); });
  for (int64_t r = 0; r < a.rows; ++r) {
    const int64_t at = r * width;
    const T* const x = static_cast<const T*>(a.x) + at;
    const T* const d_y = static_cast<const T*>(a.d_y) + at;
    T* const d_x = static_cast<T*>(a.d_x) + at;
    const float inverse = a.inv_rms[r];
    const float dot = sum_over(width, [=](int64_t i, int n, F32 sum) {
      const F32 d = load_some(d_y + i, n), v = load_some(x + i, n);
      store_some(d_weight + i, fma(d, v * inverse, load_some(d_weight + i, n)), n);
      return fma(d * load_some(weight + i, n), v, sum);
    });
    const float back = inverse * inverse * (dot / static_cast<float>(width));
    const auto slope = [=](int64_t i, int n) {
      const F32 g = load_some(d_y + i, n) * load_some(weight + i, n);
      return (g - load_some(x + i, n) * back) * inverse;
    };
    if (a.d_sum == nullptr) {
      each_vector(width, [=](int64_t i, int n) { store_some(d_x + i, slope(i, n), n); });
    } else {
      const T* const d_sum = static_cast<const T*>(a.d_sum) + at;
      each_vector(width, [=](int64_t i, int n) {
        store_some(d_x + i, slope(i, n) + load_some(d_sum + i, n), n);
      });
    }
  }
}

}  // namespace

extern const RmsNormTable rms_norm_table;
const RmsNormTable rms_norm_table = {
    {forward<float>, forward<bf16>, forward<f16>},
    {backward<float>, backward<bf16>, backward<f16>},
};

}  // namespace FIRESTEEL_ISA
}  // namespace firesteel
