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

constexpr int64_t kPassRows = 2016;         // a multiple of every tile_rows
constexpr int64_t kPassCols = 2048;         // a multiple of every panel_cols
constexpr int64_t kPackedFloats = 1 << 20;  // 4 MB of packed op(A): within L2 + L3 of any part
constexpr int64_t kChunkFlops = 1 << 21;    // about 20 us of one core

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

int64_t padded_rows(int64_t m) {
  return round_up(std::min(m, kPassRows), gemm_table().tile_rows);
}

const void* element(const void* x, DType type, int64_t index) {
  return static_cast<const char*>(x) + index * size_of(type);
}

Status pack(Context& context, float* packed, const GemmArgs& g, int64_t first_row,
            int64_t first_term, int64_t rows, int64_t k) {
  const GemmTable& t = gemm_table();
  const auto pack_strip = t.pack_strip[static_cast<int>(g.a_type)];
  const int64_t strips = divide_up(rows, t.tile_rows);
  const int64_t grain = std::max<int64_t>(1, (1 << 15) / (t.tile_rows * std::min(k, kGemmBlock)));
  return context.parallel(
      strips * divide_up(k, kGemmBlock), grain, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t row = i % strips * t.tile_rows, term = i / strips * kGemmBlock;
          const int64_t from = (first_row + row) * g.a_row + (first_term + term) * g.a_col;
          pack_strip(packed + i * t.tile_rows * kGemmBlock, element(g.a, g.a_type, from), g.a_row,
                     g.a_col, static_cast<int>(std::min<int64_t>(t.tile_rows, rows - row)),
                     std::min(kGemmBlock, k - term));
        }
      });
}

// `whole` describes all rows and columns of the pass.
Status multiply(Context& context, const GemmPiece& whole, int64_t cols) {
  const GemmTable& t = gemm_table();
  const int64_t panels = divide_up(cols, t.panel_cols);
  // Rows are split only where panels alone would leave threads idle: each piece packs its panel
  // again, which 96 rows keep below a tenth of the work.
  const int64_t wanted = context.threads() == 1 ? 1 : divide_up(4 * context.threads(), panels);
  const int64_t splits = std::min(wanted, divide_up(whole.rows, 96));
  const int64_t piece_strips = divide_up(whole.strips, splits);
  const int64_t row_pieces = divide_up(whole.strips, piece_strips);
  const int64_t flops =
      2 * std::min(piece_strips * t.tile_rows, whole.rows) * t.panel_cols * whole.k;
  return context.parallel(panels * row_pieces, std::max<int64_t>(1, kChunkFlops / flops),
                          [&](int64_t begin, int64_t end) {
                            for (int64_t i = begin; i < end; ++i) {
                              const int64_t col = i / row_pieces * t.panel_cols;
                              GemmPiece piece = whole;
                              piece.first_strip = i % row_pieces * piece_strips;
                              const int64_t row = piece.first_strip * t.tile_rows;
                              piece.rows = std::min(piece_strips * t.tile_rows, whole.rows - row);
                              piece.cols =
                                  static_cast<int>(std::min<int64_t>(t.panel_cols, cols - col));
                              piece.b = element(whole.b, whole.b_type, col * whole.b_col);
                              piece.sum = whole.sum + row * whole.sum_row + col;
                              piece.c = whole.c + row * whole.c_row + col;
                              t.multiply(piece);
                            }
                          });
}

}  // namespace

int64_t gemm_workspace(int64_t m, int64_t n, int64_t k, bool accumulate) {
  if (m == 0 || n == 0 || k == 0) return 0;
  const int64_t rows = padded_rows(m);
  // At least rows * pass_depth(rows, k), which may shrink where rows grow.
  const int64_t packed =
      std::min(rows * round_up(k, kGemmBlock), std::max(kPackedFloats, rows * kGemmBlock));
  const bool apart = accumulate && k > kGemmBlock;
  const int64_t sums = apart ? std::min(m, kPassRows) * std::min(n, kPassCols) : 0;
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
  const int64_t padded = padded_rows(g.m);
  const int64_t depth = pass_depth(padded, g.k);
  // C itself holds the running sum, unless its old contents are still needed.
  float* const sums = g.accumulate && g.k > kGemmBlock ? packed + padded * depth : nullptr;
  for (int64_t row = 0; row < g.m; row += kPassRows) {
    const int64_t rows = std::min(kPassRows, g.m - row);
    for (int64_t col = 0; col < g.n; col += kPassCols) {
      const int64_t cols = std::min(kPassCols, g.n - col);
      for (int64_t term = 0; term < g.k; term += depth) {
        GemmPiece whole{};
        whole.k = std::min(depth, g.k - term);
        // op(A) of a single pass over K is packed for the first columns and serves all others.
        if (col == 0 || depth < g.k) {
          Status status = pack(context, packed, g, row, term, rows, whole.k);
          if (!status.ok()) return status;
        }
        whole.rows = rows;
        whole.packed = packed;
        whole.strips = divide_up(rows, gemm_table().tile_rows);
        whole.b = element(g.b, g.b_type, term * g.b_row + col * g.b_col);
        whole.b_row = g.b_row;
        whole.b_col = g.b_col;
        whole.b_type = g.b_type;
        whole.c = g.c + row * g.c_row + col;
        whole.c_row = g.c_row;
        whole.sum = sums ? sums : whole.c;
        whole.sum_row = sums ? cols : g.c_row;
        whole.resume = term > 0 || g.resume;
        whole.finish = term + depth >= g.k;
        whole.accumulate = g.accumulate;
        Status status = multiply(context, whole, cols);
        if (!status.ok()) return status;
      }
    }
  }
  return {};
}

}  // namespace firesteel
