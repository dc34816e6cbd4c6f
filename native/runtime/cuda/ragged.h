// Tiles of ragged rows. Row r is given the tile numbers from offsets[r] / size + r up to
// offsets[r + 1] / size + r + 1: never fewer than it needs and at most one more, so a grid can be
// sized without reading the offsets. A tile that begins behind its row's end has nothing to do.
#pragma once
#include <stdint.h>

#include "runtime/cuda/launch.h"

namespace firesteel {

struct RaggedTile {
  int64_t row;
  int64_t first;  // the row's first item
  int items;      // of the row
  int begin;      // the tile's first item, counted from the row's first
  int count;      // items of the tile; 0: nothing to do
};

inline int64_t ragged_tiles(int64_t items, int64_t rows, int size) {
  return items / size + rows;
}

// The tile of this number, which is one of row `row`.
__device__ __forceinline__ RaggedTile ragged_tile_of_row(const int32_t* offsets, int64_t row,
                                                         int size, int64_t number) {
  const int items = offsets[row + 1] - offsets[row];
  const int begin = static_cast<int>(number - offsets[row] / size - row) * size;
  const int left = begin < items ? items - begin : 0;
  return {row, offsets[row], items, begin, left < size ? left : size};
}

// offsets [rows + 1] ascend from 0 to `items`; number < ragged_tiles(items, rows, size).
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
  return ragged_tile_of_row(offsets, low, size, number);
}

// The tile `number`, given the row of the tile before it.
__device__ __forceinline__ RaggedTile ragged_next_tile(const int32_t* offsets, int64_t row_before,
                                                       int size, int64_t number) {
  const int64_t next = row_before + 1;
  const bool passed = offsets[next] / size + next <= number;
  return ragged_tile_of_row(offsets, passed ? next : row_before, size, number);
}

// The first tile number of a row; that of row R is one past the last.
__device__ __forceinline__ int64_t ragged_first_tile(const int32_t* offsets, int64_t row,
                                                     int size) {
  return offsets[row] / size + row;
}

}  // namespace firesteel
