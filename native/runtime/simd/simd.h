// One vector of floats, in the widest form that FIRESTEEL_ISA offers. A kernel's simd.cc includes
// this file, is compiled once per instruction set, and works inside namespace
// firesteel::FIRESTEEL_ISA:
//
//   F32 (with lanes), Mask, and I32 and U32 for its bits
//   load, load_partial, store, store_partial for float, bf16 and f16; load_mask for bytes
//   + - * /, fma, max, min, abs, sqrt, floor, round_even, exp, exp2, comparisons, select
//   reduce_add, reduce_max, reduce_min: in a fixed tree
//   F64: a vector's worth of doubles, for sums that must not lose bits; widen, and narrow, which
//   rounds to nearest even
//
// The scalar forms of the same names are in runtime/scalar.h. Tails use load_partial and the vector
// form, so that an element's result does not depend on where in a row it stands.
#pragma once

#ifndef FIRESTEEL_ISA
#error "simd.h is for per-ISA objects: compile with -DFIRESTEEL_ISA=sse2, avx2, avx512 or neon"
#endif

#include <stddef.h>
#include <stdint.h>

#include "runtime/dtype.h"
#include "runtime/scalar.h"

#define FIRESTEEL_INLINE static inline __attribute__((always_inline))
#define FIRESTEEL_MEMBER inline __attribute__((always_inline))

// FIRESTEEL_ISA also names the namespace, so it is a word; an #include line made from it would not
// survive a formatter.
#define FIRESTEEL_IS_sse2 1
#define FIRESTEEL_IS_avx2 2
#define FIRESTEEL_IS_avx512 3
#define FIRESTEEL_IS_neon 4
#define FIRESTEEL_JOIN_(a, b) a##b
#define FIRESTEEL_JOIN(a, b) FIRESTEEL_JOIN_(a, b)
#if FIRESTEEL_JOIN(FIRESTEEL_IS_, FIRESTEEL_ISA) == FIRESTEEL_IS_sse2
#include "runtime/simd/sse2.h"
#elif FIRESTEEL_JOIN(FIRESTEEL_IS_, FIRESTEEL_ISA) == FIRESTEEL_IS_avx2
#include "runtime/simd/avx2.h"
#elif FIRESTEEL_JOIN(FIRESTEEL_IS_, FIRESTEEL_ISA) == FIRESTEEL_IS_avx512
#include "runtime/simd/avx512.h"
#elif FIRESTEEL_JOIN(FIRESTEEL_IS_, FIRESTEEL_ISA) == FIRESTEEL_IS_neon
#include "runtime/simd/neon.h"
#else
#error "unknown FIRESTEEL_ISA"
#endif

#include "runtime/simd/math.h"
