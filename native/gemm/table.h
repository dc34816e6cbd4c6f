// What gemm's per-ISA object offers to cpu.cc.
#pragma once
#include <stdint.h>

#include "gemm/gemm.h"

namespace firesteel {

// A strip of op(A) rows, packed: strip s of block kb stands at (kb * strips + s) * tile_rows *
// kGemmBlock floats; inside, term p of row r at p * tile_rows + r.
//
// One piece of work: `rows` rows of C times the columns of one panel, for `k` terms.
struct GemmPiece {
  int64_t rows;  // of C, from `first_strip` on
  int cols;      // 1 .. panel width
  int64_t k;     // terms of this pass; all passes but the last are multiples of kGemmBlock
  const float* packed;
  int64_t strips, first_strip;
  const void* b;  // term 0, column 0 of the panel
  int64_t b_row, b_col;
  DType b_type;
  bool b_far;  // op(B) is larger than caches
  float* sum;  // running sum of block sums, may be c; row stride sum_row
  int64_t sum_row;
  bool resume;  // sum holds the blocks of earlier passes
  float* c;
  int64_t c_row;
  bool finish;      // the last pass: the total goes to c
  bool accumulate;  // ... and is added to it
};

struct GemmTable {
  int tile_rows, panel_cols;
  // Packs terms 0 .. k - 1 of `rows` <= tile_rows rows; element (i, p) at a[i * a_row + p * a_col].
  // Indexed by DType: f32, bf16, f16.
  void (*pack_strip[3])(float* to, const void* a, int64_t a_row, int64_t a_col, int rows,
                        int64_t k);
  void (*multiply)(const GemmPiece& piece);
};

}  // namespace firesteel
