// One pass over a row in blocks that stay in the first-level cache: the maximum of a block, then
// its exponentials relative to that maximum, then one rescaling of the running sums. Sums are float
// lanes within a block and double across blocks.
#include "runtime/simd/simd.h"
#include "kernels/log_prob/table.h"

namespace firesteel {
namespace FIRESTEEL_ISA {
namespace {

// Tuning, measured on an EPYC (Zen 4, AVX-512, one thread, V = 151,936 in cache):
//   kUnroll 2, 4: 5.1, 5.1 G elements/s. 4 also hides the addition's latency where it is 4 cycles.
//   kBlockVectors 128, 256, 512, 1024: 4.9, 5.1, 5.0, 5.1. At 256 a lane adds up 64 terms in float,
//   whatever its width, and a block (16 KiB of f32 with AVX-512) and the next fit a 32 KiB cache.
constexpr int kUnroll = 4;
constexpr int kBlockVectors = 64 * kUnroll;
constexpr int kBlock = kBlockVectors * F32::lanes;
static_assert(kLogProbColumns % kBlock == 0, "rows in parts have whole blocks");

constexpr float kLowest = -127.0f;  // where exp2_nonpositive is exactly 0
constexpr float kInfinity = __builtin_inff();

template <class T>
FIRESTEEL_INLINE float block_max(const T* x, int n) {
  F32 top[kUnroll];
  for (F32& t : top) t = F32(-kInfinity);
  int i = 0;
  for (; i + kUnroll * F32::lanes <= n; i += kUnroll * F32::lanes) {
    for (int u = 0; u < kUnroll; ++u) top[u] = max(top[u], load(x + i + u * F32::lanes));
  }
  for (; i + F32::lanes <= n; i += F32::lanes) top[0] = max(top[0], load(x + i));
  if (i < n) top[0] = max(top[0], load_partial(x + i, n - i, -kInfinity));
  return reduce_max(max(max(top[0], top[1]), max(top[2], top[3])));
}

// s = sum 2^t, w = sum t 2^t with t = (x - top) scale. Subtracting first, instead of folding the
// maximum into a multiply-add, keeps the error relative to x - top however large the logits are.
struct Sums {
  double s, w;
};
struct Lanes {
  F32 s, w;
};
FIRESTEEL_INLINE void accumulate(Lanes& sums, F32 x, F32 top, F32 scale) {
  const F32 t =
      max(F32(kLowest), (x - top) * scale);  // NaN, being second, passes, and then makes w NaN
  const F32 e = exp2_nonpositive(t);
  sums.s = sums.s + e;
  sums.w = fma(e, t, sums.w);
}
template <class T>
FIRESTEEL_INLINE Sums block_sums(const T* x, int n, float top, float scale) {
  const F32 vector_top(top), vector_scale(scale);
  Lanes sums[kUnroll];
  for (Lanes& lanes : sums) lanes = {F32(0.0f), F32(0.0f)};
  int i = 0;
  for (; i + kUnroll * F32::lanes <= n; i += kUnroll * F32::lanes) {
    // The next block comes from memory while this one computes; beyond the row it is the next row,
    // and a prefetch beyond the array is harmless.
    const char* next = reinterpret_cast<const char*>(x + i + kBlock);
    constexpr int bytes = kUnroll * F32::lanes * static_cast<int>(sizeof(T));
    for (int line = 0; line < bytes; line += 64) __builtin_prefetch(next + line);
    for (int u = 0; u < kUnroll; ++u) {
      accumulate(sums[u], load(x + i + u * F32::lanes), vector_top, vector_scale);
    }
  }
  for (; i + F32::lanes <= n; i += F32::lanes) {
    accumulate(sums[0], load(x + i), vector_top, vector_scale);
  }
  if (i < n) {
    accumulate(sums[0], load_partial(x + i, n - i, -kInfinity), vector_top, vector_scale);
  }
  return {reduce_add_f64((sums[0].s + sums[1].s) + (sums[2].s + sums[3].s)),
          reduce_add_f64((sums[0].w + sums[1].w) + (sums[2].w + sums[3].w))};
}

// In doubles: the mean over the vocabulary may be small against the logits. The block is in cache.
template <class T>
FIRESTEEL_INLINE double block_total(const T* x, int n) {
  F64 total[2] = {widen(F32(0.0f)), widen(F32(0.0f))};
  int i = 0;
  for (; i + 2 * F32::lanes <= n; i += 2 * F32::lanes) {
    total[0] = total[0] + widen(load(x + i));
    total[1] = total[1] + widen(load(x + i + F32::lanes));
  }
  for (; i < n; i += F32::lanes) {
    const int left = n - i;
    total[0] = total[0] + widen(left < F32::lanes ? load_partial(x + i, left, 0.0f) : load(x + i));
  }
  return reduce_add(total[0] + total[1]);
}

template <class T>
LogProbPartial sums(const LogProbRow& row) {
  const T* x = static_cast<const T*>(row.logits);
  const double scale = static_cast<double>(row.scale);
  LogProbPartial all = row.before;
  for (int64_t begin = 0; begin < row.vocab; begin += kBlock) {
    const int64_t left = row.vocab - begin;
    const int n = left < kBlock ? static_cast<int>(left) : kBlock;
    const float top = block_max(x + begin, n);
    // max may lose a NaN, w never does: a block of nothing but -inf is summed too, around 0.
    const bool empty = top == -kInfinity;
    const Sums block = block_sums(x + begin, n, empty ? 0.0f : top, row.scale);
    if (block.w != block.w) return {block.w, block.w, block.w, block.w, 0.0, 0.0};
    LogProbPartial part{static_cast<double>(top), 0.0, 0.0, 0.0, 0.0, 0.0};
    if (!empty) {
      part.sum = block.s;
      part.weighted = block.w;
    }
    if (row.with_total) part.total = block_total(x + begin, n);
    all = merged(all, part, scale);
  }
  return all;
}

struct Gradient {
  F32 scale, max, minus_log2_sum, base, slope;
};
FIRESTEEL_INLINE F32 gradient(const Gradient& g, F32 x, F32 add) {
  // Subtracting first keeps the error relative to x - max, with and without a fused multiply-add.
  const F32 log2_p = fma(x - g.max, g.scale, g.minus_log2_sum);
  const F32 t = max(F32(kLowest), min(F32(0.0f), log2_p));
  return fma(exp2_nonpositive(t), fma(t, g.slope, g.base), add);
}
template <class T>
void backward(const LogProbBackwardRow& row) {
  const T* x = static_cast<const T*>(row.logits);
  T* out = static_cast<T*>(row.d_logits);
  const Gradient g{row.scale, row.max, -row.log2_sum, row.base, row.slope};
  const F32 each(row.each);  // +0 is added too: p = 0 gives +0 whatever the sign of base
  // Before the loop, which may overwrite the target's logit.
  F32 at_target(0.0f);
  if (row.target >= 0) {
    at_target = gradient(g, load_partial(x + row.target, 1, -kInfinity), each + row.hit);
  }
  int64_t i = 0;
  for (; i + F32::lanes <= row.vocab; i += F32::lanes) {
    store(out + i, gradient(g, load(x + i), each));
  }
  if (i < row.vocab) {
    const int n = static_cast<int>(row.vocab - i);
    store_partial(out + i, gradient(g, load_partial(x + i, n, -kInfinity), each), n);
  }
  if (row.target >= 0) store_partial(out + row.target, at_target, 1);
}

}  // namespace

extern const LogProbTable log_prob_table;
const LogProbTable log_prob_table = {{sums<float>, sums<bf16>, sums<f16>},
                                     {backward<float>, backward<bf16>, backward<f16>}};

}  // namespace FIRESTEEL_ISA
}  // namespace firesteel
