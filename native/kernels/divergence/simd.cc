// Rows are walked in blocks that stay in the first-level cache, widened to float and filled up with
// -inf: the loops below know neither dtypes nor tails. Sums are double lanes.
#include "runtime/simd/simd.h"
#include "kernels/divergence/table.h"

namespace firesteel {
namespace FIRESTEEL_ISA {
namespace {

// Two blocks of floats are 8 KiB. A multiple of every vector's length.
constexpr int kBlock = 1024;
constexpr float kInfinity = __builtin_inff();

using Buffer = float[kBlock];

template <class T>
FIRESTEEL_INLINE void widen_block(const T* x, int n, float* buffer) {
  int i = 0;
  for (; i + F32::lanes <= n; i += F32::lanes) store(buffer + i, load(x + i));
  if (i < n) store(buffer + i, load_partial(x + i, n - i, -kInfinity));
}

// Tokens begin .. begin + n of the row, filled up to whole vectors.
FIRESTEEL_INLINE const float* block_of(const LogitRow& row, int64_t begin, int n, float* buffer) {
  switch (row.dtype) {
    case DType::bf16:
      widen_block(static_cast<const bf16*>(row.logits) + begin, n, buffer);
      return buffer;
    case DType::f16:
      widen_block(static_cast<const f16*>(row.logits) + begin, n, buffer);
      return buffer;
    default:
      break;
  }
  const float* x = static_cast<const float*>(row.logits) + begin;
  if (n == kBlock) return x;
  widen_block(x, n, buffer);
  return buffer;
}

template <class T>
FIRESTEEL_INLINE void narrow_block(const float* buffer, int n, T* out) {
  int i = 0;
  for (; i + F32::lanes <= n; i += F32::lanes) store(out + i, load(buffer + i));
  if (i < n) store_partial(out + i, load(buffer + i), n - i);
}
FIRESTEEL_INLINE void store_block(DType dtype, const float* buffer, int64_t begin, int n,
                                  void* out) {
  switch (dtype) {
    case DType::bf16:
      return narrow_block(buffer, n, static_cast<bf16*>(out) + begin);
    case DType::f16:
      return narrow_block(buffer, n, static_cast<f16*>(out) + begin);
    default:
      return narrow_block(buffer, n, static_cast<float*>(out) + begin);
  }
}

// body(begin, n) for the blocks of a row.
template <class Body>
FIRESTEEL_INLINE void each_block(int64_t vocab, const Body& body) {
  for (int64_t begin = 0; begin < vocab; begin += kBlock) {
    const int64_t left = vocab - begin;
    body(begin, left < kBlock ? static_cast<int>(left) : kBlock);
  }
}

float max_of(const LogitRow& row) {
  F32 top(-kInfinity);
  each_block(row.vocab, [&](int64_t begin, int n) {
    alignas(64) Buffer buffer;
    const float* x = block_of(row, begin, n, buffer);
    F32 other(-kInfinity);
    int i = 0;
    for (; i + 2 * F32::lanes <= n; i += 2 * F32::lanes) {
      top = max(top, load(x + i));
      other = max(other, load(x + i + F32::lanes));
    }
    for (; i < n; i += F32::lanes) top = max(top, load(x + i));
    top = max(top, other);
  });
  return reduce_max(top);
}

struct SumLanes {
  F64 sum, weighted;
};
FIRESTEEL_INLINE void accumulate(SumLanes& lanes, F32 x, F32 top, F32 scale) {
  // NaN, being second, passes, and then makes the weighted sum NaN.
  const F32 t = max(F32(kExp2Zero), (x - top) * scale);
  const F32 power = exp2_bounded(t);
  lanes.sum = lanes.sum + widen(power);
  lanes.weighted = lanes.weighted + widen(power * t);
}
FIRESTEEL_INLINE SumLanes no_sums() {
  const F64 zero = widen(F32(0.0f));
  return {zero, zero};
}
FIRESTEEL_INLINE ExponentSums reduce(const SumLanes& lanes) {
  return {reduce_add(lanes.sum), reduce_add(lanes.weighted)};
}

ExponentSums sums_of(const LogitRow& row, float max, float scale) {
  // A row of nothing but -inf is summed around 0, where it is 0.
  const F32 top(max == -kInfinity ? 0.0f : max), vector_scale(scale);
  SumLanes lanes = no_sums();
  each_block(row.vocab, [&](int64_t begin, int n) {
    alignas(64) Buffer buffer;
    const float* x = block_of(row, begin, n, buffer);
    for (int i = 0; i < n; i += F32::lanes) accumulate(lanes, load(x + i), top, vector_scale);
  });
  return reduce(lanes);
}

FIRESTEEL_INLINE float logit_at(const LogitRow& row, int32_t id) {
  switch (row.dtype) {
    case DType::bf16:
      return to_float(static_cast<const bf16*>(row.logits)[id]);
    case DType::f16:
      return to_float(static_cast<const f16*>(row.logits)[id]);
    default:
      return static_cast<const float*>(row.logits)[id];
  }
}

ExponentSums sums_at(const LogitRow& row, const int32_t* ids, int64_t count, float max,
                     float scale) {
  SumLanes lanes = no_sums();
  for (int64_t begin = 0; begin < count; begin += F32::lanes) {
    float x[F32::lanes];
    for (int i = 0; i < F32::lanes; ++i) {
      x[i] = begin + i < count ? logit_at(row, ids[begin + i]) : -kInfinity;
    }
    accumulate(lanes, load(x), max, scale);
  }
  return reduce(lanes);
}

struct Exp2 {
  static constexpr float least = kExp2Zero;
  FIRESTEEL_MEMBER F32 operator()(F32 x) const { return exp2_bounded(x); }
};

// body(pair, i, first token) for every vector of a pair of rows.
template <class Body>
FIRESTEEL_INLINE void each_pair(const DivergenceConstants& c, const LogitRow& student,
                                const LogitRow& teacher, int64_t begin, int n, const Body& body) {
  alignas(64) Buffer student_buffer, teacher_buffer;
  const float* x = block_of(student, begin, n, student_buffer);
  const float* y = block_of(teacher, begin, n, teacher_buffer);
  for (int i = 0; i < n; i += F32::lanes) {
    body(i, token_pair(c, load(x + i), load(y + i), Exp2()));
  }
}

template <class Terms>
FIRESTEEL_INLINE TokenSums sum_tokens(const DivergenceConstants& c, const LogitRow& student,
                                      const LogitRow& teacher, const Terms& terms) {
  SumLanes lanes = no_sums();
  each_block(student.vocab, [&](int64_t begin, int n) {
    each_pair(c, student, teacher, begin, n, [&](int, const TokenPair<F32, Mask>& pair) {
      F32 first, second;
      terms(pair, first, second);
      lanes.sum = lanes.sum + widen(first);
      lanes.weighted = lanes.weighted + widen(second);
    });
  });
  const ExponentSums sums = reduce(lanes);
  return {sums.sum, sums.weighted};
}

TokenSums tokens(const DivergenceWeights& w, const DivergenceConstants& c, const LogitRow& student,
                 const LogitRow& teacher) {
  if (w.mixture) {
    return sum_tokens(c, student, teacher,
                      [&](const TokenPair<F32, Mask>& pair, F32& first, F32& second) {
                        const MixtureTerms<F32> terms = jsd_terms(w, pair);
                        first = terms.divergence;
                        second = terms.student_kl;
                      });
  }
  return sum_tokens(c, student, teacher,
                    [](const TokenPair<F32, Mask>& pair, F32& first, F32& second) {
                      const Divergences<F32> terms = kl_terms(pair);
                      first = terms.forward;
                      second = terms.reverse;
                    });
}

template <class Slope>
FIRESTEEL_INLINE void write_gradient(const DivergenceGradientRow& row, const Slope& slope) {
  const F32 factor(row.factor), zero(0.0f);
  each_block(row.student.vocab, [&](int64_t begin, int n) {
    alignas(64) Buffer result;
    each_pair(row.constants, row.student, row.teacher, begin, n,
              [&](int i, const TokenPair<F32, Mask>& pair) {
                store(result + i, fma(factor, slope(pair), zero));  // + 0: never -0
              });
    store_block(row.student.dtype, result, begin, n, row.out);
  });
}

void gradient(const DivergenceWeights& w, const DivergenceGradientRow& row) {
  const F32 kl(row.kl);
  if (w.mixture) {
    write_gradient(row,
                   [&](const TokenPair<F32, Mask>& pair) { return jsd_gradient(w, kl, pair); });
  } else {
    write_gradient(row, [&](const TokenPair<F32, Mask>& pair) { return kl_gradient(w, kl, pair); });
  }
}

void outside(const OutsideGradientRow& row) {
  const F32 max_logit(row.max), scale(row.scale), minus_log2_sum(-row.log2_sum);
  const F32 base(row.base), slope(row.slope), zero(0.0f);
  each_block(row.student.vocab, [&](int64_t begin, int n) {
    alignas(64) Buffer buffer, result;
    const float* x = block_of(row.student, begin, n, buffer);
    for (int i = 0; i < n; i += F32::lanes) {
      const F32 log2_p = fma(load(x + i) - max_logit, scale, minus_log2_sum);
      const F32 t = max(F32(kExp2Zero), min(zero, log2_p));
      store(result + i, fma(exp2_bounded(t), fma(t, slope, base), zero));
    }
    store_block(row.student.dtype, result, begin, n, row.out);
  });
}

}  // namespace

extern const DivergenceTable divergence_table;
const DivergenceTable divergence_table = {max_of, sums_of, sums_at, tokens, gradient, outside};

}  // namespace FIRESTEEL_ISA
}  // namespace firesteel
