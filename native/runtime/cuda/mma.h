// Products of small matrices on the tensor cores, by whole warps, and what feeds them: fragments
// from shared memory (ldmatrix) and copies to it that bypass the registers (cp.async). Each with
// the plain C++ that stands in for it under the emulator.
//
// Every function whose name has no cp_async is a meeting of the 32 lanes of a warp.
#pragma once
#include "runtime/cuda/ptx.h"

namespace firesteel {

// ---- D [16, 8] += A [16, 16] B [16, 8]
// -----------------------------------------------------------
//
// What lane l = 4 * g + t holds; the lower half of a register is the left, or upper, element:
//   a[0]  A[g    ][2t, 2t + 1]      a[2]  A[g    ][2t + 8, 2t + 9]
//   a[1]  A[g + 8][2t, 2t + 1]      a[3]  A[g + 8][2t + 8, 2t + 9]
//   b[0]  B[2t, 2t + 1][g]          b[1]  B[2t + 8, 2t + 9][g]
//   d[0], d[1]  D[g][2t, 2t + 1]    d[2], d[3]  D[g + 8][2t, 2t + 1]
//
// Products are exact. The emulator adds them to D one by one in the order of k, each sum rounded. A
// card adds 16 of them (sm_80: twice 8) and D at once, aligned to the largest and cut off below its
// 24th bit or a few bits later, so bits differ between the two and between generations of cards,
// but not from run to run: |D - exact| <= 17 * 2^-23 * max(|D|, |a b|) covers all of them, and a
// chain of such steps over K terms is off by at most K 2^-23 sum |a b| (1 + a few per cent).
// NaN and infinities arrive as in plain arithmetic.

#ifdef FIRESTEEL_EMULATED

namespace emulator {

struct MmaLane {
  float* d;
  const uint32_t* a;
  const uint32_t* b;
};

template <class T>
void mma_warp(void* const (&lanes)[32]) {
  const auto half = [](uint32_t pair, int i) {
    return to_float(T{static_cast<uint16_t>(pair >> 16 * i)});
  };
  float a[16][16], b[16][8], d[16][8];
  for (int l = 0; l < 32; ++l) {
    const MmaLane& lane = *static_cast<const MmaLane*>(lanes[l]);
    const int g = l / 4, t = l % 4;
    for (int i = 0; i < 2; ++i) {
      for (int r = 0; r < 4; ++r) a[g + r % 2 * 8][2 * t + i + r / 2 * 8] = half(lane.a[r], i);
      for (int r = 0; r < 2; ++r) b[2 * t + i + r * 8][g] = half(lane.b[r], i);
      for (int r = 0; r < 2; ++r) d[g + r * 8][2 * t + i] = lane.d[2 * r + i];
    }
  }
  for (int k = 0; k < 16; ++k) {
    for (int i = 0; i < 16; ++i) {
      for (int j = 0; j < 8; ++j) d[i][j] += a[i][k] * b[k][j];
    }
  }
  for (int l = 0; l < 32; ++l) {
    const MmaLane& lane = *static_cast<const MmaLane*>(lanes[l]);
    for (int r = 0; r < 4; ++r) lane.d[r] = d[l / 4 + r / 2 * 8][l % 4 * 2 + r % 2];
  }
}

}  // namespace emulator

template <class T>
void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                  const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  emulator::MmaLane lane{d, a, b};
  emulator::warp_collect(&lane, emulator::mma_warp<T>, {"mma", file, line});
}

#else

// T: bf16 or f16.
template <class T>
__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4],
                                             const uint32_t (&b)[2]);
template <>
__device__ __forceinline__ void mma_m16n8k16<bf16>(float (&d)[4], const uint32_t (&a)[4],
                                                   const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
template <>
__device__ __forceinline__ void mma_m16n8k16<f16>(float (&d)[4], const uint32_t (&a)[4],
                                                  const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#endif  // FIRESTEEL_EMULATED

// Two floats as a register of a fragment; `low` is the left, or upper, element.
template <class T>
__device__ __forceinline__ uint32_t pack_halves(float low, float high) {
  return static_cast<uint32_t>(narrow<T>(low).bits) | static_cast<uint32_t>(narrow<T>(high).bits)
                                                          << 16;
}

// ---- fragments from shared memory
// ----------------------------------------------------------------
//
// ldmatrix_x4 loads four 8 x 8 matrices of 16-bit elements, ldmatrix_x2 two. A row is 16 bytes at a
// multiple of 16; lane 8 j + i says where row i of matrix j stands (x2: lanes 16 to 31 say nothing,
// but pass a legal address). Lane 4 g + t gets in r[j] the elements (g, 2t) and (g, 2t + 1) of
// matrix j; with TRANS of its transpose: (2t, g) and (2t + 1, g).
//
// So a[] of a row-major A is x4 over the corners (0, 0), (8, 0), (0, 8), (8, 8), and b[] is x2 over
// (0, 0), (8, 0) of a row-major B with TRANS, or over (0, 0), (0, 8) of a row-major B^T without.

#ifdef FIRESTEEL_EMULATED

namespace emulator {

struct LdmatrixLane {
  uint16_t row[8];
  uint32_t* r;
};

template <int MATRICES, bool TRANS>
void ldmatrix_warp(void* const (&lanes)[32]) {
  const auto row = [&](int i) { return static_cast<const LdmatrixLane*>(lanes[i])->row; };
  for (int l = 0; l < 32; ++l) {
    const int g = l / 4, t = l % 4;
    for (int j = 0; j < MATRICES; ++j) {
      const uint32_t low = TRANS ? row(8 * j + 2 * t)[g] : row(8 * j + g)[2 * t];
      const uint32_t high = TRANS ? row(8 * j + 2 * t + 1)[g] : row(8 * j + g)[2 * t + 1];
      static_cast<const LdmatrixLane*>(lanes[l])->r[j] = low | high << 16;
    }
  }
}

// Each lane reads the row whose address it gave, through the checks of shared memory.
template <int MATRICES, bool TRANS, class T>
void ldmatrix(uint32_t (&r)[MATRICES], SharedPtr<T> row, Site site) {
  static_assert(sizeof(T) == 2, "ldmatrix moves 16-bit elements");
  require_aligned(row.address(), 16);
  LdmatrixLane lane{};
  lane.r = r;
  if (threadIdx.x % 32 < 8 * MATRICES) {
    T elements[8];
    row.read_run(elements, 8);
    memcpy(lane.row, elements, sizeof lane.row);
  }
  warp_collect(&lane, ldmatrix_warp<MATRICES, TRANS>, site);
}

}  // namespace emulator

template <bool TRANS = false, class T>
void ldmatrix_x4(uint32_t (&r)[4], SharedPtr<T> row, const char* file = __builtin_FILE(),
                 int line = __builtin_LINE()) {
  emulator::ldmatrix<4, TRANS>(r, row, {"ldmatrix_x4", file, line});
}
template <bool TRANS = false, class T>
void ldmatrix_x2(uint32_t (&r)[2], SharedPtr<T> row, const char* file = __builtin_FILE(),
                 int line = __builtin_LINE()) {
  emulator::ldmatrix<2, TRANS>(r, row, {"ldmatrix_x2", file, line});
}

#else

__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

template <bool TRANS = false, class T>
__device__ __forceinline__ void ldmatrix_x4(uint32_t (&r)[4], const T* row) {
  static_assert(sizeof(T) == 2, "ldmatrix moves 16-bit elements");
  if (TRANS) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
  }
}
template <bool TRANS = false, class T>
__device__ __forceinline__ void ldmatrix_x2(uint32_t (&r)[2], const T* row) {
  static_assert(sizeof(T) == 2, "ldmatrix moves 16-bit elements");
  if (TRANS) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(shared_address(row))
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(shared_address(row))
                 : "memory");
  }
}

#endif  // FIRESTEEL_EMULATED

// ---- copies from global to shared memory behind the thread's back
// --------------------------------
//
//   cp_async_16(to, from, bytes);   // any number of them
//   cp_async_commit();              // they become a group
//   cp_async_wait<1>();             // all but the newest group have arrived, for this thread;
//   __syncthreads();                // now for all threads of the block
//
// Both addresses are multiples of 16. The first `bytes` (0 to 16) are copied, the rest of the 16 is
// filled with zeros; with 0 `from` is not read. Past L1: what is copied should be shared by the
// block, not by its neighbours in time.

#ifdef FIRESTEEL_EMULATED

template <class T>
void cp_async_16(SharedPtr<T> to, const T* from, int bytes = 16) {
  to.copy_from(from, bytes);
}
inline void cp_async_commit() {
  emulator::copy_commit();
}
template <int GROUPS_LEFT>
void cp_async_wait() {
  emulator::copy_wait(GROUPS_LEFT);
}

#else

template <class T>
__device__ __forceinline__ void cp_async_16(T* to, const T* from, int bytes = 16) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :
               : "r"(shared_address(to)), "l"(__cvta_generic_to_global(from)), "r"(bytes)
               : "memory");
}
__device__ __forceinline__ void cp_async_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int GROUPS_LEFT>
__device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(GROUPS_LEFT) : "memory");
}

#endif  // FIRESTEEL_EMULATED

}  // namespace firesteel
