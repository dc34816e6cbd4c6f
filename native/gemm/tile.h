// The register tile that gemm and attention are built from: ROWS x VECTORS vectors of sums, lanes
// along the columns of B, one fused multiply-add per term in the order of p. An element's
// arithmetic does not depend on the tile it falls in.
#pragma once
#include <stdint.h>

#include "runtime/simd/simd.h"

namespace firesteel {
namespace FIRESTEEL_ISA {
namespace {

// Sums and operands of one tile fit the register file: 12 x 2 + 3 of 32, or 6 x 2 + 3 of 16. As a
// share of OpenBLAS 0.3.21 (SkylakeX and Haswell kernels) on one core of a Zen 5:
//
//                   512^3   1024^3   2048 x 64 x 64
//   AVX-512  12 x 2  1.01     0.99             1.00    0.92 of the peak of FMA at 1024^3
//            14 x 2  1.00     0.98             1.00
//             8 x 3  0.97     0.97             0.91
//             6 x 4  0.99     0.98             0.92
//   AVX2      6 x 2  0.99     0.99             1.00    0.95
//             4 x 3  0.98     1.00             0.87
#if defined(__AVX512F__) || defined(__ARM_NEON)
constexpr int kTileRows = 12;
#else
constexpr int kTileRows = 6;
#endif
constexpr int kTileVectors = 2;
constexpr int kTileCols = kTileVectors * F32::lanes;

// b and c hold whole vectors.
template <int ROWS, int VECTORS>
struct Tile {
  F32 sum[ROWS][VECTORS];

  FIRESTEEL_MEMBER void clear() {
    for (int r = 0; r < ROWS; ++r) {
      for (int v = 0; v < VECTORS; ++v) sum[r][v] = splat(0.0f);
    }
  }
  FIRESTEEL_MEMBER void read(const float* c, int64_t c_row) {
    for (int r = 0; r < ROWS; ++r) {
      for (int v = 0; v < VECTORS; ++v) sum[r][v] = load(c + r * c_row + v * F32::lanes);
    }
  }
  // What c holds, plus the sums.
  FIRESTEEL_MEMBER void add(const float* c, int64_t c_row) {
    for (int r = 0; r < ROWS; ++r) {
      for (int v = 0; v < VECTORS; ++v)
        sum[r][v] = load(c + r * c_row + v * F32::lanes) + sum[r][v];
    }
  }
  FIRESTEEL_MEMBER void write(float* c, int64_t c_row) const {
    for (int r = 0; r < ROWS; ++r) {
      for (int v = 0; v < VECTORS; ++v) store(c + r * c_row + v * F32::lanes, sum[r][v]);
    }
  }

  // sum[r] += a[r * a_row + p * a_col] * b[p * b_row ...] for p = 0 .. terms - 1.
  FIRESTEEL_MEMBER void multiply(const float* a, int64_t a_row, int64_t a_col, const float* b,
                                 int64_t b_row, int64_t terms) {
    for (int64_t p = 0; p < terms; ++p) {
      F32 x[VECTORS];
      for (int v = 0; v < VECTORS; ++v) x[v] = load(b + v * F32::lanes);
      for (int r = 0; r < ROWS; ++r) {
        const F32 y = splat(a[r * a_row]);
        for (int v = 0; v < VECTORS; ++v) sum[r][v] = fma(y, x[v], sum[r][v]);
      }
      a += a_col;
      b += b_row;
    }
  }
};

// c[r] (+)= a[r] * b for ROWS rows of `width` columns, whole vectors; FRESH starts from 0 and not
// from what c holds, which else is the first addend of the chain.
template <int ROWS, bool FRESH>
__attribute__((noinline)) void product(float* c, int64_t c_row, const float* a, int64_t a_row,
                                       int64_t a_col, const float* b, int64_t b_row, int width,
                                       int64_t terms) {
  int j = 0;
  for (; j + kTileCols <= width; j += kTileCols) {
    Tile<ROWS, kTileVectors> tile;
    FRESH ? tile.clear() : tile.read(c + j, c_row);
    tile.multiply(a, a_row, a_col, b + j, b_row, terms);
    tile.write(c + j, c_row);
  }
  for (; j < width; j += F32::lanes) {
    Tile<ROWS, 1> tile;
    FRESH ? tile.clear() : tile.read(c + j, c_row);
    tile.multiply(a, a_row, a_col, b + j, b_row, terms);
    tile.write(c + j, c_row);
  }
}

// Calls step.run<ROWS>(first row) for tiles that cover `rows` rows: kTileRows at a time, then one
// tile of what is left.
template <class Step, int ROWS = kTileRows - 1>
FIRESTEEL_INLINE void last_rows(int rows, const Step& step, int64_t first) {
  if constexpr (ROWS > 0) {
    if (rows == ROWS) return step.template run<ROWS>(first);
    return last_rows<Step, ROWS - 1>(rows, step, first);
  }
}
template <class Step>
FIRESTEEL_INLINE void each_tile(int64_t rows, const Step& step) {
  int64_t first = 0;
  for (; first + kTileRows <= rows; first += kTileRows) step.template run<kTileRows>(first);
  last_rows(static_cast<int>(rows - first), step, first);
}

}  // namespace
}  // namespace FIRESTEEL_ISA
}  // namespace firesteel
