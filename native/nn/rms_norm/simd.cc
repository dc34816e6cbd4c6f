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

void forward(int64_t rows, int64_t width, const float* x, const float* weight, float eps, float* y,
             float* inv_rms) {
  for (int64_t r = 0; r < rows; ++r, x += width, y += width) {
    const float squares = sum_over(width, [=](int64_t i, int n, F32 sum) {
      const F32 v = load_some(x + i, n);
      return fma(v, v, sum);
    });
    const float inverse = 1.0f / __builtin_sqrtf(squares / static_cast<float>(width) + eps);
    inv_rms[r] = inverse;
    each_vector(width, [=](int64_t i, int n) {
      store_some(y + i, load_some(x + i, n) * inverse * load_some(weight + i, n), n);
    });
  }
}

// With g = d_y * weight: d_x = inv_rms * (g - x * inv_rms^2 * mean(g * x)).
void backward(int64_t rows, int64_t width, const float* x, const float* weight,
              const float* inv_rms, const float* d_y, float* d_x) {
  for (int64_t r = 0; r < rows; ++r, x += width, d_y += width, d_x += width) {
    const float dot = sum_over(width, [=](int64_t i, int n, F32 sum) {
      return fma(load_some(d_y + i, n) * load_some(weight + i, n), load_some(x + i, n), sum);
    });
    const float inverse = inv_rms[r];
    const float back = inverse * inverse * (dot / static_cast<float>(width));
    each_vector(width, [=](int64_t i, int n) {
      const F32 g = load_some(d_y + i, n) * load_some(weight + i, n);
      store_some(d_x + i, (g - load_some(x + i, n) * back) * inverse, n);
    });
  }
}

void backward_weight(int64_t rows, int64_t width, int64_t cols, const float* x,
                     const float* inv_rms, const float* d_y, float* d_weight) {
  each_vector(cols, [=](int64_t j, int n) {
    F32 sum = 0.0f;
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t at = r * width + j;
      sum = fma(load_some(d_y + at, n), load_some(x + at, n) * inv_rms[r], sum);
    }
    store_some(d_weight + j, sum, n);
  });
}

}  // namespace

extern const RmsNormTable rms_norm_table;
const RmsNormTable rms_norm_table = {forward, backward, backward_weight};

}  // namespace FIRESTEEL_ISA
}  // namespace firesteel
