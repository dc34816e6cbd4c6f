// Everything that is one machine instruction or little more, each with the plain C++ that stands in
// for it under the emulator: 16-byte accesses with cache hints, exp2, 16-bit floats, faults.
//
// Accurate exp, exp2 and log (<= 2 ULP) are expf, exp2f and logf: sources are compiled without
// fast-math. Fused multiply-add is fmaf, where it is wanted.
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "runtime/cuda/launch.h"
#include "runtime/dtype.h"
#include "runtime/fault.h"
#include "runtime/scalar.h"

namespace firesteel {

// 2^x by the special function unit: relative error <= 2^-22, results below 2^-126 are 0, NaN stays.
__host__ __device__ __forceinline__ float exp2_approx(float x) {
#ifdef __CUDA_ARCH__
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  const float y = exp2f(x);
  return y < 1.17549435e-38f ? 0.0f : y;
#endif
}

// ---- 16-bit floats
// -------------------------------------------------------------------------------

// Exact.
__device__ __forceinline__ float widen(float x) {
  return x;
}
__device__ __forceinline__ float widen(bf16 x) {
  return to_float(x);
}
__device__ __forceinline__ float widen(f16 x) {
#ifdef __CUDA_ARCH__
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
#else
  return to_float(x);
#endif
}

// Round to nearest even; NaN stays NaN; f16 overflows to infinity.
template <class T>
__device__ __forceinline__ T narrow(float x);
template <>
__device__ __forceinline__ float narrow<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ bf16 narrow<bf16>(float x) {
#ifdef __CUDA_ARCH__
  uint16_t bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return {bits};
#else
  return from_float<bf16>(x);
#endif
}
template <>
__device__ __forceinline__ f16 narrow<f16>(float x) {
#ifdef __CUDA_ARCH__
  uint16_t bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return {bits};
#else
  return from_float<f16>(x);
#endif
}

// Two neighbours in memory, the first one in the lower half.
template <class T>
__device__ __forceinline__ uint32_t narrow_pair(float first, float second);
template <>
__device__ __forceinline__ uint32_t narrow_pair<bf16>(float first, float second) {
#ifdef __CUDA_ARCH__
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  return pair;
#else
  return uint32_t{narrow<bf16>(second).bits} << 16 | narrow<bf16>(first).bits;
#endif
}
template <>
__device__ __forceinline__ uint32_t narrow_pair<f16>(float first, float second) {
#ifdef __CUDA_ARCH__
  uint32_t pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  return pair;
#else
  return uint32_t{narrow<f16>(second).bits} << 16 | narrow<f16>(first).bits;
#endif
}

// The larger of two, or of two pairs, passing over NaN as fmaxf does.
template <class T>
__device__ __forceinline__ uint32_t max_words(uint32_t a, uint32_t b) {
#ifdef __CUDA_ARCH__
  return __float_as_uint(fmaxf(__uint_as_float(a), __uint_as_float(b)));
#else
  return float_bits(fmaxf(bits_float(a), bits_float(b)));
#endif
}
#ifndef __CUDA_ARCH__
template <class T>
uint32_t max_pairs(uint32_t a, uint32_t b) {
  const auto half = [](uint32_t word, int i) {
    return widen(T{static_cast<uint16_t>(word >> 16 * i)});
  };
  return narrow_pair<T>(fmaxf(half(a, 0), half(b, 0)), fmaxf(half(a, 1), half(b, 1)));
}
#endif
template <>
__device__ __forceinline__ uint32_t max_words<bf16>(uint32_t a, uint32_t b) {
#ifdef __CUDA_ARCH__
  uint32_t y;
  asm("max.bf16x2 %0, %1, %2;" : "=r"(y) : "r"(a), "r"(b));
  return y;
#else
  return max_pairs<bf16>(a, b);
#endif
}
template <>
__device__ __forceinline__ uint32_t max_words<f16>(uint32_t a, uint32_t b) {
#ifdef __CUDA_ARCH__
  uint32_t y;
  asm("max.f16x2 %0, %1, %2;" : "=r"(y) : "r"(a), "r"(b));
  return y;
#else
  return max_pairs<f16>(a, b);
#endif
}

// The lower word of `high:low` shifted right by `bits` < 32.
__device__ __forceinline__ uint32_t funnel_right(uint32_t low, uint32_t high, int bits) {
#ifdef __CUDA_ARCH__
  return __funnelshift_r(low, high, static_cast<unsigned>(bits));
#else
  return static_cast<uint32_t>((uint64_t{high} << 32 | low) >> bits);
#endif
}

// ---- 16-byte accesses
// ----------------------------------------------------------------------------

// As many neighbouring elements as one 16-byte access holds.
template <class T>
struct alignas(16) Pack {
  static constexpr int size = 16 / static_cast<int>(sizeof(T));
  T x[size];
};

// The same 16 bytes as words: two elements of 16 bits each, or one.
struct PackWords {
  uint32_t w[4];
};
template <class T>
__device__ __forceinline__ PackWords words_of(const Pack<T>& pack) {
  PackWords words;
  memcpy(&words, &pack, sizeof words);
  return words;
}
template <class T>
__device__ __forceinline__ Pack<T> pack_of(const PackWords& words) {
  Pack<T> pack;
  memcpy(&pack, &words, sizeof pack);
  return pack;
}

// The same value, of which the compiler no longer knows that: what is computed of it is not kept in
// registers for what is computed of the original.
__device__ __forceinline__ PackWords opaque(PackWords words) {
#ifdef __CUDA_ARCH__
#pragma unroll
  for (int i = 0; i < 4; ++i) asm volatile("" : "+r"(words.w[i]));
#endif
  return words;
}

// Element i of a pack.
template <class T>
__device__ __forceinline__ float widen_at(const PackWords& pack, int i) {
  return widen(T{static_cast<uint16_t>(pack.w[i / 2] >> 16 * (i % 2))});
}
template <>
__device__ __forceinline__ float widen_at<bf16>(const PackWords& pack, int i) {
  return bits_float(i % 2 == 0 ? pack.w[i / 2] << 16 : pack.w[i / 2] & 0xffff0000u);
}
template <>
__device__ __forceinline__ float widen_at<float>(const PackWords& pack, int i) {
  return bits_float(pack.w[i]);
}

// Rounds a pack of floats.
template <class T>
__device__ __forceinline__ Pack<T> narrow_pack(const float (&x)[Pack<T>::size]) {
  PackWords words;
#pragma unroll
  for (int i = 0; i < 4; ++i) words.w[i] = narrow_pair<T>(x[2 * i], x[2 * i + 1]);
  return pack_of<T>(words);
}
template <>
__device__ __forceinline__ Pack<float> narrow_pack(const float (&x)[4]) {
  return {{x[0], x[1], x[2], x[3]}};
}

// Whether rows at p, p + stride, p + 2 * stride, ... (elements) may be accessed by packs.
template <class T>
__host__ __device__ __forceinline__ bool pack_aligned(const T* p, int64_t stride) {
  return reinterpret_cast<uintptr_t>(p) % 16 == 0 && stride % Pack<T>::size == 0;
}

#ifdef FIRESTEEL_EMULATED

template <class T>
Pack<T> load_pack(const T* p) {
  emulator::require_aligned(p, 16);
  Pack<T> pack;
  memcpy(&pack, p, sizeof pack);
  return pack;
}
template <class T>
Pack<T> load_pack(SharedPtr<T> p) {
  emulator::require_aligned(p.address(), 16);
  Pack<T> pack;
  p.read_run(pack.x, Pack<T>::size);
  return pack;
}
template <class T>
Pack<T> load_pack_streaming(const T* p) {
  return load_pack(p);
}
template <class T>
void store_pack(T* p, const Pack<T>& pack) {
  emulator::require_aligned(p, 16);
  memcpy(p, &pack, sizeof pack);
}
template <class T>
void store_pack(SharedPtr<T> p, const Pack<T>& pack) {
  emulator::require_aligned(p.address(), 16);
  p.write_run(pack.x, Pack<T>::size);
}
template <class T>
void store_pack_streaming(T* p, const Pack<T>& pack) {
  store_pack(p, pack);
}

#else

template <class T>
__device__ __forceinline__ Pack<T> load_pack(const T* p) {
  return *reinterpret_cast<const Pack<T>*>(p);
}
// Global memory that nobody will read again soon: not kept in L1.
template <class T>
__device__ __forceinline__ Pack<T> load_pack_streaming(const T* p) {
  union {
    uint32_t word[4];
    Pack<T> pack;
  } u;
  asm volatile("ld.global.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(u.word[0]), "=r"(u.word[1]), "=r"(u.word[2]), "=r"(u.word[3])
               : "l"(__cvta_generic_to_global(p))
               : "memory");
  return u.pack;
}
template <class T>
__device__ __forceinline__ void store_pack(T* p, const Pack<T>& pack) {
  *reinterpret_cast<Pack<T>*>(p) = pack;
}
// Evicted first: for results larger than the caches.
template <class T>
__device__ __forceinline__ void store_pack_streaming(T* p, const Pack<T>& pack) {
  union {
    Pack<T> pack;
    uint32_t word[4];
  } u;
  u.pack = pack;
  asm volatile("st.global.cs.v4.u32 [%0], {%1, %2, %3, %4};"
               :
               : "l"(__cvta_generic_to_global(p)), "r"(u.word[0]), "r"(u.word[1]), "r"(u.word[2]),
                 "r"(u.word[3])
               : "memory");
}

#endif  // FIRESTEEL_EMULATED

// Asks for memory to be brought into the second-level cache, from sm_90 on: one instruction
// whatever the size. p and bytes are multiples of 16.
__device__ __forceinline__ void prefetch_bulk(const void* p, int bytes) {
#ifdef FIRESTEEL_EMULATED
  emulator::require_aligned(p, 16);
  static_cast<void>(bytes);
#elif defined(FIRESTEEL_CLUSTERS)
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;"
               :
               : "l"(__cvta_generic_to_global(p)), "r"(bytes)
               : "memory");
#endif
}

// Four neighbouring elements of any type by one access: 16 bytes, or 8.
template <class T>
struct alignas(4 * sizeof(T)) Four {
  T x[4];
};
template <class T>
__host__ __device__ __forceinline__ bool four_aligned(const T* p, int64_t stride) {
  return reinterpret_cast<uintptr_t>(p) % sizeof(Four<T>) == 0 && stride % 4 == 0;
}
template <class T>
__device__ __forceinline__ Four<T> load_four(const T* p) {
#ifdef FIRESTEEL_EMULATED
  emulator::require_aligned(p, sizeof(Four<T>));
#endif
  return *reinterpret_cast<const Four<T>*>(p);
}

// Two neighbouring floats by one access of 8 bytes.
struct alignas(8) Two {
  float x[2];
};
__device__ __forceinline__ void store_two(float* p, const Two& two) {
#ifdef FIRESTEEL_EMULATED
  emulator::require_aligned(p, sizeof two);
#endif
  *reinterpret_cast<Two*>(p) = two;
}
#ifdef FIRESTEEL_EMULATED
inline Two load_two(SharedPtr<float> p) {
  emulator::require_aligned(p.address(), sizeof(Two));
  Two two;
  p.read_run(two.x, 2);
  return two;
}
#else
__device__ __forceinline__ Two load_two(const float* p) {
  return *reinterpret_cast<const Two*>(p);
}
#endif

// `count` may be negative or larger than a pack.
template <class T>
__device__ __forceinline__ int pack_count(int64_t count) {
  return count < 0 ? 0 : count < Pack<T>::size ? static_cast<int>(count) : Pack<T>::size;
}

// Element by element: where the address is not aligned, and at the end of a row (`count` elements
// exist, the others read as `fill` and are not written). Values are those of the 16-byte forms.
template <class T>
__device__ __forceinline__ Pack<T> load_pack_partial(const T* p, int64_t count, T fill) {
  const int n = pack_count<T>(count);
  Pack<T> pack;
#pragma unroll
  for (int i = 0; i < Pack<T>::size; ++i) pack.x[i] = i < n ? p[i] : fill;
  return pack;
}
template <class T>
__device__ __forceinline__ void store_pack_partial(T* p, const Pack<T>& pack, int64_t count) {
  const int n = pack_count<T>(count);
#pragma unroll
  for (int i = 0; i < Pack<T>::size; ++i) {
    if (i < n) p[i] = pack.x[i];
  }
}

// ---- faults
// --------------------------------------------------------------------------------------

// Integer atomics only: the count and the smallest row do not depend on the order of threads.
__device__ __forceinline__ void record_fault(FaultWord* word, Fault kind, int64_t row) {
  const int k = static_cast<int>(kind);
  atomicAdd(&word->count[k], 1u);
  atomicMin(&word->first_row[k], static_cast<uint32_t>(row));
}

}  // namespace firesteel
