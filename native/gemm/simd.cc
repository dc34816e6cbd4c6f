#include "gemm/pack.h"
#include "gemm/table.h"
#include "gemm/tile.h"

namespace firesteel {
namespace FIRESTEEL_ISA {
namespace {

// What becomes of the sums of one tile and block, `tile` being kTileCols wide; any case.
__attribute__((noinline)) void finish(const GemmPiece& g, const float* tile, int64_t row, int rows,
                                      bool first, bool last) {
  const float* sum = first ? nullptr : g.sum + row * g.sum_row;
  const float* old = last && g.accumulate ? g.c + row * g.c_row : nullptr;
  float* out = last ? g.c + row * g.c_row : g.sum + row * g.sum_row;
  const int64_t out_row = last ? g.c_row : g.sum_row;
  for (int r = 0; r < rows; ++r) {
    for (int j = 0; j < g.cols; j += F32::lanes) {
      const int n = g.cols - j < F32::lanes ? g.cols - j : F32::lanes;
      F32 x = load(tile + r * kTileCols + j);
      if (sum) x = load_partial(sum + r * g.sum_row + j, n, 0.0f) + x;
      if (old) x = load_partial(old + r * g.c_row + j, n, 0.0f) + x;
      store_partial(out + r * out_row + j, x, n);
    }
  }
}

// One block of K for all rows of a piece.
template <int VECTORS>
struct Block {
  const GemmPiece& g;
  const float* packed;  // the piece's first strip in this block
  const float* b;
  int64_t b_row, terms;
  bool first, last;

  template <int ROWS>
  FIRESTEEL_MEMBER void run(int64_t row) const {
    float* out = last ? g.c + row * g.c_row : g.sum + row * g.sum_row;
    const int64_t out_row = last ? g.c_row : g.sum_row;
    // The tile's rows of C are pages apart, which no hardware prefetcher sees.
    for (int r = 0; r < ROWS; ++r) {
      for (int v = 0; v < VECTORS; ++v) __builtin_prefetch(out + r * out_row + v * F32::lanes, 1);
    }
    Tile<ROWS, VECTORS> tile;
    tile.clear();
    tile.multiply(packed + row * kGemmBlock, 1, kTileRows, b, b_row, terms);
    const bool whole = g.cols == VECTORS * F32::lanes;
    if (ROWS == kTileRows && VECTORS == kTileVectors && whole && !(last && g.accumulate)) {
      if (!first) tile.add(g.sum + row * g.sum_row, g.sum_row);
      tile.write(out, out_row);
      return;
    }
    alignas(64) float sums[ROWS * kTileCols];
    tile.write(sums, kTileCols);
    finish(g, sums, row, ROWS, first, last);
  }
};

// The columns of a piece's panel for `terms` terms from p on, WIDTH floats each.
template <int WIDTH>
__attribute__((noinline)) void pack_columns(float* to, const GemmPiece& g, int64_t p,
                                            int64_t terms) {
  const auto pack = [&](const auto* b) {
    pack_panel(to, WIDTH, b + p * g.b_row, g.b_col, g.b_row, g.cols, terms, g.b_far);
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

// Packing a panel costs about a cycle an element and saves strided reads: few rows do not repay it.
constexpr int64_t kRowsInPlace = 2 * kTileRows;

void multiply(const GemmPiece& g) {
  alignas(64) float panel[kGemmBlock * kTileCols];
  const bool narrow = g.cols <= F32::lanes;
  const bool in_place =
      g.b_type == DType::f32 && g.b_col == 1 && g.cols == kTileCols && g.rows <= kRowsInPlace;
  for (int64_t p = 0; p < g.k; p += kGemmBlock) {
    const int64_t terms = g.k - p < kGemmBlock ? g.k - p : kGemmBlock;
    const float* packed =
        g.packed + (p / kGemmBlock * g.strips + g.first_strip) * kTileRows * kGemmBlock;
    const bool first = p == 0 && !g.resume, last = p + kGemmBlock >= g.k && g.finish;
    if (in_place) {
      const float* b = static_cast<const float*>(g.b) + p * g.b_row;
      each_tile(g.rows, Block<2>{g, packed, b, g.b_row, terms, first, last});
    } else if (narrow) {
      pack_columns<F32::lanes>(panel, g, p, terms);
      each_tile(g.rows, Block<1>{g, packed, panel, F32::lanes, terms, first, last});
    } else {
      pack_columns<kTileCols>(panel, g, p, terms);
      each_tile(g.rows, Block<2>{g, packed, panel, kTileCols, terms, first, last});
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
    kTileRows, kTileCols, {pack_strip<float>, pack_strip<bf16>, pack_strip<f16>}, multiply};

}  // namespace FIRESTEEL_ISA
}  // namespace firesteel
