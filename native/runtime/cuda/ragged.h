// Tiles of ragged rows. Row r is given the tile numbers from offsets[r] / size + r up to
// offsets[r + 1] / size + r + 1: never fewer than it needs and at most one more, so a grid can be
// sized without reading the offsets. A tile that begins behind its row's end has nothing to do.
#pragma once
#include <stdint.h>

namespace firesteel {

struct RaggedTile {
  int64_t row;
  int begin;    // the tile's first item, counted from the row's first
};

inline int64_t ragged_tiles(int64_t items, int64_t rows, int size) { return items / size + rows; }

// offsets [rows + 1] ascending from 0; number < ragged_tiles(offsets[rows], rows, size).
__device__ __forceinline__ RaggedTile ragged_tile(const int32_t* offsets, int64_t rows, int size,
                                                  int64_t number) {
  int64_t low = 0, high = rows;  // first tile of low <= number < first tile of high
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    if (offsets[middle] / size + middle <= number) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return {low, static_cast<int>(number - offsets[low] / size - low) * size};
}

}  // namespace firesteel
