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
    const auto* from = row(i);
    for (int d = 0; d < width; d += F32::lanes) {
      const bool whole = d + F32::lanes <= dim;
      store(to + i * width + d, whole ? load(from + d) : load_partial(from + d, dim - d, 0.0f));
    }
  }
}

template <class T>
FIRESTEEL_INLINE void copy_out(T* to, const float* row, int dim) {
  for (int d = 0; d < dim; d += F32::lanes)
    store_partial(to + d, load(row + d), clamp_lanes(dim - d));
}

// Tokens of several heads as the left side of a product, which takes floats.
struct Operand {
  const float* x;
  int64_t token, head;  // strides
};
// Floats of room that `operand` needs for `rows` rows of T.
template <class T>
constexpr int operand_room(int rows) {
  return sizeof(T) == sizeof(float) ? 1 : rows * kMaxDim;
}
// x[i * token + h * dim + d] for i < count and h < heads: where it lies, or widened into `room`.
FIRESTEEL_INLINE Operand operand(const float* x, int64_t token, int, int, int dim, float*) {
  return {x, token, dim};
}
template <class T>
FIRESTEEL_INLINE Operand operand(const T* x, int64_t token, int count, int heads, int dim,
                                 float* room) {
  const int width = whole_vectors(dim);
  for (int h = 0; h < heads; ++h) {
    copy_rows(
        room + h * count * width, width, [&](int64_t i) { return x + i * token + h * dim; }, count,
        dim);
  }
  return {room, width, count * width};
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
