// What is written once for every instruction set, over the primitives of its header.
#pragma once

namespace firesteel {
namespace FIRESTEEL_ISA {

FIRESTEEL_INLINE F64 operator+(F64 a, F64 b) {
  return {a.lo + b.lo, a.hi + b.hi};
}
FIRESTEEL_INLINE F64 operator-(F64 a, F64 b) {
  return {a.lo - b.lo, a.hi - b.hi};
}
FIRESTEEL_INLINE F64 operator*(F64 a, F64 b) {
  return {a.lo * b.lo, a.hi * b.hi};
}

template <class T>
FIRESTEEL_INLINE Pair load_pair(const T* p) {
  return {load(p), load(p + F32::lanes)};
}
template <class T>
FIRESTEEL_INLINE void store_pair(T* p, Pair x) {
  store(p, x.a);
  store(p + F32::lanes, x.b);
}

// In a fixed tree: halves are added until one double is left.
FIRESTEEL_INLINE double reduce_add(F64 x) {
  auto sum = x.lo + x.hi;
  double part[F32::lanes / 2];
  __builtin_memcpy(part, &sum, sizeof part);
  for (int width = F32::lanes / 4; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) part[i] += part[i + width];
  }
  return part[0];
}
FIRESTEEL_INLINE double reduce_add_f64(F32 x) {
  return reduce_add(widen(x));
}

#ifndef __AVX512F__  // which has it as one instruction
// p * 2^n for a whole number n in [-160, 130] and p near 1. In two steps, because 2^n itself may
// not be a float: with overflow to inf and gradual underflow. NaN in p stays.
FIRESTEEL_INLINE F32 ldexp(F32 p, F32 n) {
  const I32 whole = to_int(n);
  const I32 half = whole >> 1;
  return p * from_bits((U32)(half + 127) << 23) * from_bits((U32)(whole - half + 127) << 23);
}
#endif

// 2^f for |f| <= 1/2: minimax in relative error with the constant term held at 1, so that 2^0 is 1.
FIRESTEEL_INLINE F32 exp2_fraction(F32 f) {
  F32 p = fma(f, 0x1.5bba14p-10f, 0x1.3cea88p-7f);
  p = fma(p, f, 0x1.c6b752p-5f);
  p = fma(p, f, 0x1.ebf9bcp-3f);
  p = fma(p, f, 0x1.62e42ap-1f);
  return fma(p, f, 1.0f);
}

// 2^x, at most 3 ULP over the whole range including subnormal results; -inf gives 0, NaN stays NaN.
FIRESTEEL_INLINE F32 exp2(F32 x) {
  x = min(F32(130.0f), max(F32(-152.0f), x));
  const F32 n = round_even(x);
  return ldexp(exp2_fraction(x - n), n);
}

#ifndef __AVX512F__  // which does it with fewer instructions
// 2^x for x from kExp2Zero, which is where a caller clamps -inf, to 100, half the work of exp2: at
// most 3 ULP from 2^-126 on, something between 0 and 2^-126 below, exactly 0 at kExp2Zero. NaN
// gives any number.
constexpr float kExp2Zero = -127.0f;
FIRESTEEL_INLINE F32 exp2_bounded(F32 x) {
  const F32 shifter(0x1.8p23f);  // leaves the whole part of x in the low bits, rounded to even
  const F32 shifted = x + shifter;
  const F32 p = exp2_fraction(x - (shifted - shifter));
  return from_bits(to_bits(p) + (to_bits(shifted) << 23));
}
#endif

// e^x, at most 2 ULP over the whole range including subnormal results; -inf gives 0, NaN stays NaN.
FIRESTEEL_INLINE F32 exp(F32 x) {
  x = min(F32(90.0f), max(F32(-105.0f), x));
  const F32 n = round_even(x * 0x1.715476p+0f);
  // ln 2 in two parts (Cody and Waite): the first has 15 bits, so that n * high is exact and the
  // reduction loses nothing even where multiply-add rounds twice.
  F32 r = fma(n, -0x1.62e4p-1f, x);
  r = fma(n, -0x1.7f7d1cp-20f, r);
  F32 p = fma(r, 0x1.6a2434p-10f, 0x1.1239e2p-7f);
  p = fma(p, r, 0x1.5558f2p-5f);
  p = fma(p, r, 0x1.555492p-3f);
  p = fma(p, r, 0x1.fffffcp-2f);
  return ldexp(fma(p, r * r, r) + 1.0f, n);
}

// log(1 + x), at most 2 ULP for x in [2^-24 - 1, 2^126]; NaN stays NaN.
FIRESTEEL_INLINE F32 log1p(F32 x) {
  const F32 one(1.0f);
  const F32 y = one + x;
  const F32 lost = x - (y - one);  // what rounding took
  // y = 2^n (1 + r) with 1 + r in [2^-1/2, 2^1/2), what was lost included. Where n is 0, r is x.
  const I32 above = (I32)to_bits(y) - 0x3f3504f3;
  const I32 n = above >> 23;
  const F32 r =
      (from_bits(to_bits(y) - ((U32)n << 23)) - one) + lost * from_bits((U32)(127 - n) << 23);
  F32 p = fma(r, -0x1.41ee12p-4f, 0x1.07d0f2p-3f);
  p = fma(p, r, -0x1.0ce07ap-3f);
  p = fma(p, r, 0x1.226e4ap-3f);
  p = fma(p, r, -0x1.54788ap-3f);
  p = fma(p, r, 0x1.99a596p-3f);
  p = fma(p, r, -0x1.000220p-2f);
  p = fma(p, r, 0x1.55554ap-2f);
  const F32 square = r * r;
  const F32 whole = from_int(n);
  // ln 2 in two parts, as in exp.
  const F32 rest = fma(whole, 0x1.7f7d1cp-20f, fma(p * square, r, square * -0.5f));
  return fma(whole, 0x1.62e4p-1f, r + rest);
}

}  // namespace FIRESTEEL_ISA
}  // namespace firesteel
