// One vector of floats, in the widest form that FIRESTEEL_ISA offers. A kernel's simd.cc includes this
// file, is compiled once per instruction set, and works inside namespace firesteel::FIRESTEEL_ISA:
//
//   F32 (with lanes), Mask, I32
//   load, load_partial, store, store_partial for float, bf16 and f16; load_mask for bytes
//   + - * /, fma, max, min, abs, sqrt, floor, round_even, exp, exp2, comparisons, select
//   reduce_add, reduce_max, reduce_min: in a fixed tree
//   F64: a vector's worth of doubles, for sums that must not lose bits
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
#define FIRESTEEL_TEXT_(x) #x
#define FIRESTEEL_TEXT(x) FIRESTEEL_TEXT_(x)
#include FIRESTEEL_TEXT(runtime/simd/FIRESTEEL_ISA.h)

#include "runtime/simd/math.h"
