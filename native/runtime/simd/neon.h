// NEON of AArch64: 4 floats, fused multiply-add, half-precision conversion.
#pragma once
#include <arm_neon.h>
#include <string.h>

namespace firesteel {
namespace neon {

using I32 = int32_t __attribute__((vector_size(16)));
using U32 = uint32_t __attribute__((vector_size(16)));

constexpr bool kFusedMultiplyAdd = true;

struct F32 {
  static constexpr int lanes = 4;
  float32x4_t v;
  F32() = default;
  FIRESTEEL_MEMBER F32(float32x4_t x) : v(x) {}
  FIRESTEEL_MEMBER F32(float x) : v(vdupq_n_f32(x)) {}
};
struct Mask {
  uint32x4_t m;  // all bits of a lane
};

FIRESTEEL_INLINE Mask first_lanes(int n) {
  const int32_t lane[4] = {0, 1, 2, 3};
  return {vcltq_s32(vld1q_s32(lane), vdupq_n_s32(n))};
}
FIRESTEEL_INLINE F32 splat(float x) {
  return F32(x);
}

FIRESTEEL_INLINE Mask operator<(F32 a, F32 b) {
  return {vcltq_f32(a.v, b.v)};
}
FIRESTEEL_INLINE Mask operator<=(F32 a, F32 b) {
  return {vcleq_f32(a.v, b.v)};
}
FIRESTEEL_INLINE Mask operator>(F32 a, F32 b) {
  return b < a;
}
FIRESTEEL_INLINE Mask operator>=(F32 a, F32 b) {
  return b <= a;
}
FIRESTEEL_INLINE Mask operator==(F32 a, F32 b) {
  return {vceqq_f32(a.v, b.v)};
}
FIRESTEEL_INLINE Mask operator&(Mask a, Mask b) {
  return {vandq_u32(a.m, b.m)};
}
FIRESTEEL_INLINE Mask operator|(Mask a, Mask b) {
  return {vorrq_u32(a.m, b.m)};
}
FIRESTEEL_INLINE Mask operator!(Mask a) {
  return {vmvnq_u32(a.m)};
}
FIRESTEEL_INLINE bool any(Mask a) {
  return vmaxvq_u32(a.m) != 0;
}
FIRESTEEL_INLINE bool all(Mask a) {
  return vminvq_u32(a.m) != 0;
}
FIRESTEEL_INLINE int count(Mask a) {
  return static_cast<int>(vaddvq_u32(vshrq_n_u32(a.m, 31)));
}
FIRESTEEL_INLINE F32 select(Mask c, F32 yes, F32 no) {
  return vbslq_f32(c.m, yes.v, no.v);
}

FIRESTEEL_INLINE F32 operator+(F32 a, F32 b) {
  return vaddq_f32(a.v, b.v);
}
FIRESTEEL_INLINE F32 operator-(F32 a, F32 b) {
  return vsubq_f32(a.v, b.v);
}
FIRESTEEL_INLINE F32 operator*(F32 a, F32 b) {
  return vmulq_f32(a.v, b.v);
}
FIRESTEEL_INLINE F32 operator/(F32 a, F32 b) {
  return vdivq_f32(a.v, b.v);
}
FIRESTEEL_INLINE F32 operator-(F32 a) {
  return vnegq_f32(a.v);
}
FIRESTEEL_INLINE F32 fma(F32 a, F32 b, F32 c) {
  return vfmaq_f32(c.v, a.v, b.v);
}
// By comparison and not vmaxq: where an operand is NaN the second one is returned, as on x86.
FIRESTEEL_INLINE F32 max(F32 a, F32 b) {
  return select(a > b, a, b);
}
FIRESTEEL_INLINE F32 min(F32 a, F32 b) {
  return select(a < b, a, b);
}
FIRESTEEL_INLINE F32 abs(F32 a) {
  return vabsq_f32(a.v);
}
FIRESTEEL_INLINE F32 sqrt(F32 a) {
  return vsqrtq_f32(a.v);
}
FIRESTEEL_INLINE F32 floor(F32 a) {
  return vrndmq_f32(a.v);
}
FIRESTEEL_INLINE F32 round_even(F32 a) {
  return vrndnq_f32(a.v);
}

FIRESTEEL_INLINE U32 to_bits(F32 a) {
  return (U32)a.v;
}
FIRESTEEL_INLINE F32 from_bits(U32 a) {
  return (float32x4_t)a;
}
FIRESTEEL_INLINE I32 to_int(F32 a) {
  return (I32)vcvtnq_s32_f32(a.v);
}
FIRESTEEL_INLINE F32 from_int(I32 a) {
  return vcvtq_f32_s32((int32x4_t)a);
}

FIRESTEEL_INLINE F32 widen_bf16(uint16x4_t x) {
  return vreinterpretq_f32_u32(vshll_n_u16(x, 15) << 1);
}
FIRESTEEL_INLINE uint16x4_t narrow_bf16(F32 x) {
  const uint32x4_t bits = vreinterpretq_u32_f32(x.v);
  const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
  const uint32x4_t up = vaddq_u32(vaddq_u32(bits, vdupq_n_u32(0x7fff)), odd);
  const uint32x4_t quiet = vorrq_u32(bits, vdupq_n_u32(0x400000));
  return vshrn_n_u32(vbslq_u32(vceqq_f32(x.v, x.v), up, quiet), 16);
}
FIRESTEEL_INLINE F32 widen_f16(uint16x4_t x) {
  return vcvt_f32_f16(vreinterpret_f16_u16(x));
}
FIRESTEEL_INLINE uint16x4_t narrow_f16(F32 x) {
  return vreinterpret_u16_f16(vcvt_f16_f32(x.v));
}

FIRESTEEL_INLINE uint16x4_t load_halves(const void* p, int n) {
  uint16_t live[4] = {};
  memcpy(live, p, static_cast<size_t>(n) * 2);
  return vld1_u16(live);
}
FIRESTEEL_INLINE void store_halves(void* p, uint16x4_t x, int n) {
  memcpy(p, &x, static_cast<size_t>(n) * 2);
}
FIRESTEEL_INLINE F32 load(const float* p) {
  return vld1q_f32(p);
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
  uint32x4_t x;
  memcpy(&x, p, sizeof x);
  return {vreinterpretq_f32_u32(vshlq_n_u32(x, 16)),
          vreinterpretq_f32_u32(vandq_u32(x, vdupq_n_u32(0xffff0000u)))};
}
// Rounded to bf16 in the upper halves. NaN must be quiet, as arithmetic leaves it.
FIRESTEEL_INLINE uint32x4_t round_bf16(F32 x) {
  const uint32x4_t bits = vreinterpretq_u32_f32(x.v);
  const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
  const uint32x4_t half = vaddq_u32(odd, vdupq_n_u32(0x7fff));
  return vaddq_u32(bits, vandq_u32(half, vceqq_f32(x.v, x.v)));
}
FIRESTEEL_INLINE void store_pair(bf16* p, Pair x) {
  const uint32x4_t both = vsriq_n_u32(round_bf16(x.b), round_bf16(x.a), 16);
  memcpy(p, &both, sizeof both);
}

FIRESTEEL_INLINE F32 load_partial(const float* p, int n, float fill) {
  float live[4] = {fill, fill, fill, fill};
  memcpy(live, p, static_cast<size_t>(n) * 4);
  return vld1q_f32(live);
}
FIRESTEEL_INLINE F32 load_partial(const bf16* p, int n, float fill) {
  return select(first_lanes(n), widen_bf16(load_halves(p, n)), fill);
}
FIRESTEEL_INLINE F32 load_partial(const f16* p, int n, float fill) {
  return select(first_lanes(n), widen_f16(load_halves(p, n)), fill);
}
FIRESTEEL_INLINE void store(float* p, F32 x) {
  vst1q_f32(p, x.v);
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
  uint8_t live[8] = {};
  memcpy(live, p, static_cast<size_t>(n));
  return {vtstq_u32(vmovl_u16(vget_low_u16(vmovl_u8(vld1_u8(live)))), vdupq_n_u32(0xff))};
}
FIRESTEEL_INLINE Mask load_mask(const uint8_t* p) {
  return load_mask_partial(p, 4);
}

FIRESTEEL_INLINE float reduce_add(F32 x) {
  const float32x2_t pair = vadd_f32(vget_low_f32(x.v), vget_high_f32(x.v));
  return vget_lane_f32(pair, 0) + vget_lane_f32(pair, 1);
}
FIRESTEEL_INLINE float reduce_max(F32 x) {
  return vmaxvq_f32(x.v);
}
FIRESTEEL_INLINE float reduce_min(F32 x) {
  return vminvq_f32(x.v);
}

struct F64 {
  float64x2_t lo, hi;
};
FIRESTEEL_INLINE F64 widen(F32 x) {
  return {vcvt_f64_f32(vget_low_f32(x.v)), vcvt_high_f64_f32(x.v)};
}

}  // namespace neon
}  // namespace firesteel
