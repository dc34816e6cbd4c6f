#include "gemm/pack.h"
#include "gemm/table.h"
#include "gemm/tile.h"

namespace firesteel {
namespace FIRESTEEL_ISA {
namespace {

// Columns of a panel: two cache lines of a row of B, which arrive together. AVX2 with one line:
// 0.81 of OpenBLAS at 40 x 1024 x 1024, with two 0.96. A panel of 256 terms is 32 KB of a 48 KB L1.
constexpr int kPanelCols = 32;
static_assert(kPanelCols % kTileCols == 0, "a panel is whole tiles");

// What becomes of the sums of one tile in one block.
struct Sums {
  const GemmPiece& g;
  bool first, last;  // block of the product

  float* out(int64_t row, int col) const {
    return (last ? g.c + row * g.c_row : g.sum + row * g.sum_row) + col;
  }
  int64_t out_row() const { return last ? g.c_row : g.sum_row; }

  // `tile` is kTileCols wide, of which the first `cols` count.
  __attribute__((noinline)) void add(const float* tile, int64_t row, int rows, int col,
                                     int cols) const {
    const float* sum = first ? nullptr : g.sum + row * g.sum_row + col;
    const float* old = last && g.accumulate ? g.c + row * g.c_row + col : nullptr;
    float* to = out(row, col);
    for (int r = 0; r < rows; ++r) {
      for (int j = 0; j < cols; j += F32::lanes) {
        const int n = cols - j < F32::lanes ? cols - j : F32::lanes;
        F32 x = load(tile + r * kTileCols + j);
        if (sum) x = load_partial(sum + r * g.sum_row + j, n, 0.0f) + x;
        if (old) x = load_partial(old + r * g.c_row + j, n, 0.0f) + x;
        store_partial(to + r * out_row() + j, x, n);
      }
    }
  }
};

// One block of K for all rows and columns of a piece.
struct Block {
  Sums sums;
  const float* packed;  // the piece's first strip in this block
  const float* b;
  int64_t b_row, terms;

  template <int ROWS>
  FIRESTEEL_MEMBER void run(int64_t row) const {
    const int cols = sums.g.cols;
    for (int col = 0; col < cols; col += kTileCols) {
      if (cols - col > F32::lanes) {
        multiply<ROWS, kTileVectors>(row, col);
      } else {
        multiply<ROWS, 1>(row, col);
      }
    }
  }

  template <int ROWS, int VECTORS>
  FIRESTEEL_MEMBER void multiply(int64_t row, int col) const {
    const GemmPiece& g = sums.g;
    float* out = sums.out(row, col);
    // The tile's rows of C are pages apart, which no hardware prefetcher sees: at 1024^3 0.96 of
    // OpenBLAS in place of 0.84 (AVX-512), 0.97 in place of 0.94 (AVX2).
    for (int r = 0; r < ROWS; ++r) {
      for (int v = 0; v < VECTORS; ++v) {
        __builtin_prefetch(out + r * sums.out_row() + v * F32::lanes, 1);
      }
    }
    Tile<ROWS, VECTORS> tile;
    tile.clear();
    tile.multiply(packed + row * kGemmBlock, 1, kTileRows, b + col, b_row, terms);
    const int cols = g.cols - col < kTileCols ? g.cols - col : kTileCols;
    if (ROWS == kTileRows && cols == VECTORS * F32::lanes && !(sums.last && g.accumulate)) {
      if (!sums.first) tile.add(g.sum + row * g.sum_row + col, g.sum_row);
      tile.write(out, sums.out_row());
      return;
    }
    alignas(64) float kept[ROWS * kTileCols];
    tile.write(kept, kTileCols);
    sums.add(kept, row, ROWS, col, cols);
  }
};

// The columns of a piece's panel for `terms` terms from p on, `width` floats each.
__attribute__((noinline)) void pack_columns(float* to, int width, const GemmPiece& g, int64_t p,
                                            int64_t terms) {
  const auto pack = [&](const auto* b) {
    b += p * g.b_row;
    if (width == kPanelCols) {  // with a constant width, loops over it are gone
      pack_panel(to, kPanelCols, b, g.b_col, g.b_row, g.cols, terms, g.b_far);
    } else {
      pack_panel(to, width, b, g.b_col, g.b_row, g.cols, terms, g.b_far);
    }
  };
  switch (g.b_type) {
    case DType::bf16:
      return pack(static_cast<const bf16*>(g.b));
    case DType::f16:
      return pack(static_cast<const f16*>(g.b));
    default:
      return pack(static_cast<const float*>(g.b));
  }
}

// Up to so many rows do not repay packing a panel whose rows can be read where they are. Against
// packing, at N = K = 1024: AVX-512 2.0x as fast at 8 rows, 1.7 at 20, 1.2 at 40, 1.15 at 80, 1.0
// at 200; AVX2 1.3 at 4, 0.8 to 1.1 at 8, 1.1 at 12, 0.9 at 20, 0.8 at 40.
#if defined(__AVX512F__)
constexpr int64_t kRowsInPlace = 8 * kTileRows;
#else
constexpr int64_t kRowsInPlace = 2 * kTileRows;
#endif

void multiply(const GemmPiece& g) {
  alignas(64) float panel[kGemmBlock * kPanelCols];
  const int width = (g.cols + F32::lanes - 1) / F32::lanes * F32::lanes;  // what tiles read
  const bool in_place =
      g.b_type == DType::f32 && g.b_col == 1 && g.cols % kTileCols == 0 && g.rows <= kRowsInPlace;
  for (int64_t p = 0; p < g.k; p += kGemmBlock) {
    const int64_t terms = g.k - p < kGemmBlock ? g.k - p : kGemmBlock;
    const Sums sums{g, p == 0 && !g.resume, p + kGemmBlock >= g.k && g.finish};
    const float* packed =
        g.packed + (p / kGemmBlock * g.strips + g.first_strip) * kTileRows * kGemmBlock;
    if (in_place) {
      const float* b = static_cast<const float*>(g.b) + p * g.b_row;
      each_tile(g.rows, Block{sums, packed, b, g.b_row, terms});
    } else {
      pack_columns(panel, width, g, p, terms);
      each_tile(g.rows, Block{sums, packed, panel, width, terms});
    }
  }
}

template <class T>
void pack_strip(float* to, const void* a, int64_t a_row, int64_t a_col, int rows, int64_t k) {
  pack_panel(to, kTileRows, static_cast<const T*>(a), a_row, a_col, rows, k);
}

}  // namespace

extern const GemmTable gemm_table;
const GemmTable gemm_table = {
    kTileRows, kPanelCols, {pack_strip<float>, pack_strip<bf16>, pack_strip<f16>}, multiply};

}  // namespace FIRESTEEL_ISA
}  // namespace firesteel
