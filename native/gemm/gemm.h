// gemm: C = op(A) op(B) (+ C). f32, row-major with free strides.
//
// K is walked sequentially in fixed blocks with fused multiply-add, lanes along N: an element of C
// depends on its row of op(A), its column of op(B) and K alone, never on M, N, the tile it fell in
// or the number of threads. So decoding one token and training on a batch give the same bits.
#pragma once
#include <stdint.h>
#include "runtime/status.h"

namespace firesteel {

class Context;

struct GemmArgs {
  int64_t m, n, k;       // any may be 0; k = 0 gives zeros (or C unchanged when accumulating)
  const float* a;        // op(A) [m, k]: element (i, p) at a[i * a_row + p * a_col]
  int64_t a_row, a_col;  //
  const float* b;        // op(B) [k, n]: element (p, j) at b[p * b_row + j * b_col]
  int64_t b_row, b_col;  //
  float* c;              // [m, n] out, row stride c_row; must not overlap a or b
  int64_t c_row;         //
  bool accumulate;       // add to C (after the full sum over k) instead of overwriting it
  void* workspace;       // gemm_workspace bytes
};
int64_t gemm_workspace(int64_t m, int64_t n, int64_t k);
Status gemm(Context&, const GemmArgs&);

}  // namespace firesteel
