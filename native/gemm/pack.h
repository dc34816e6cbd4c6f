// Packing operands of the register tile (tile.h) into panels: term after term, `width` elements
// each, widened to float. Those that lie along the terms are transposed in registers.
#pragma once
#include "runtime/simd/simd.h"

#if defined(__AVX512F__) || defined(__AVX2__) || defined(__SSE2__)
#include <immintrin.h>
#endif

namespace firesteel {
namespace FIRESTEEL_ISA {
namespace {

// a0 b0 a1 b1 ... of the lower (upper) halves of a and b.
#if defined(__AVX512F__)
FIRESTEEL_INLINE void interleave(F32 a, F32 b, F32& low, F32& high) {
  const __m512i l = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i h = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  low.v = _mm512_permutex2var_ps(a.v, l, b.v);
  high.v = _mm512_permutex2var_ps(a.v, h, b.v);
}
#elif defined(__AVX2__)
FIRESTEEL_INLINE void interleave(F32 a, F32 b, F32& low, F32& high) {
  const __m256 l = _mm256_unpacklo_ps(a.v, b.v), h = _mm256_unpackhi_ps(a.v, b.v);
  low.v = _mm256_permute2f128_ps(l, h, 0x20);
  high.v = _mm256_permute2f128_ps(l, h, 0x31);
}
#elif defined(__ARM_NEON)
FIRESTEEL_INLINE void interleave(F32 a, F32 b, F32& low, F32& high) {
  low.v = vzip1q_f32(a.v, b.v);
  high.v = vzip2q_f32(a.v, b.v);
}
#else
FIRESTEEL_INLINE void interleave(F32 a, F32 b, F32& low, F32& high) {
  low.v = _mm_unpacklo_ps(a.v, b.v);
  high.v = _mm_unpackhi_ps(a.v, b.v);
}
#endif

// Lane j of row i becomes lane i of row j. One round of interleaving rows i and i + lanes / 2
// rotates the bits of (row, lane) by one; log2(lanes) rounds exchange row and lane.
FIRESTEEL_INLINE void transpose(F32 (&rows)[F32::lanes]) {
  constexpr int half = F32::lanes / 2;
  for (int round = 1; round < F32::lanes; round *= 2) {
    F32 next[F32::lanes];
    for (int i = 0; i < half; ++i) {
      interleave(rows[i], rows[i + half], next[2 * i], next[2 * i + 1]);
    }
    for (int i = 0; i < F32::lanes; ++i) rows[i] = next[i];
  }
}

// Rows from memory: a hardware prefetcher starts anew in every one. 4 lines ahead gave 18 GB/s in
// place of 13 on one core; 8 lines 15.
constexpr int kAheadBytes = 256;

// to[p * width + i] = row(i)[p] for i < count and p < terms; 0 for count <= i < width. `far`: the
// rows are in no cache.
template <class Row>
FIRESTEEL_INLINE void pack_rows(float* to, int width, const Row& row, int count, int64_t terms,
                                bool far = false) {
  constexpr int lanes = F32::lanes;
  for (int first = 0; first < width; first += lanes) {
    const int wide = width - first < lanes ? width - first : lanes;
    for (int64_t p = 0; p < terms; p += lanes) {
      const int depth = terms - p < lanes ? static_cast<int>(terms - p) : lanes;
      for (int i = first; far && i < first + wide && i < count; ++i) {
        __builtin_prefetch(reinterpret_cast<const char*>(row(i) + p) + kAheadBytes);
      }
      F32 square[lanes];
      for (int i = 0; i < lanes; ++i) {
        square[i] = i >= wide || first + i >= count ? splat(0.0f)
                    : depth == lanes                ? load(row(first + i) + p)
                                                    : load_partial(row(first + i) + p, depth, 0.0f);
      }
      transpose(square);
      float* out = to + p * width + first;
      if (depth == lanes && wide == lanes) {
        for (int i = 0; i < lanes; ++i) store(out + i * width, square[i]);
      } else {
        for (int i = 0; i < lanes; ++i) {
          if (i < depth) store_partial(out + i * width, square[i], wide);
        }
      }
    }
  }
}

// to[p * width + i] = from[i * i_step + p * p_step] for i < count and p < terms; 0 for count <= i <
// width. Reads nothing else. `far`: as above.
template <class T>
FIRESTEEL_INLINE void pack_panel(float* to, int width, const T* from, int64_t i_step,
                                 int64_t p_step, int count, int64_t terms, bool far = false) {
  if (i_step == 1 && count == width && width % F32::lanes == 0) {
    for (int64_t p = 0; p < terms; ++p) {
      for (int i = 0; i < width; i += F32::lanes) {
        store(to + p * width + i, load(from + p * p_step + i));
      }
    }
  } else if (i_step == 1) {
    for (int first = 0; first < width; first += F32::lanes) {
      const int wide = width - first < F32::lanes ? width - first : F32::lanes;
      const int have = count - first < 0 ? 0 : count - first < wide ? count - first : wide;
      float* out = to + first;
      if (have == F32::lanes) {
        for (int64_t p = 0; p < terms; ++p) store(out + p * width, load(from + p * p_step + first));
      } else {
        for (int64_t p = 0; p < terms; ++p) {
          const F32 x =
              have > 0 ? load_partial(from + p * p_step + first, have, 0.0f) : splat(0.0f);
          store_partial(out + p * width, x, wide);
        }
      }
    }
  } else if (p_step == 1) {
    pack_rows(
        to, width, [&](int i) { return from + i * i_step; }, count, terms, far);
  } else {
    for (int64_t p = 0; p < terms; ++p) {
      for (int i = 0; i < width; ++i) {
        to[p * width + i] = i < count ? to_float(from[i * i_step + p * p_step]) : 0.0f;
      }
    }
  }
}

}  // namespace
}  // namespace FIRESTEEL_ISA
}  // namespace firesteel
