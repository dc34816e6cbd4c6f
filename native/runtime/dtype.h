// Element types of tensors. The 16-bit types are plain bit patterns: arithmetic is always done in
// float, and conversions are written once per instruction set (simd/) and once for scalars here.
#pragma once
#include <stdint.h>

// Marks functions that kernels of both backends share. In a per-ISA object nothing may be emitted
// that another object could pick up (one definition, wrong instructions), so there they are
// inlined.
#ifdef __CUDACC__
#define FIRESTEEL_HD __host__ __device__
#elif defined(FIRESTEEL_ISA)
#define FIRESTEEL_HD __attribute__((always_inline))
#else
#define FIRESTEEL_HD
#endif

namespace firesteel {

// The values are part of the addon's protocol with src/engine/dtype.ts.
enum class DType : int32_t { f32 = 0, bf16 = 1, f16 = 2, f64 = 3, i32 = 4, u8 = 5 };

constexpr int64_t size_of(DType t) {
  return t == DType::f64                       ? 8
         : t == DType::f32 || t == DType::i32  ? 4
         : t == DType::bf16 || t == DType::f16 ? 2
                                               : 1;
}

struct bf16 {
  uint16_t bits;
};
struct f16 {
  uint16_t bits;
};

}  // namespace firesteel
