#include "nn/rope/table.h"

#include "runtime/simd/vectors.h"

namespace firesteel {
namespace FIRESTEEL_ISA {
namespace {

// Cosines and sines of position * theta in float64, rounded to float: error below 1e-9 for angles
// up to 2^31. Written so that the compiler vectorises it; there is no library call.
void circle(int64_t half, double position, const double* theta, float* cosine, float* sine) {
  for (int64_t i = 0; i < half; ++i) {
    const double angle = position * theta[i];
    // Adding 1.5 * 2^52 rounds to a whole number of quarter turns and leaves it in the low bits.
    const double shifted = angle * 0x1.45f306dc9c883p-1 + 0x1.8p52;
    const double quarters = shifted - 0x1.8p52;
    int64_t quadrant;
    __builtin_memcpy(&quadrant, &shifted, sizeof quadrant);
    // pi / 2 in three parts (Cody and Waite), the first two of 22 bits: their products are exact.
    const double r = ((angle - quarters * 0x1.921fbp+0) - quarters * 0x1.5110bp-22) -
                     quarters * 0x1.18469898cc517p-44;
    const double z = r * r;
    // Taylor series, complete to 1e-10 for |r| <= pi / 4.
    const double s =
        r +
        r * z *
            (-1.0 / 6 + z * (1.0 / 120 + z * (-1.0 / 5040 + z * (1.0 / 362880 - z / 39916800))));
    const double c =
        1.0 + z * (-1.0 / 2 + z * (1.0 / 24 + z * (-1.0 / 720 + z * (1.0 / 40320 - z / 3628800))));
    const bool swap = quadrant & 1;
    const double sin_part = swap ? c : s, cos_part = swap ? s : c;
    sine[i] = static_cast<float>(quadrant & 2 ? -sin_part : sin_part);
    cosine[i] = static_cast<float>((quadrant + 1) & 2 ? -cos_part : cos_part);
  }
}

template <class T>
void turn(int64_t heads, int64_t half, const float* cosine, const float* sine, const void* from,
          void* to) {
  const T* x = static_cast<const T*>(from);
  T* y = static_cast<T*>(to);
  for (int64_t h = 0; h < heads; ++h, x += 2 * half, y += 2 * half) {
    each_vector(half, [&](int64_t i, int n) {
      const F32 low = load_some(x + i, n), high = load_some(x + half + i, n);
      const F32 c = load_some(cosine + i, n), s = load_some(sine + i, n);
      store_some(y + i, fma(low, c, -(high * s)), n);
      store_some(y + half + i, fma(high, c, low * s), n);
    });
  }
}

}  // namespace

extern const RopeTable rope_table;
const RopeTable rope_table = {circle, {turn<float>, turn<bf16>, turn<f16>}};

}  // namespace FIRESTEEL_ISA
}  // namespace firesteel
