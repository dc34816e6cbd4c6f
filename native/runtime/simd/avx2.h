// AVX2 with FMA and F16C: 8 floats.
#pragma once
#include <immintrin.h>
#include <string.h>

#include "runtime/simd/x86.h"

namespace firesteel {
namespace avx2 {

using I32 = int32_t __attribute__((vector_size(32)));
using U32 = uint32_t __attribute__((vector_size(32)));

constexpr bool kFusedMultiplyAdd = true;

struct F32 {
  static constexpr int lanes = 8;
  __m256 v;
  F32() = default;
  FIRESTEEL_MEMBER F32(__m256 x) : v(x) {}
  FIRESTEEL_MEMBER F32(float x) : v(_mm256_set1_ps(x)) {}
};
struct Mask {
  __m256 m;  // all bits of a lane
};

FIRESTEEL_INLINE Mask first_lanes(int n) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return {_mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(n), lane))};
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
  return _mm256_fmadd_ps(a.v, b.v, c.v);
}
FIRESTEEL_INLINE F32 max(F32 a, F32 b) {
  return _mm256_max_ps(a.v, b.v);
}
FIRESTEEL_INLINE F32 min(F32 a, F32 b) {
  return _mm256_min_ps(a.v, b.v);
}
FIRESTEEL_INLINE F32 abs(F32 a) {
  return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v);
}
FIRESTEEL_INLINE F32 sqrt(F32 a) {
  return _mm256_sqrt_ps(a.v);
}
FIRESTEEL_INLINE F32 floor(F32 a) {
  return _mm256_round_ps(a.v, 0x09);
}
FIRESTEEL_INLINE F32 round_even(F32 a) {
  return _mm256_round_ps(a.v, 0x08);
}

FIRESTEEL_INLINE Mask operator<(F32 a, F32 b) {
  return {_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ)};
}
FIRESTEEL_INLINE Mask operator<=(F32 a, F32 b) {
  return {_mm256_cmp_ps(a.v, b.v, _CMP_LE_OQ)};
}
FIRESTEEL_INLINE Mask operator>(F32 a, F32 b) {
  return b < a;
}
FIRESTEEL_INLINE Mask operator>=(F32 a, F32 b) {
  return b <= a;
}
FIRESTEEL_INLINE Mask operator==(F32 a, F32 b) {
  return {_mm256_cmp_ps(a.v, b.v, _CMP_EQ_OQ)};
}
FIRESTEEL_INLINE Mask operator&(Mask a, Mask b) {
  return {_mm256_and_ps(a.m, b.m)};
}
FIRESTEEL_INLINE Mask operator|(Mask a, Mask b) {
  return {_mm256_or_ps(a.m, b.m)};
}
FIRESTEEL_INLINE Mask operator!(Mask a) {
  return {_mm256_xor_ps(a.m, _mm256_castsi256_ps(_mm256_set1_epi32(-1)))};
}
FIRESTEEL_INLINE bool any(Mask a) {
  return _mm256_movemask_ps(a.m) != 0;
}
FIRESTEEL_INLINE bool all(Mask a) {
  return _mm256_movemask_ps(a.m) == 0xff;
}
FIRESTEEL_INLINE int count(Mask a) {
  return __builtin_popcount(static_cast<unsigned>(_mm256_movemask_ps(a.m)));
}
FIRESTEEL_INLINE F32 select(Mask c, F32 yes, F32 no) {
  return _mm256_blendv_ps(no.v, yes.v, c.m);
}

FIRESTEEL_INLINE U32 to_bits(F32 a) {
  return (U32)a.v;
}
FIRESTEEL_INLINE F32 from_bits(U32 a) {
  return (__m256)a;
}
FIRESTEEL_INLINE I32 to_int(F32 a) {
  return (I32)_mm256_cvtps_epi32(a.v);
}
FIRESTEEL_INLINE F32 from_int(I32 a) {
  return _mm256_cvtepi32_ps((__m256i)a);
}

FIRESTEEL_INLINE F32 widen_bf16(__m128i x) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
}
FIRESTEEL_INLINE __m128i narrow_bf16(F32 x) {
  const __m256i bits = _mm256_castps_si256(x.v);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i up = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x.v, x.v, _CMP_UNORD_Q));
  const __m256i y = _mm256_srli_epi32(_mm256_blendv_epi8(up, quiet, nan), 16);
  return _mm_packus_epi32(_mm256_castsi256_si128(y), _mm256_extracti128_si256(y, 1));
}
FIRESTEEL_INLINE __m128i narrow_f16(F32 x) {
  return _mm256_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT);
}

// Two vectors of neighbours in memory: the even ones and the odd ones.
struct Pair {
  F32 a, b;
};
FIRESTEEL_INLINE Pair load_pair(const bf16* p) {
  const __m256i x = _mm256_loadu_si256((const __m256i*)p);
  return {_mm256_castsi256_ps(_mm256_slli_epi32(x, 16)),
          _mm256_castsi256_ps(_mm256_and_si256(x, _mm256_set1_epi32(~0xffff)))};
}
// Rounded to bf16 in the upper halves. NaN must be quiet, as arithmetic leaves it.
FIRESTEEL_INLINE __m256i round_bf16(F32 x) {
  const __m256i bits = _mm256_castps_si256(x.v);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i half = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
  const __m256i number = _mm256_castps_si256(_mm256_cmp_ps(x.v, x.v, _CMP_ORD_Q));
  return _mm256_add_epi32(bits, _mm256_and_si256(half, number));
}
FIRESTEEL_INLINE void store_pair(bf16* p, Pair x) {
  const __m256i even = _mm256_srli_epi32(round_bf16(x.a), 16);
  _mm256_storeu_si256((__m256i*)p, _mm256_blend_epi16(even, round_bf16(x.b), 0xaa));
}

FIRESTEEL_INLINE F32 load(const float* p) {
  return _mm256_loadu_ps(p);
}
FIRESTEEL_INLINE F32 load(const bf16* p) {
  return widen_bf16(_mm_loadu_si128((const __m128i*)p));
}
FIRESTEEL_INLINE F32 load(const f16* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p));
}
// AVX2 has no masked access to 16-bit elements: the live ones pass through memory.
FIRESTEEL_INLINE __m128i load_halves(const void* p, int n) {
  uint16_t live[8] = {};
  memcpy(live, p, static_cast<size_t>(n) * 2);
  return _mm_loadu_si128((const __m128i*)live);
}
FIRESTEEL_INLINE F32 load_partial(const float* p, int n, float fill) {
  const Mask live = first_lanes(n);
  return select(live, F32(_mm256_maskload_ps(p, _mm256_castps_si256(live.m))), fill);
}
FIRESTEEL_INLINE F32 load_partial(const bf16* p, int n, float fill) {
  return select(first_lanes(n), widen_bf16(load_halves(p, n)), fill);
}
FIRESTEEL_INLINE F32 load_partial(const f16* p, int n, float fill) {
  return select(first_lanes(n), F32(_mm256_cvtph_ps(load_halves(p, n))), fill);
}
FIRESTEEL_INLINE void store(float* p, F32 x) {
  _mm256_storeu_ps(p, x.v);
}
FIRESTEEL_INLINE void store(bf16* p, F32 x) {
  _mm_storeu_si128((__m128i*)p, narrow_bf16(x));
}
FIRESTEEL_INLINE void store(f16* p, F32 x) {
  _mm_storeu_si128((__m128i*)p, narrow_f16(x));
}
FIRESTEEL_INLINE void store_partial(float* p, F32 x, int n) {
  _mm256_maskstore_ps(p, _mm256_castps_si256(first_lanes(n).m), x.v);
}
FIRESTEEL_INLINE void store_partial(bf16* p, F32 x, int n) {
  const __m128i y = narrow_bf16(x);
  memcpy(p, &y, static_cast<size_t>(n) * 2);
}
FIRESTEEL_INLINE void store_partial(f16* p, F32 x, int n) {
  const __m128i y = narrow_f16(x);
  memcpy(p, &y, static_cast<size_t>(n) * 2);
}

// Bytes other than 0 are true; lanes from n on are false.
FIRESTEEL_INLINE Mask load_mask_partial(const uint8_t* p, int n) {
  int64_t bytes = 0;
  memcpy(&bytes, p, static_cast<size_t>(n));
  const __m256i x = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(bytes));
  return {_mm256_castsi256_ps(_mm256_cmpgt_epi32(x, _mm256_setzero_si256()))};
}
FIRESTEEL_INLINE Mask load_mask(const uint8_t* p) {
  return load_mask_partial(p, 8);
}

FIRESTEEL_INLINE float reduce_add(F32 x) {
  return sum4(_mm256_castps256_ps128(x.v) + _mm256_extractf128_ps(x.v, 1));
}
FIRESTEEL_INLINE float reduce_max(F32 x) {
  return max4(_mm_max_ps(_mm256_castps256_ps128(x.v), _mm256_extractf128_ps(x.v, 1)));
}
FIRESTEEL_INLINE float reduce_min(F32 x) {
  return min4(_mm_min_ps(_mm256_castps256_ps128(x.v), _mm256_extractf128_ps(x.v, 1)));
}

struct F64 {
  __m256d lo, hi;
};
FIRESTEEL_INLINE F64 widen(F32 x) {
  return {_mm256_cvtps_pd(_mm256_castps256_ps128(x.v)),
          _mm256_cvtps_pd(_mm256_extractf128_ps(x.v, 1))};
}

}  // namespace avx2
}  // namespace firesteel
