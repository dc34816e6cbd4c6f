// Rows of queries, keys and values in whole vectors, and the product that respects causality.
#pragma once
#include "gemm/tile.h"
#include "nn/attention/table.h"

namespace firesteel {
namespace FIRESTEEL_ISA {
namespace {

constexpr int kBlock = kAttentionBlock;
constexpr int kMaxDim = kAttentionMaxDim;
constexpr float kInfinity = __builtin_inff();

FIRESTEEL_INLINE int whole_vectors(int n) {
  return (n + F32::lanes - 1) / F32::lanes * F32::lanes;
}
FIRESTEEL_INLINE int clamp_lanes(int64_t n) {
  return n < 0 ? 0 : n < F32::lanes ? static_cast<int>(n) : F32::lanes;
}

// to[i][0 .. width) = row(i)[0 .. dim), then 0.
template <class Row>
FIRESTEEL_INLINE void copy_rows(float* to, int width, const Row& row, int64_t count, int dim) {
  for (int64_t i = 0; i < count; ++i) {
    const float* from = row(i);
    for (int d = 0; d < width; d += F32::lanes) {
      const bool whole = d + F32::lanes <= dim;
      store(to + i * width + d, whole ? load(from + d) : load_partial(from + d, dim - d, 0.0f));
    }
  }
}

FIRESTEEL_INLINE void copy_out(float* to, const float* row, int dim) {
  for (int d = 0; d < dim; d += F32::lanes)
    store_partial(to + d, load(row + d), clamp_lanes(dim - d));
}

FIRESTEEL_INLINE void clear_rows(float* rows, int64_t count) {
  for (int64_t i = 0; i < count; i += F32::lanes) store(rows + i, splat(0.0f));
}

// c[r] += a[r] * b over the keys that each row sees: rows are consecutive queries, the first sees
// `n` keys of the block, each further one as many or one more. Unseen keys are not touched, for 0
// times NaN is NaN.
template <int ROWS>
FIRESTEEL_INLINE void causal_product(float* c, const float* a, const float* b, int width,
                                     int64_t n) {
  const int64_t common = n < kBlock ? n : kBlock;
  product<ROWS, false>(c, width, a, kBlock, 1, b, width, width, common);
  for (int r = 1; r < ROWS && common < kBlock; ++r) {
    const int64_t more = n + r < kBlock ? r : kBlock - n;
    product<1, false>(c + r * width, width, a + r * kBlock + common, kBlock, 1, b + common * width,
                      width, width, more);
  }
}

}  // namespace
}  // namespace FIRESTEEL_ISA
}  // namespace firesteel
