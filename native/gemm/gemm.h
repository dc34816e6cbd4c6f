// gemm: C = op(A) op(B) (+ C). Row-major with free strides; C is f32, as is all arithmetic.
//
// K is walked sequentially: an element of C depends on its row of op(A), its column of op(B) and K
// alone, never on M, N, the tile it fell in or the number of threads. So decoding one token and
// training on a batch give the same bits. That holds for every path below.
//
//   where   A, B         an element is                          |C - exact| <= sum |a b| times
//   CPU     any          fixed blocks of fmaf, lanes along N    (min(K, 256) + K / 256) 2^-24
//   CUDA    B f32, or    one chain of fmaf                      K 2^-24
//           f32 x f16
//   CUDA    16-bit, A    one chain of tensor-core steps of 16   K 2^-22
//           as B         terms
//   CUDA    f32 x bf16   three such steps for 16 terms: A is    3 K 2^-22, in two
//                        the sum of three bf16, or nearly of    2^-16 + 2 K 2^-22
//                        two (`split_in_two`)
//
// On a card the bits of tensor-core steps are the card's own (runtime/cuda/mma.h), equal from run
// to run.
#pragma once
#include <stdint.h>

#include <string>

#include "runtime/dtype.h"
#include "runtime/status.h"

namespace firesteel {

class Context;

// K is summed in blocks of this many terms; the block sums are added in order. Part of the result's
// definition on the CPU: block sums keep the rounding error of long K (vocabularies, token counts)
// near that of one block. On CUDA all of K is one chain.
constexpr int64_t kGemmBlock = 256;

struct GemmArgs {
  int64_t m, n, k;       // any may be 0; k = 0 gives zeros (or C unchanged when it is added to)
  const void* a;         // op(A) [m, k]: element (i, p) at a[i * a_row + p * a_col]
  int64_t a_row, a_col;  //
  const void* b;         // op(B) [k, n]: element (p, j) at b[p * b_row + j * b_col]
  int64_t b_row, b_col;  //
  DType a_type, b_type;  // f32, bf16 or f16; widened where they are packed; A is f32 or as B
  float* c;              // [m, n] out, row stride c_row; must not overlap a or b
  int64_t c_row;         //
  // At most one of the two. `accumulate` adds to C after the full sum over k. `resume` goes on with
  // the sum that C holds: products over parts of K, one after the other, each part but the last a
  // multiple of kGemmBlock, give the bits of one product over all of K.
  bool accumulate, resume;
  // On CUDA, where A is f32 and B bf16: half as fast again, for a stated error.
  bool split_in_two;
  void* workspace;  // gemm_workspace bytes
};
// Also enough for any smaller product.
int64_t gemm_workspace(int64_t m, int64_t n, int64_t k, bool accumulate);
Status gemm(Context&, const GemmArgs&);

// What an engine multiplies with. `automatic`: on CUDA cuBLASLt for products of 16-bit operands
// where the library opens (cublas_lt.h), else the kernels above; `cublas`: an error where it does
// not. All other products, and those that it has no algorithm for, are `own` in any case.
enum class MatmulChoice : int { automatic, own, cublas };
struct MatmulInfo {
  bool cublas = false;
  std::string detail;           // the library and its version, or why it is not used; may be empty
  int64_t workspace_bytes = 0;  // that matmul_use_workspace asks for
};
// Once, before the first product.
Status matmul_open(Context&, MatmulChoice, MatmulInfo*);
// Device memory that lives as long as the context is used.
void matmul_use_workspace(Context&, void* data, int64_t bytes);

}  // namespace firesteel
