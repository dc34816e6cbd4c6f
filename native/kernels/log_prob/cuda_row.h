// How the CUDA kernels of log_prob read and write a row of logits wherever it starts: in packs of
// 16 bytes, in segments of kTilePacks packs a lane that a warp takes at once.
//
// Which lane adds up which element is decided by the element's place in the row, so that a row's
// sums do not depend on its address. Where the row does not start at a multiple of 16 bytes (V =
// 50,257 of 16 bits) lanes load the aligned chunks that cover the segment, and each makes its pack
// of its own chunk and of the next lane's: every byte comes from memory once, for 4 to 8 shuffles
// and 4 shifts a pack. What is per element, the gradient, is computed in aligned chunks as they
// lie.
#pragma once
#include "kernels/log_prob/math.h"
#include "runtime/cuda/launch.h"
#include "runtime/cuda/ptx.h"
#include "runtime/cuda/reduce.h"

namespace firesteel {
namespace {

constexpr float kLowest = -1000.0f;  // stands for -inf where exp2(t) = 0 is multiplied by t
constexpr int kTilePacks = 3;        // packs of a lane: 48 bytes in flight, 1.5 KiB a warp

template <class T>
constexpr int kSegment = kTilePacks * kWarp * Pack<T>::size;  // elements

template <class T>
inline int segments_of(int64_t vocab) {
  return static_cast<int>((vocab + kSegment<T> - 1) / kSegment<T>);
}

__device__ __forceinline__ int lane_of_row() {
  return static_cast<int>(threadIdx.x) % kWarp;
}

// Elements by which p is beyond a multiple of 16 bytes.
template <class T>
__device__ __forceinline__ int phase_of(const T* p) {
  return static_cast<int>(reinterpret_cast<uintptr_t>(p) % 16 / sizeof(T));
}

template <class T>
struct Row {
  const T* at;
  int vocab;
  // Segments that are loaded by aligned chunks: those whose chunks lie between the 16-byte boundary
  // before the row and its end.
  int whole;
};
template <class T>
__device__ __forceinline__ Row<T> row_at(const T* at, int64_t vocab) {
  const int used = static_cast<int>(vocab) - (phase_of(at) == 0 ? 0 : Pack<T>::size);
  return {at, static_cast<int>(vocab), used < 0 ? 0 : used / kSegment<T>};
}

template <class T>
struct Tile {
  PackWords pack[kTilePacks];
  uint32_t next;  // lane i < 4: word i of the chunk behind the segment, where phase > 0
};

// The aligned chunks of a segment, if it is whole.
template <class T>
__device__ __forceinline__ void fetch_tile(Tile<T>& tile, const Row<T>& row, int segment) {
  if (segment >= row.whole) return;
  constexpr int size = Pack<T>::size;
  const int lane = lane_of_row(), phase = phase_of(row.at);
  const T* p = row.at + (segment * kSegment<T> - phase + lane * size);
#pragma unroll
  for (int k = 0; k < kTilePacks; ++k)
    tile.pack[k] = words_of(load_pack_streaming(p + k * kWarp * size));
  if (phase == 0 || lane >= 4) return;
  p += kSegment<T> - lane * (size - size / 4);
  tile.next = *reinterpret_cast<const uint32_t*>(p);
}

// Asks for the chunks of segments first, first + step, ...: as many as a warp has lanes.
template <class T>
__device__ __forceinline__ void prefetch_segments(const Row<T>& row, int first, int step) {
  const int segment = first + lane_of_row() * step;
  if (segment >= row.whole) return;
  constexpr int bytes = kSegment<T> * static_cast<int>(sizeof(T));
  prefetch_bulk(row.at + (segment * kSegment<T> - phase_of(row.at)), bytes);
}

// The packs of a segment that is not whole: elements that do not exist are -inf.
template <class T>
__device__ __forceinline__ void load_end(Tile<T>& tile, const Row<T>& row, int segment) {
  constexpr int size = Pack<T>::size;
  const T nothing = narrow<T>(-INFINITY);
#pragma unroll
  for (int k = 0; k < kTilePacks; ++k) {
    const int begin = segment * kSegment<T> + (k * kWarp + lane_of_row()) * size;
    const T* p = row.at + begin;
    if (phase_of(row.at) == 0 && begin + size <= row.vocab) {
      tile.pack[k] = words_of(load_pack_streaming(p));
    } else {
      tile.pack[k] = words_of(load_pack_partial(p, row.vocab - begin, nothing));
    }
  }
}

// From chunks to packs, which begin kWords words and `bits` bits behind them.
template <int kWords, class T>
__device__ __forceinline__ void shift_tile(Tile<T>& tile, int bits) {
  constexpr int borrowed = kWords + (sizeof(T) < 4 && kWords < 4 ? 1 : 0);
  const int lane = lane_of_row();
#pragma unroll
  for (int k = 0; k < kTilePacks; ++k) {
    const PackWords own = tile.pack[k];
    uint32_t word[8];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      word[i] = own.w[i];
      word[4 + i] = 0;
      if (i >= borrowed) continue;
      const uint32_t behind = tile.pack[(k + 1) % kTilePacks].w[i];  // k + 1 is as it was loaded
      const uint32_t given = k + 1 < kTilePacks && lane == 0 ? behind : own.w[i];
      word[4 + i] = __shfl_sync(kFullWarp, given, (lane + 1) % kWarp);
      if (k + 1 < kTilePacks) continue;
      const uint32_t last = __shfl_sync(kFullWarp, tile.next, i);
      if (lane == kWarp - 1) word[4 + i] = last;
    }
    PackWords packed;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      packed.w[i] = sizeof(T) < 4 ? funnel_right(word[i + kWords], word[i + kWords + 1], bits)
                                  : word[i + kWords];
    }
    tile.pack[k] = packed;
  }
}

// Makes the packs of a whole segment of its chunks.
template <class T>
__device__ __forceinline__ void align_tile(Tile<T>& tile, int phase) {
  if (phase == 0) return;
  const int bytes = phase * static_cast<int>(sizeof(T));
  const int bits = bytes % 4 * 8;
  switch (bytes / 4) {
    case 0:
      return shift_tile<0>(tile, bits);
    case 1:
      return shift_tile<1>(tile, bits);
    case 2:
      return shift_tile<2>(tile, bits);
    default:
      return shift_tile<3>(tile, bits);
  }
}

// A chunk of which some elements may lie outside the row, [0, vocab): those are -inf, or are not
// written. `wide`: begin is at a multiple of 16 bytes.
template <class T>
__device__ __forceinline__ bool is_inside(int begin, int vocab) {
  return begin >= 0 && begin + Pack<T>::size <= vocab;
}
template <class T>
__device__ __forceinline__ Pack<T> load_chunk(const T* row, int begin, int vocab, bool wide) {
  if (wide && is_inside<T>(begin, vocab)) return load_pack_streaming(row + begin);
  Pack<T> pack;
#pragma unroll
  for (int i = 0; i < Pack<T>::size; ++i) {
    pack.x[i] = begin + i >= 0 && begin + i < vocab ? row[begin + i] : narrow<T>(-INFINITY);
  }
  return pack;
}
template <class T>
__device__ __forceinline__ void store_chunk(T* row, int begin, int vocab, const Pack<T>& pack) {
  if (is_inside<T>(begin, vocab)) {
    store_pack_streaming(row + begin, pack);
    return;
  }
#pragma unroll
  for (int i = 0; i < Pack<T>::size; ++i) {
    if (begin + i >= 0 && begin + i < vocab) row[begin + i] = pack.x[i];
  }
}

}  // namespace
}  // namespace firesteel
