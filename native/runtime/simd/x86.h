// What the x86 vectors share: the last four lanes of a reduction.
#pragma once
#include <emmintrin.h>

namespace firesteel {
namespace FIRESTEEL_ISA {

FIRESTEEL_INLINE float sum4(__m128 x) {
  x = x + _mm_movehl_ps(x, x);
  return _mm_cvtss_f32(x) + _mm_cvtss_f32(_mm_shuffle_ps(x, x, 1));
}
FIRESTEEL_INLINE float max4(__m128 x) {
  x = _mm_max_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_max_ss(x, _mm_shuffle_ps(x, x, 1)));
}
FIRESTEEL_INLINE float min4(__m128 x) {
  x = _mm_min_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_min_ss(x, _mm_shuffle_ps(x, x, 1)));
}

}  // namespace FIRESTEEL_ISA
}  // namespace firesteel
