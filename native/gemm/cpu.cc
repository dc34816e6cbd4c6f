// Work division: passes over blocks of C and K bound the workspace; within a pass op(A) is packed
// once for all threads, then every thread takes pieces of C (rows x one panel of columns), for
// which it packs op(B) on its own stack. No choice made here changes a bit of the result.
#include <string.h>

#include <algorithm>

#include "gemm/gemm.h"
#include "gemm/table.h"
#include "runtime/cpu/context.h"
#include "runtime/simd/dispatch.h"

namespace firesteel {

FIRESTEEL_DISPATCH(GemmTable, gemm_table)

namespace {

constexpr int64_t kPassRows = 4608;  // a multiple of every tile_rows
// 4.7 MB of packed op(A), from L2 and L3: 1024 x 1024 in one pass. 16 MB: 0.90 of OpenBLAS at
// 2048 x 1024 x 1024 in place of 0.98.
constexpr int64_t kPackedFloats = kPassRows * kGemmBlock;
constexpr int64_t kSumCols = 1024;        // columns of a pass whose sums are held apart from C
constexpr int64_t kPieceRows = 96;        // at least: a piece packs its panels of op(B) again
constexpr int64_t kChunkFlops = 1 << 21;  // about 20 us of one core
constexpr int64_t kRowsOfPacking = 12;    // that cost as much time as packing a panel
constexpr int64_t kFarBytes = 16 << 20;   // of op(B): half of the L3 that 8 cores share

int64_t divide_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
int64_t round_up(int64_t a, int64_t b) {
  return divide_up(a, b) * b;
}

int64_t pass_depth(int64_t rows, int64_t k) {
  const int64_t blocks = std::max<int64_t>(1, kPackedFloats / (rows * kGemmBlock));
  return std::min(blocks * kGemmBlock, round_up(k, kGemmBlock));
}

// Passes of equal height: a low one would pack all of op(B) for little work.
int64_t pass_rows(int64_t m) {
  return round_up(divide_up(m, divide_up(m, kPassRows)), gemm_table().tile_rows);
}

bool sums_apart(const GemmArgs& g) {
  return g.accumulate && g.k > kGemmBlock;
}

const void* element(const void* x, DType type, int64_t index) {
  return static_cast<const char*>(x) + index * size_of(type);
}

// A block of C and the terms that a pass adds to it.
struct Pass {
  const GemmArgs& g;
  float* packed;
  int64_t row, rows, col, cols, term, terms;
  GemmPiece whole;  // all rows; the first panel

  int64_t strips() const { return divide_up(rows, gemm_table().tile_rows); }

  void pack(int64_t strip, int64_t block) const {
    const GemmTable& t = gemm_table();
    const int64_t first = strip * t.tile_rows, p = block * kGemmBlock;
    const int64_t from = (row + first) * g.a_row + (term + p) * g.a_col;
    t.pack_strip[static_cast<int>(g.a_type)](
        packed + (block * strips() + strip) * t.tile_rows * kGemmBlock,
        element(g.a, g.a_type, from), g.a_row, g.a_col,
        static_cast<int>(std::min<int64_t>(t.tile_rows, rows - first)),
        std::min(kGemmBlock, terms - p));
  }

  void multiply(int64_t first_strip, int64_t strip_count, int64_t panel) const {
    const GemmTable& t = gemm_table();
    const int64_t first = first_strip * t.tile_rows, from = panel * t.panel_cols;
    GemmPiece piece = whole;
    piece.first_strip = first_strip;
    piece.rows = std::min(strip_count * t.tile_rows, rows - first);
    piece.cols = static_cast<int>(std::min<int64_t>(t.panel_cols, cols - from));
    piece.b = element(whole.b, whole.b_type, from * whole.b_col);
    piece.sum = whole.sum + first * whole.sum_row + from;
    piece.c = whole.c + first * whole.c_row + from;
    t.multiply(piece);
  }
};

Status pack(Context& context, const Pass& pass) {
  const int64_t strips = pass.strips();
  const int64_t strip_floats = gemm_table().tile_rows * std::min(pass.terms, kGemmBlock);
  return context.parallel(strips * divide_up(pass.terms, kGemmBlock), (1 << 15) / strip_floats,
                          [&](int64_t begin, int64_t end) {
                            for (int64_t i = begin; i < end; ++i) pass.pack(i % strips, i / strips);
                          });
}

// Rows are split only where panels alone would leave threads idle.
Status multiply(Context& context, const Pass& pass) {
  const GemmTable& t = gemm_table();
  const int64_t panels = divide_up(pass.cols, t.panel_cols);
  const int64_t wanted = context.threads() == 1 ? 1 : divide_up(4 * context.threads(), panels);
  const int64_t splits = std::min(wanted, divide_up(pass.rows, kPieceRows));
  const int64_t strips = divide_up(pass.strips(), splits);
  const int64_t row_pieces = divide_up(pass.strips(), strips);
  const int64_t rows = std::min(strips * t.tile_rows, pass.rows) + kRowsOfPacking;
  const int64_t flops = 2 * rows * t.panel_cols * pass.terms;
  return context.parallel(panels * row_pieces, kChunkFlops / flops,
                          [&](int64_t begin, int64_t end) {
                            for (int64_t i = begin; i < end; ++i) {
                              pass.multiply(i % row_pieces * strips, strips, i / row_pieces);
                            }
                          });
}

}  // namespace

int64_t gemm_workspace(int64_t m, int64_t n, int64_t k, bool accumulate) {
  if (m == 0 || n == 0 || k == 0) return 0;
  const int64_t rows = round_up(std::min(m, kPassRows), gemm_table().tile_rows);
  // At least rows * pass_depth(rows, k), which may shrink where rows grow.
  const int64_t packed = std::min(rows * round_up(k, kGemmBlock), kPackedFloats);
  const bool apart = accumulate && k > kGemmBlock;
  const int64_t sums = apart ? std::min(m, kPassRows) * std::min(n, kSumCols) : 0;
  return (packed + sums) * static_cast<int64_t>(sizeof(float));
}

Status matmul_open(Context&, MatmulChoice choice, MatmulInfo*) {
  if (choice != MatmulChoice::cublas) return {};
  return Status::error(
      Code::option,
      "expected matmul to be \"auto\" or \"own\" on the CPU but it was \"cublas\": "
      "cuBLASLt multiplies on CUDA devices");
}
void matmul_use_workspace(Context&, void*, int64_t) {}

Status gemm(Context& context, const GemmArgs& g) {
  if (g.a_type > DType::f16 || (g.b_type != g.a_type && g.a_type != DType::f32) ||
      g.b_type > DType::f16) {
    return Status::error(Code::dtype, "gemm: expected B of f32, bf16 or f16 and A as B or f32");
  }
  if (g.m == 0 || g.n == 0) return {};
  if (g.k == 0) {
    for (int64_t i = 0; i < g.m && !g.accumulate && !g.resume; ++i) {
      memset(g.c + i * g.c_row, 0, static_cast<size_t>(g.n) * sizeof(float));
    }
    return {};
  }
  float* const packed = static_cast<float*>(g.workspace);
  const int64_t height = pass_rows(g.m);
  const int64_t depth = pass_depth(height, g.k);
  // C itself holds the running sum, unless its old contents are still needed.
  float* const sums = sums_apart(g) ? packed + height * depth : nullptr;
  const int64_t width = sums ? kSumCols : g.n;
  for (int64_t row = 0; row < g.m; row += height) {
    for (int64_t col = 0; col < g.n; col += width) {
      for (int64_t term = 0; term < g.k; term += depth) {
        Pass pass{g,    packed,
                  row,  std::min(height, g.m - row),
                  col,  std::min(width, g.n - col),
                  term, std::min(depth, g.k - term),
                  {}};
        GemmPiece& whole = pass.whole;
        whole.k = pass.terms;
        whole.packed = packed;
        whole.strips = pass.strips();
        whole.b = element(g.b, g.b_type, term * g.b_row + col * g.b_col);
        whole.b_row = g.b_row;
        whole.b_col = g.b_col;
        whole.b_type = g.b_type;
        whole.b_far = g.k * g.n * size_of(g.b_type) > kFarBytes;
        whole.c = g.c + row * g.c_row + col;
        whole.c_row = g.c_row;
        whole.sum = sums ? sums : whole.c;
        whole.sum_row = sums ? pass.cols : g.c_row;
        whole.resume = term > 0 || g.resume;
        whole.finish = term + depth >= g.k;
        whole.accumulate = g.accumulate;
        // op(A) of a single pass over K is packed for the first columns and serves all others.
        Status status;
        if (col == 0 || depth < g.k) status = pack(context, pass);
        if (status.ok()) status = multiply(context, pass);
        if (!status.ok()) return status;
      }
    }
  }
  return {};
}

}  // namespace firesteel
