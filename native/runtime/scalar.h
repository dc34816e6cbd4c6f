// The vocabulary of simd/ for plain floats, so that the per-element maths of a kernel (its math.h)
// is one template over F: F32 in CPU loops, float in CUDA threads. Inside those templates constants
// are written F(1.0f) and conditions are select(), never if.
//
// Only float matches: a double or an integer would otherwise be narrowed without a word, because
// inside namespace firesteel these names hide those of the C library.
#pragma once
#include <stdint.h>

#include "runtime/dtype.h"

namespace firesteel {

template <class T>
T abs(T) = delete;
template <class T>
T sqrt(T) = delete;
template <class T>
T floor(T) = delete;
template <class T>
T round_even(T) = delete;
template <class T>
T exp(T) = delete;
template <class T>
T exp2(T) = delete;
template <class T>
T log(T) = delete;
template <class T>
T log1p(T) = delete;
template <class T>
T log2(T) = delete;
template <class T>
T max(T, T) = delete;
template <class T>
T min(T, T) = delete;
template <class T>
T fma(T, T, T) = delete;

#ifdef __CUDA_ARCH__
FIRESTEEL_HD inline float abs(float x) {
  return fabsf(x);
}
FIRESTEEL_HD inline float sqrt(float x) {
  return sqrtf(x);
}
FIRESTEEL_HD inline float floor(float x) {
  return floorf(x);
}
FIRESTEEL_HD inline float round_even(float x) {
  return rintf(x);
}
FIRESTEEL_HD inline float exp(float x) {
  return expf(x);
}
FIRESTEEL_HD inline float exp2(float x) {
  return exp2f(x);
}
FIRESTEEL_HD inline float log(float x) {
  return logf(x);
}
FIRESTEEL_HD inline float log1p(float x) {
  return log1pf(x);
}
FIRESTEEL_HD inline float log2(float x) {
  return log2f(x);
}
FIRESTEEL_HD inline float fma(float a, float b, float c) {
  return fmaf(a, b, c);
}
FIRESTEEL_HD inline uint32_t float_bits(float x) {
  return __float_as_uint(x);
}
FIRESTEEL_HD inline float bits_float(uint32_t x) {
  return __uint_as_float(x);
}
#else
FIRESTEEL_HD inline float abs(float x) {
  return __builtin_fabsf(x);
}
FIRESTEEL_HD inline float sqrt(float x) {
  return __builtin_sqrtf(x);
}
FIRESTEEL_HD inline float floor(float x) {
  return __builtin_floorf(x);
}
FIRESTEEL_HD inline float round_even(float x) {
  return __builtin_rintf(x);
}
FIRESTEEL_HD inline float exp(float x) {
  return __builtin_expf(x);
}
FIRESTEEL_HD inline float exp2(float x) {
  return __builtin_exp2f(x);
}
FIRESTEEL_HD inline float log(float x) {
  return __builtin_logf(x);
}
FIRESTEEL_HD inline float log1p(float x) {
  return __builtin_log1pf(x);
}
FIRESTEEL_HD inline float log2(float x) {
  return __builtin_log2f(x);
}
FIRESTEEL_HD inline float fma(float a, float b, float c) {
  return __builtin_fmaf(a, b, c);
}
FIRESTEEL_HD inline uint32_t float_bits(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  return bits;
}
FIRESTEEL_HD inline float bits_float(uint32_t bits) {
  float x;
  __builtin_memcpy(&x, &bits, sizeof x);
  return x;
}
#endif

// Where an operand is NaN the second one is returned, as SSE and AVX do.
FIRESTEEL_HD inline float max(float a, float b) {
  return a > b ? a : b;
}
FIRESTEEL_HD inline float min(float a, float b) {
  return a < b ? a : b;
}
FIRESTEEL_HD inline float select(bool condition, float yes, float no) {
  return condition ? yes : no;
}
FIRESTEEL_HD inline bool any(bool condition) {
  return condition;
}

// Exact widening and rounding to nearest, ties to even; NaN stays NaN.
FIRESTEEL_HD inline float to_float(float x) {
  return x;
}
FIRESTEEL_HD inline float to_float(bf16 x) {
  return bits_float(uint32_t{x.bits} << 16);
}
FIRESTEEL_HD inline float to_float(f16 x) {
  const uint32_t magnitude = (x.bits & 0x7fffu) << 13;
  // 2^112 moves the exponent from bias 15 to bias 127 and normalizes half's subnormals on the way.
  const uint32_t finite = float_bits(bits_float(magnitude) * 0x1p112f);
  const uint32_t special = magnitude >= 0x0f800000u ? 0x7f800000u : 0u;
  return bits_float((uint32_t{x.bits} & 0x8000u) << 16 | finite | special);
}

template <class T>
T from_float(float x);
template <>
FIRESTEEL_HD inline float from_float<float>(float x) {
  return x;
}
template <>
FIRESTEEL_HD inline bf16 from_float<bf16>(float x) {
  const uint32_t bits = float_bits(x);
  const uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
  return {static_cast<uint16_t>(x == x ? rounded : bits >> 16 | 0x40u)};
}
template <>
FIRESTEEL_HD inline f16 from_float<f16>(float x) {
  const uint32_t bits = float_bits(x);
  const uint32_t magnitude = bits & 0x7fffffffu;
  uint32_t half;
  if (magnitude > 0x7f800000u) {
    half = 0x7e00u;
  } else if (magnitude >= 0x47800000u) {  // 2^16 and above
    half = 0x7c00u;
  } else if (magnitude < 0x38800000u) {  // below 2^-14: adding 0.5 aligns and rounds the subnormal
    half = float_bits(bits_float(magnitude) + 0.5f) - 0x3f000000u;
  } else {
    half = (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
  }
  return {static_cast<uint16_t>((bits >> 16 & 0x8000u) | half)};
}

}  // namespace firesteel
