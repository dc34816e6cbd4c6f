// Tiles of ragged rows. Row r is given the tile numbers from offsets[r] / size + r up to
// offsets[r + 1] / size + r + 1: never fewer than it needs and at most one more, so a grid can be
// sized without reading the offsets. A tile that begins behind its row's end has nothing to do.
#pragma once
#include <stdint.h>

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
  const int items = offsets[low + 1] - offsets[low];
  const int begin = static_cast<int>(number - offsets[low] / size - low) * size;
  const int left = begin < items ? items - begin : 0;
  return {low, offsets[low], items, begin, left < size ? left : size};
}

}  // namespace firesteel
