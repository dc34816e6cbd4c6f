// Eight neighbouring tokens of a row in one thread: 16 bytes of a 16-bit dtype, twice 16 of f32, so
// that a student and a teacher of different dtypes are walked in step.
#pragma once
#include "runtime/cuda/launch.h"
#include "runtime/cuda/ptx.h"
#include "runtime/cuda/reduce.h"

namespace firesteel {

constexpr int kGroup = 8;

// Tokens first .. first + 8 of a row; those from `vocab` on are -inf. `wide`: the row may be read
// 16 bytes at a time, which changes no value.
template <class T>
__device__ __forceinline__ void load_group(const T* row, int first, int vocab, bool wide,
                                           float (&x)[kGroup]) {
  constexpr int size = Pack<T>::size, packs = kGroup / size;
  const bool whole = wide && first + kGroup <= vocab;
  const T nothing = narrow<T>(-INFINITY);
  Pack<T> pack[packs];
#pragma unroll
  for (int k = 0; k < packs; ++k) {
    const T* p = row + first + k * size;
    pack[k] =
        whole ? load_pack_streaming(p) : load_pack_partial(p, vocab - first - k * size, nothing);
  }
#pragma unroll
  for (int i = 0; i < kGroup; ++i) x[i] = widen(pack[i / size].x[i % size]);
}

template <class T>
__device__ __forceinline__ void store_group(T* row, int first, int vocab, bool wide,
                                            const float (&x)[kGroup]) {
  constexpr int size = Pack<T>::size, packs = kGroup / size;
  const bool whole = wide && first + kGroup <= vocab;
#pragma unroll
  for (int k = 0; k < packs; ++k) {
    Pack<T> pack;
#pragma unroll
    for (int i = 0; i < size; ++i) pack.x[i] = narrow<T>(x[k * size + i]);
    T* p = row + first + k * size;
    if (whole) {
      store_pack_streaming(p, pack);
    } else {
      store_pack_partial(p, pack, vocab - first - k * size);
    }
  }
}

// body(first) for the groups of a row that fall to this thread; which they are depends on V alone.
template <class Body>
__device__ __forceinline__ void each_group(int vocab, Body body) {
  const int stride = static_cast<int>(blockDim.x) * kGroup;
  for (int first = static_cast<int>(threadIdx.x) * kGroup; first < vocab; first += stride) {
    body(first);
  }
}

// Threads of the one block that walks a row. By arithmetic, not by measurement, as log_prob's plan
// for cards without clusters.
struct RowPlan {
  int64_t vocab;
  int threads;
};
constexpr RowPlan kRowPlans[] = {
    {256, 32}, {2048, 64}, {8192, 128}, {32768, 256}, {65536, 512}, {INT64_MAX, 1024},
};
inline int row_threads(int64_t vocab) {
  const RowPlan* plan = kRowPlans;
  while (vocab > plan->vocab) ++plan;
  return plan->threads;
}

// Where no sum is needed a row is cut: blocks of at most 256 threads with two groups each.
constexpr int kChunkThreads = 256, kChunkGroups = 2;
struct ChunkPlan {
  int64_t threads, chunks;
};
inline ChunkPlan chunk_plan(int64_t vocab) {
  const int64_t groups = (vocab + kGroup - 1) / kGroup;
  int64_t threads = kWarp;
  while (threads < kChunkThreads && threads * kChunkGroups < groups) threads *= 2;
  return {threads, (groups + threads * kChunkGroups - 1) / (threads * kChunkGroups)};
}

// body(first) for this thread's groups of this block's chunk.
template <class Body>
__device__ __forceinline__ void each_group_of_chunk(int chunk, int vocab, Body body) {
  const int threads = static_cast<int>(blockDim.x);
#pragma unroll
  for (int k = 0; k < kChunkGroups; ++k) {
    const int first =
        ((chunk * kChunkGroups + k) * threads + static_cast<int>(threadIdx.x)) * kGroup;
    if (first < vocab) body(first);
  }
}

inline Status row_launch(int64_t rows, int64_t blocks_per_row, int64_t threads,
                         LaunchShape* shape) {
  if (rows > kMaxGridX / blocks_per_row) {
    return Status::error(Code::range, "expected at most " +
                                          std::to_string(kMaxGridX / blocks_per_row) +
                                          " rows, received " + std::to_string(rows));
  }
  shape->grid = dim3(static_cast<unsigned>(rows * blocks_per_row));
  shape->block = dim3(static_cast<unsigned>(threads));
  return {};
}

}  // namespace firesteel
