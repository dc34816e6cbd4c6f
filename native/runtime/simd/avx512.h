// AVX-512 (F, BW, DQ, VL) with FMA and F16C: 16 floats.
#pragma once
#include <immintrin.h>

#include "runtime/simd/x86.h"

#if defined(__GNUC__) && !defined(__clang__)
// GCC 12's own headers pass a deliberately undefined vector to the masked builtins (bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace firesteel {
namespace avx512 {

using I32 = int32_t __attribute__((vector_size(64)));
using U32 = uint32_t __attribute__((vector_size(64)));

constexpr bool kFusedMultiplyAdd = true;

struct F32 {
  static constexpr int lanes = 16;
  __m512 v;
  F32() = default;
  FIRESTEEL_MEMBER F32(__m512 x) : v(x) {}
  FIRESTEEL_MEMBER F32(float x) : v(_mm512_set1_ps(x)) {}
};
struct Mask {
  __mmask16 m;
};

FIRESTEEL_INLINE Mask first_lanes(int n) {
  return {static_cast<__mmask16>((1u << n) - 1u)};
}
FIRESTEEL_INLINE F32 splat(float x) {
  return F32(x);
}

FIRESTEEL_INLINE F32 operator+(F32 a, F32 b) {
  return a.v + b.v;
}
FIRESTEEL_INLINE F32 operator-(F32 a, F32 b) {
  return a.v - b.v;
}
FIRESTEEL_INLINE F32 operator*(F32 a, F32 b) {
  return a.v * b.v;
}
FIRESTEEL_INLINE F32 operator/(F32 a, F32 b) {
  return a.v / b.v;
}
FIRESTEEL_INLINE F32 operator-(F32 a) {
  return -a.v;
}
FIRESTEEL_INLINE F32 fma(F32 a, F32 b, F32 c) {
  return _mm512_fmadd_ps(a.v, b.v, c.v);
}
FIRESTEEL_INLINE F32 max(F32 a, F32 b) {
  return _mm512_max_ps(a.v, b.v);
}
FIRESTEEL_INLINE F32 min(F32 a, F32 b) {
  return _mm512_min_ps(a.v, b.v);
}
FIRESTEEL_INLINE F32 abs(F32 a) {
  return _mm512_abs_ps(a.v);
}
FIRESTEEL_INLINE F32 sqrt(F32 a) {
  return _mm512_sqrt_ps(a.v);
}
FIRESTEEL_INLINE F32 floor(F32 a) {
  return _mm512_roundscale_ps(a.v, 0x09);
}
FIRESTEEL_INLINE F32 round_even(F32 a) {
  return _mm512_roundscale_ps(a.v, 0x08);
}

FIRESTEEL_INLINE Mask operator<(F32 a, F32 b) {
  return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)};
}
FIRESTEEL_INLINE Mask operator<=(F32 a, F32 b) {
  return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ)};
}
FIRESTEEL_INLINE Mask operator>(F32 a, F32 b) {
  return b < a;
}
FIRESTEEL_INLINE Mask operator>=(F32 a, F32 b) {
  return b <= a;
}
FIRESTEEL_INLINE Mask operator==(F32 a, F32 b) {
  return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)};
}
FIRESTEEL_INLINE Mask operator&(Mask a, Mask b) {
  return {static_cast<__mmask16>(a.m & b.m)};
}
FIRESTEEL_INLINE Mask operator|(Mask a, Mask b) {
  return {static_cast<__mmask16>(a.m | b.m)};
}
FIRESTEEL_INLINE Mask operator!(Mask a) {
  return {static_cast<__mmask16>(~a.m)};
}
FIRESTEEL_INLINE bool any(Mask a) {
  return a.m != 0;
}
FIRESTEEL_INLINE bool all(Mask a) {
  return a.m == 0xffff;
}
FIRESTEEL_INLINE int count(Mask a) {
  return __builtin_popcount(a.m);
}
FIRESTEEL_INLINE F32 select(Mask c, F32 yes, F32 no) {
  return _mm512_mask_blend_ps(c.m, no.v, yes.v);
}

FIRESTEEL_INLINE U32 to_bits(F32 a) {
  return (U32)a.v;
}
FIRESTEEL_INLINE F32 from_bits(U32 a) {
  return (__m512)a;
}
FIRESTEEL_INLINE I32 to_int(F32 a) {
  return (I32)_mm512_cvtps_epi32(a.v);
}
FIRESTEEL_INLINE F32 from_int(I32 a) {
  return _mm512_cvtepi32_ps((__m512i)a);
}

FIRESTEEL_INLINE F32 widen_bf16(__m256i x) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}
FIRESTEEL_INLINE __m256i narrow_bf16(F32 x) {
  const __m512i bits = _mm512_castps_si512(x.v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i up = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
  const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
  const __mmask16 nan = _mm512_cmp_ps_mask(x.v, x.v, _CMP_UNORD_Q);
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_mask_mov_epi32(up, nan, quiet), 16));
}

// Two vectors of neighbours in memory: the even ones and the odd ones.
struct Pair {
  F32 a, b;
};
FIRESTEEL_INLINE Pair load_pair(const bf16* p) {
  const __m512i x = _mm512_loadu_si512(p);
  return {_mm512_castsi512_ps(_mm512_slli_epi32(x, 16)),
          _mm512_castsi512_ps(_mm512_and_si512(x, _mm512_set1_epi32(~0xffff)))};
}
// NaN must be quiet, with low bits of 0, as arithmetic makes it.
FIRESTEEL_INLINE void store_pair(bf16* p, Pair x) {
  // All upper halves and all lower ones; rounding up where the lower is above one half, or is one
  // half and the upper odd.
  const __m512i a = _mm512_castps_si512(x.a.v), b = _mm512_castps_si512(x.b.v);
  const __m512i high = _mm512_mask_blend_epi16(0xaaaaaaaa, _mm512_srli_epi32(a, 16), b);
  const __m512i low = _mm512_mask_blend_epi16(0xaaaaaaaa, a, _mm512_slli_epi32(b, 16));
  const __m512i odd = _mm512_and_si512(high, _mm512_set1_epi16(1));
  const __mmask32 up =
      _mm512_cmpgt_epu16_mask(_mm512_adds_epu16(low, odd), _mm512_set1_epi16(-0x8000));
  _mm512_storeu_si512(p, _mm512_mask_sub_epi16(high, up, high, _mm512_set1_epi16(-1)));
}

FIRESTEEL_INLINE F32 load(const float* p) {
  return _mm512_loadu_ps(p);
}
FIRESTEEL_INLINE F32 load(const bf16* p) {
  return widen_bf16(_mm256_loadu_si256((const __m256i*)p));
}
FIRESTEEL_INLINE F32 load(const f16* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p));
}
FIRESTEEL_INLINE F32 load_partial(const float* p, int n, float fill) {
  return _mm512_mask_loadu_ps(_mm512_set1_ps(fill), first_lanes(n).m, p);
}
FIRESTEEL_INLINE F32 load_partial(const bf16* p, int n, float fill) {
  const Mask live = first_lanes(n);
  return select(live, widen_bf16(_mm256_maskz_loadu_epi16(live.m, p)), fill);
}
FIRESTEEL_INLINE F32 load_partial(const f16* p, int n, float fill) {
  const Mask live = first_lanes(n);
  return select(live, F32(_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(live.m, p))), fill);
}
FIRESTEEL_INLINE void store(float* p, F32 x) {
  _mm512_storeu_ps(p, x.v);
}
FIRESTEEL_INLINE void store(bf16* p, F32 x) {
  _mm256_storeu_si256((__m256i*)p, narrow_bf16(x));
}
FIRESTEEL_INLINE void store(f16* p, F32 x) {
  _mm256_storeu_si256((__m256i*)p, _mm512_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT));
}
FIRESTEEL_INLINE void store_partial(float* p, F32 x, int n) {
  _mm512_mask_storeu_ps(p, first_lanes(n).m, x.v);
}
FIRESTEEL_INLINE void store_partial(bf16* p, F32 x, int n) {
  _mm256_mask_storeu_epi16(p, first_lanes(n).m, narrow_bf16(x));
}
FIRESTEEL_INLINE void store_partial(f16* p, F32 x, int n) {
  _mm256_mask_storeu_epi16(p, first_lanes(n).m, _mm512_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT));
}

// Bytes other than 0 are true; lanes from n on are false.
FIRESTEEL_INLINE Mask load_mask(const uint8_t* p) {
  const __m128i x = _mm_loadu_si128((const __m128i*)p);
  return {_mm_test_epi8_mask(x, x)};
}
FIRESTEEL_INLINE Mask load_mask_partial(const uint8_t* p, int n) {
  const __m128i x = _mm_maskz_loadu_epi8(first_lanes(n).m, p);
  return {_mm_test_epi8_mask(x, x)};
}

FIRESTEEL_INLINE float reduce_add(F32 x) {
  const __m256 a = _mm512_castps512_ps256(x.v) + _mm512_extractf32x8_ps(x.v, 1);
  return sum4(_mm256_castps256_ps128(a) + _mm256_extractf128_ps(a, 1));
}
FIRESTEEL_INLINE float reduce_max(F32 x) {
  const __m256 a = _mm256_max_ps(_mm512_castps512_ps256(x.v), _mm512_extractf32x8_ps(x.v, 1));
  return max4(_mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1)));
}
FIRESTEEL_INLINE float reduce_min(F32 x) {
  const __m256 a = _mm256_min_ps(_mm512_castps512_ps256(x.v), _mm512_extractf32x8_ps(x.v, 1));
  return min4(_mm_min_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1)));
}

struct F64 {
  __m512d lo, hi;
};
FIRESTEEL_INLINE F64 widen(F32 x) {
  return {_mm512_cvtps_pd(_mm512_castps512_ps256(x.v)),
          _mm512_cvtps_pd(_mm512_extractf32x8_ps(x.v, 1))};
}
FIRESTEEL_INLINE F32 narrow(F64 x) {
  return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(x.lo)), _mm512_cvtpd_ps(x.hi),
                            1);
}

// 2^x for x from kExp2Zero, which is where a caller clamps -inf, to 100: at most 3 ULP from 2^-126
// on, gradual underflow below, exactly 0 at kExp2Zero. NaN gives any number.
constexpr float kExp2Zero = -151.0f;
FIRESTEEL_INLINE F32 exp2_bounded(F32 x) {
  // x - floor(x), and 2^floor(x): one instruction each. The polynomial is that of exp2_fraction for
  // fractions in [0, 1], where a tiny negative x leaves 1 itself: minimax after rounding.
  const F32 f = _mm512_reduce_ps(x.v, 0x09);
  F32 p = fma(f, 0x1.ee2d1ep-10f, 0x1.260d34p-7f);
  p = fma(p, f, 0x1.c967d6p-5f);
  p = fma(p, f, 0x1.ebd54ep-3f);
  p = fma(p, f, 0x1.62e4ep-1f);
  return _mm512_scalef_ps(fma(p, f, 1.0f).v, x.v);
}

// p * 2^n for a whole number n, with overflow to inf and gradual underflow.
FIRESTEEL_INLINE F32 ldexp(F32 p, F32 n) {
  return _mm512_scalef_ps(p.v, n.v);
}

}  // namespace avx512
}  // namespace firesteel
