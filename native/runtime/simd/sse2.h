// SSE2, which every x86-64 has: 4 floats, no fused multiply-add, no half precision.
#pragma once
#include <emmintrin.h>
#include <string.h>

#include "runtime/simd/x86.h"

namespace firesteel {
namespace sse2 {

using I32 = int32_t __attribute__((vector_size(16)));
using U32 = uint32_t __attribute__((vector_size(16)));

constexpr bool kFusedMultiplyAdd = false;  // fma rounds twice

struct F32 {
  static constexpr int lanes = 4;
  __m128 v;
  F32() = default;
  FIRESTEEL_MEMBER F32(__m128 x) : v(x) {}
  FIRESTEEL_MEMBER F32(float x) : v(_mm_set1_ps(x)) {}
};
struct Mask {
  __m128 m;  // all bits of a lane
};

FIRESTEEL_INLINE Mask first_lanes(int n) {
  return {_mm_castsi128_ps(_mm_cmpgt_epi32(_mm_set1_epi32(n), _mm_setr_epi32(0, 1, 2, 3)))};
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
// Two roundings: callers that rely on one say so and keep their bound without it.
FIRESTEEL_INLINE F32 fma(F32 a, F32 b, F32 c) {
  return a.v * b.v + c.v;
}
FIRESTEEL_INLINE F32 max(F32 a, F32 b) {
  return _mm_max_ps(a.v, b.v);
}
FIRESTEEL_INLINE F32 min(F32 a, F32 b) {
  return _mm_min_ps(a.v, b.v);
}
FIRESTEEL_INLINE F32 abs(F32 a) {
  return _mm_andnot_ps(_mm_set1_ps(-0.0f), a.v);
}
FIRESTEEL_INLINE F32 sqrt(F32 a) {
  return _mm_sqrt_ps(a.v);
}

FIRESTEEL_INLINE Mask operator<(F32 a, F32 b) {
  return {_mm_cmplt_ps(a.v, b.v)};
}
FIRESTEEL_INLINE Mask operator<=(F32 a, F32 b) {
  return {_mm_cmple_ps(a.v, b.v)};
}
FIRESTEEL_INLINE Mask operator>(F32 a, F32 b) {
  return b < a;
}
FIRESTEEL_INLINE Mask operator>=(F32 a, F32 b) {
  return b <= a;
}
FIRESTEEL_INLINE Mask operator==(F32 a, F32 b) {
  return {_mm_cmpeq_ps(a.v, b.v)};
}
FIRESTEEL_INLINE Mask operator&(Mask a, Mask b) {
  return {_mm_and_ps(a.m, b.m)};
}
FIRESTEEL_INLINE Mask operator|(Mask a, Mask b) {
  return {_mm_or_ps(a.m, b.m)};
}
FIRESTEEL_INLINE Mask operator!(Mask a) {
  return {_mm_xor_ps(a.m, _mm_castsi128_ps(_mm_set1_epi32(-1)))};
}
FIRESTEEL_INLINE bool any(Mask a) {
  return _mm_movemask_ps(a.m) != 0;
}
FIRESTEEL_INLINE bool all(Mask a) {
  return _mm_movemask_ps(a.m) == 0xf;
}
FIRESTEEL_INLINE int count(Mask a) {
  const int bits = _mm_movemask_ps(a.m);
  return (bits & 1) + (bits >> 1 & 1) + (bits >> 2 & 1) + (bits >> 3);
}
FIRESTEEL_INLINE F32 select(Mask c, F32 yes, F32 no) {
  return _mm_or_ps(_mm_and_ps(c.m, yes.v), _mm_andnot_ps(c.m, no.v));
}

FIRESTEEL_INLINE U32 to_bits(F32 a) {
  return (U32)a.v;
}
FIRESTEEL_INLINE F32 from_bits(U32 a) {
  return (__m128)a;
}
FIRESTEEL_INLINE I32 to_int(F32 a) {
  return (I32)_mm_cvtps_epi32(a.v);
}
FIRESTEEL_INLINE F32 from_int(I32 a) {
  return _mm_cvtepi32_ps((__m128i)a);
}

FIRESTEEL_INLINE F32 round_even(F32 a) {
  const F32 rounded = from_int(to_int(a));  // from 2^23 on every float is whole
  const F32 sign = _mm_and_ps(a.v, _mm_set1_ps(-0.0f));
  return select(abs(a) < 0x1p23f, F32(_mm_or_ps(rounded.v, sign.v)), a);
}
FIRESTEEL_INLINE F32 floor(F32 a) {
  const F32 r = round_even(a);
  return select(r > a, r - 1.0f, r);
}

FIRESTEEL_INLINE F32 widen_bf16(__m128i x) {
  return _mm_castsi128_ps(_mm_unpacklo_epi16(_mm_setzero_si128(), x));
}
// As to_float(f16) of scalar.h.
FIRESTEEL_INLINE F32 widen_f16(__m128i x) {
  const __m128i bits = _mm_unpacklo_epi16(x, _mm_setzero_si128());
  const __m128i magnitude = _mm_slli_epi32(_mm_and_si128(bits, _mm_set1_epi32(0x7fff)), 13);
  const __m128i sign = _mm_slli_epi32(_mm_and_si128(bits, _mm_set1_epi32(0x8000)), 16);
  const __m128 finite = _mm_castsi128_ps(magnitude) * _mm_set1_ps(0x1p112f);
  const __m128i special = _mm_and_si128(_mm_cmpgt_epi32(magnitude, _mm_set1_epi32(0x0f7fffff)),
                                        _mm_set1_epi32(0x7f800000));
  return _mm_or_ps(finite, _mm_castsi128_ps(_mm_or_si128(sign, special)));
}
FIRESTEEL_INLINE __m128i choose(__m128i c, __m128i yes, __m128i no) {
  return _mm_or_si128(_mm_and_si128(c, yes), _mm_andnot_si128(c, no));
}
// The low halves of four words; SSE2 only packs with signed saturation.
FIRESTEEL_INLINE __m128i low_halves(__m128i x) {
  x = _mm_srai_epi32(_mm_slli_epi32(x, 16), 16);
  return _mm_packs_epi32(x, x);
}
FIRESTEEL_INLINE __m128i narrow_bf16(F32 x) {
  const __m128i bits = _mm_castps_si128(x.v);
  const __m128i odd = _mm_and_si128(_mm_srli_epi32(bits, 16), _mm_set1_epi32(1));
  const __m128i up = _mm_add_epi32(_mm_add_epi32(bits, _mm_set1_epi32(0x7fff)), odd);
  const __m128i quiet = _mm_or_si128(bits, _mm_set1_epi32(0x400000));
  const __m128i nan = _mm_castps_si128(_mm_cmpunord_ps(x.v, x.v));
  return low_halves(_mm_srli_epi32(choose(nan, quiet, up), 16));
}
// As from_float<f16> of scalar.h.
FIRESTEEL_INLINE __m128i narrow_f16(F32 x) {
  const __m128i bits = _mm_castps_si128(x.v);
  const __m128i magnitude = _mm_and_si128(bits, _mm_set1_epi32(0x7fffffff));
  const __m128i odd = _mm_and_si128(_mm_srli_epi32(magnitude, 13), _mm_set1_epi32(1));
  const __m128i up = _mm_add_epi32(magnitude, _mm_set1_epi32(0xfff - 0x38000000));
  const __m128i normal = _mm_srli_epi32(_mm_add_epi32(up, odd), 13);
  const __m128 aligned = _mm_castsi128_ps(magnitude) + _mm_set1_ps(0.5f);
  const __m128i subnormal = _mm_sub_epi32(_mm_castps_si128(aligned), _mm_set1_epi32(0x3f000000));
  const __m128i tiny = _mm_cmplt_epi32(magnitude, _mm_set1_epi32(0x38800000));
  const __m128i huge = _mm_cmpgt_epi32(magnitude, _mm_set1_epi32(0x477fffff));
  const __m128i nan = _mm_cmpgt_epi32(magnitude, _mm_set1_epi32(0x7f800000));
  const __m128i special = choose(nan, _mm_set1_epi32(0x7e00), _mm_set1_epi32(0x7c00));
  const __m128i half = choose(huge, special, choose(tiny, subnormal, normal));
  const __m128i sign = _mm_and_si128(_mm_srli_epi32(bits, 16), _mm_set1_epi32(0x8000));
  return low_halves(_mm_or_si128(sign, half));
}

FIRESTEEL_INLINE __m128i load_halves(const void* p, int n) {
  int64_t live = 0;
  memcpy(&live, p, static_cast<size_t>(n) * 2);
  return _mm_cvtsi64_si128(live);
}
FIRESTEEL_INLINE void store_halves(void* p, __m128i x, int n) {
  memcpy(p, &x, static_cast<size_t>(n) * 2);
}
FIRESTEEL_INLINE F32 load(const float* p) {
  return _mm_loadu_ps(p);
}
FIRESTEEL_INLINE F32 load(const bf16* p) {
  return widen_bf16(load_halves(p, 4));
}
FIRESTEEL_INLINE F32 load(const f16* p) {
  return widen_f16(load_halves(p, 4));
}
// Two vectors of neighbours in memory: the even ones and the odd ones.
struct Pair {
  F32 a, b;
};
FIRESTEEL_INLINE Pair load_pair(const bf16* p) {
  const __m128i x = _mm_loadu_si128((const __m128i*)p);
  return {_mm_castsi128_ps(_mm_slli_epi32(x, 16)),
          _mm_castsi128_ps(_mm_and_si128(x, _mm_set1_epi32(~0xffff)))};
}
// Rounded to bf16 in the upper halves. NaN must be quiet, as arithmetic leaves it.
FIRESTEEL_INLINE __m128i round_bf16(F32 x) {
  const __m128i bits = _mm_castps_si128(x.v);
  const __m128i odd = _mm_and_si128(_mm_srli_epi32(bits, 16), _mm_set1_epi32(1));
  const __m128i half = _mm_add_epi32(odd, _mm_set1_epi32(0x7fff));
  const __m128i number = _mm_castps_si128(_mm_cmpord_ps(x.v, x.v));
  return _mm_add_epi32(bits, _mm_and_si128(half, number));
}
FIRESTEEL_INLINE void store_pair(bf16* p, Pair x) {
  const __m128i even = _mm_srli_epi32(round_bf16(x.a), 16);
  const __m128i odd = _mm_and_si128(round_bf16(x.b), _mm_set1_epi32(~0xffff));
  _mm_storeu_si128((__m128i*)p, _mm_or_si128(even, odd));
}

FIRESTEEL_INLINE F32 load_partial(const float* p, int n, float fill) {
  float live[4] = {fill, fill, fill, fill};
  memcpy(live, p, static_cast<size_t>(n) * 4);
  return _mm_loadu_ps(live);
}
FIRESTEEL_INLINE F32 load_partial(const bf16* p, int n, float fill) {
  return select(first_lanes(n), widen_bf16(load_halves(p, n)), fill);
}
FIRESTEEL_INLINE F32 load_partial(const f16* p, int n, float fill) {
  return select(first_lanes(n), widen_f16(load_halves(p, n)), fill);
}
FIRESTEEL_INLINE void store(float* p, F32 x) {
  _mm_storeu_ps(p, x.v);
}
FIRESTEEL_INLINE void store(bf16* p, F32 x) {
  store_halves(p, narrow_bf16(x), 4);
}
FIRESTEEL_INLINE void store(f16* p, F32 x) {
  store_halves(p, narrow_f16(x), 4);
}
FIRESTEEL_INLINE void store_partial(float* p, F32 x, int n) {
  memcpy(p, &x.v, static_cast<size_t>(n) * 4);
}
FIRESTEEL_INLINE void store_partial(bf16* p, F32 x, int n) {
  store_halves(p, narrow_bf16(x), n);
}
FIRESTEEL_INLINE void store_partial(f16* p, F32 x, int n) {
  store_halves(p, narrow_f16(x), n);
}

// Bytes other than 0 are true; lanes from n on are false.
FIRESTEEL_INLINE Mask load_mask_partial(const uint8_t* p, int n) {
  int32_t bytes = 0;
  memcpy(&bytes, p, static_cast<size_t>(n));
  const __m128i zero = _mm_setzero_si128();
  const __m128i x = _mm_unpacklo_epi16(_mm_unpacklo_epi8(_mm_cvtsi32_si128(bytes), zero), zero);
  return {_mm_castsi128_ps(_mm_cmpgt_epi32(x, zero))};
}
FIRESTEEL_INLINE Mask load_mask(const uint8_t* p) {
  return load_mask_partial(p, 4);
}

FIRESTEEL_INLINE float reduce_add(F32 x) {
  return sum4(x.v);
}
FIRESTEEL_INLINE float reduce_max(F32 x) {
  return max4(x.v);
}
FIRESTEEL_INLINE float reduce_min(F32 x) {
  return min4(x.v);
}

struct F64 {
  __m128d lo, hi;
};
FIRESTEEL_INLINE F64 widen(F32 x) {
  return {_mm_cvtps_pd(x.v), _mm_cvtps_pd(_mm_movehl_ps(x.v, x.v))};
}

}  // namespace sse2
}  // namespace firesteel
