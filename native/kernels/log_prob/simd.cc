// One pass over a row in blocks. The exponentials of a block are taken relative to the largest
// logit before it, while its own maximum is found: only a block that begins a row, or towers above
// what came before, is read twice. Sums are float lanes within a block and double across blocks.
#include "runtime/simd/simd.h"
#include "kernels/log_prob/table.h"

namespace firesteel {
namespace FIRESTEEL_ISA {
namespace {

// Measured on an EPYC (Zen 5), one thread, ps an element of f32, bf16, f16 in the second-level
// cache:
//                                              forward          backward
//   AVX-512, a maximum first, (x - top) scale    124 152 153      117 248 169
//   this, folded, one pass, bf16 in pairs         91  97 106       82 132 120
// about 8 an instruction. Blocks of 16, 32, 64 steps: 100, 94, 91 (f32). From memory, two threads,
// without the prefetch 1.1 times the time, with it a quarter of a block ahead 1.2 times.
constexpr int kPairs = 2;
constexpr int kStep = 2 * kPairs * F32::lanes;  // elements of an iteration
constexpr int kBlock = 64 * kStep;  // a lane adds up 64 terms in float, whatever its width
static_assert(kLogProbColumns % kBlock == 0, "rows in parts have whole blocks");

constexpr float kInfinity = __builtin_inff();
// A block whose maximum is further above the base than this, in powers of 2, is taken again: an
// exponent's rounding is relative to its distance from the base, here 2^-20 at most.
constexpr float kHeadroom = 16.0f;
// Up to here the rounding of a base is below 2^-11.
constexpr float kLargestBase = 0x1p13f;
// Below it what folding saves is less than what undoing its rounding costs.
constexpr int kLeastFolded = 512;

// The last `left` of n elements in the last lanes, in the others `fill`. Where a whole vector ends
// there, that is loaded: a partial one passes through memory on most instruction sets.
template <class T>
FIRESTEEL_INLINE F32 load_last(const T* x, int n, int left, float fill) {
  if (n < F32::lanes) return load_partial(x, n, fill);
  return select(first_lanes(F32::lanes - left), fill, load(x + n - F32::lanes));
}

template <class T>
FIRESTEEL_INLINE float block_max(const T* x, int n) {
  F32 top[2 * kPairs];
  for (F32& t : top) t = F32(-kInfinity);
  int i = 0;
  for (; i + kStep <= n; i += kStep) {
    for (int u = 0; u < kPairs; ++u) {
      const Pair pair = load_pair(x + i + 2 * u * F32::lanes);
      top[2 * u] = max(top[2 * u], pair.a);
      top[2 * u + 1] = max(top[2 * u + 1], pair.b);
    }
  }
  for (; i + F32::lanes <= n; i += F32::lanes) top[0] = max(top[0], load(x + i));
  if (i < n) top[0] = max(top[0], load_last(x, n, n - i, -kInfinity));
  return reduce_max(max(max(top[0], top[1]), max(top[2], top[3])));
}

// t = (x - top) scale. Folded it is x scale - base with base = top scale, rounded: one operation
// less and one rounding less, relative to t too, and what the base's rounding makes of sums of 2^t
// is known (`off`). Where the base is large, or a multiply-add rounds twice, top is subtracted
// first.
struct Exponent {
  F32 scale, top, minus_base;
};
template <bool kFolded>
FIRESTEEL_INLINE F32 exponent(const Exponent& e, F32 x) {
  return kFolded ? fma(x, e.scale, e.minus_base) : (x - e.top) * e.scale;
}
FIRESTEEL_INLINE bool is_foldable(float base) {
  return kFusedMultiplyAdd && base < kLargestBase && -base < kLargestBase;
}
// 2^-off, |off| < 2^-11, to a double's precision.
FIRESTEEL_INLINE double rounding_factor(double off) {
  const double u = off * kLn2;
  return 1.0 - u * (1.0 - u * (1.0 / 2.0 - u * (1.0 / 6.0 - u * (1.0 / 24.0))));
}

// Of a block: s = sum 2^t, w = sum t 2^t, and its maximum.
struct Sums {
  double s, w;
  float top;
};
struct Lanes {
  F32 s, w, top;
};
// kTop: the maximum is asked for too.
template <bool kFolded, bool kTop>
FIRESTEEL_INLINE void accumulate(Lanes& sums, const Exponent& e, F32 x) {
  // NaN, being second, passes, and then makes w NaN.
  const F32 t = max(F32(kExp2Zero), exponent<kFolded>(e, x));
  const F32 power = exp2_bounded(t);
  sums.s = sums.s + power;
  sums.w = fma(power, t, sums.w);
  if (kTop) sums.top = max(sums.top, x);
}
template <bool kFolded, bool kTop, class T>
FIRESTEEL_INLINE Sums block_sums(const T* x, int n, const Exponent& e) {
  Lanes sums[2 * kPairs];
  for (Lanes& lanes : sums) lanes = {F32(0.0f), F32(0.0f), F32(-kInfinity)};
  int i = 0;
  for (; i + kStep <= n; i += kStep) {
    // The next block comes from memory while this one computes; beyond the row it is the next row,
    // and a prefetch beyond the array is harmless.
    const char* next = reinterpret_cast<const char*>(x + i + kBlock);
    constexpr int bytes = kStep * static_cast<int>(sizeof(T));
    for (int line = 0; line < bytes; line += 64) __builtin_prefetch(next + line);
    for (int u = 0; u < kPairs; ++u) {
      const Pair pair = load_pair(x + i + 2 * u * F32::lanes);
      accumulate<kFolded, kTop>(sums[2 * u], e, pair.a);
      accumulate<kFolded, kTop>(sums[2 * u + 1], e, pair.b);
    }
  }
  for (; i + F32::lanes <= n; i += F32::lanes) accumulate<kFolded, kTop>(sums[0], e, load(x + i));
  if (i < n) accumulate<kFolded, kTop>(sums[0], e, load_last(x, n, n - i, -kInfinity));
  return {
      reduce_add_f64((sums[0].s + sums[1].s) + (sums[2].s + sums[3].s)),
      reduce_add_f64((sums[0].w + sums[1].w) + (sums[2].w + sums[3].w)),
      kTop ? reduce_max(max(max(sums[0].top, sums[1].top), max(sums[2].top, sums[3].top))) : 0.0f};
}

// The sums of a block relative to `top`, a finite one.
template <bool kTop, class T>
FIRESTEEL_INLINE Sums sums_around(const T* x, int n, float top, float scale) {
  const float base = top * scale;
  const Exponent e{scale, top, -base};
  if (n < kLeastFolded || !is_foldable(base)) return block_sums<false, kTop>(x, n, e);
  Sums sums = block_sums<true, kTop>(x, n, e);
  const double off =
      static_cast<double>(top) * static_cast<double>(scale) - static_cast<double>(base);
  const double factor = rounding_factor(off);
  sums.w = (sums.w - off * sums.s) * factor;
  sums.s = sums.s * factor;
  return sums;
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
    const T* block = x + begin;
    float top = static_cast<float>(all.max);
    Sums part;
    if (top > -kInfinity) part = sums_around<true>(block, n, top, row.scale);
    if (!(top > -kInfinity) || (part.top - top) * row.scale > kHeadroom) {
      top = block_max(block, n);
      // max may lose a NaN, w never does: a block of nothing but -inf is summed too, around 0.
      part = sums_around<false>(block, n, top == -kInfinity ? 0.0f : top, row.scale);
      part.top = top;
    }
    if (part.w != part.w) return {part.w, part.w, part.w, part.w, 0.0, 0.0};
    if (row.with_total) all.total += block_total(block, n);
    if (top == -kInfinity) continue;
    all = raised(all, static_cast<double>(top), scale);
    all.sum += part.s;
    all.weighted += part.w;
    all = raised(all, static_cast<double>(part.top), scale);
  }
  return all;
}

struct Gradient {
  Exponent exponent;
  F32 minus_log2_sum, base, slope, each;
};
template <bool kFolded, bool kSlope>
FIRESTEEL_INLINE F32 gradient(const Gradient& g, F32 x, F32 add) {
  F32 t = exponent<kFolded>(g.exponent, x);
  if (!kFolded) t = t + g.minus_log2_sum;
  t = max(F32(kExp2Zero), t);
  return fma(exp2_bounded(t), kSlope ? fma(t, g.slope, g.base) : g.base, add);
}
template <bool kFolded, bool kSlope, class T>
FIRESTEEL_INLINE void backward_row(const LogProbBackwardRow& row, const Gradient& g) {
  const T* x = static_cast<const T*>(row.logits);
  T* out = static_cast<T*>(row.d_logits);
  const F32 each = g.each;  // +0 is added too: p = 0 gives +0 whatever the sign of base
  // Before the loop, which may overwrite the logits.
  const int vocab = static_cast<int>(row.vocab), rest = vocab % F32::lanes;
  F32 at_target(0.0f), last(0.0f);
  if (row.target >= 0) {
    at_target = gradient<kFolded, kSlope>(g, to_float(x[row.target]), each + row.hit);
  }
  if (rest > 0) {
    const bool whole = vocab >= F32::lanes;
    const F32 logits = whole ? load(x + vocab - F32::lanes) : load_partial(x, rest, -kInfinity);
    last = gradient<kFolded, kSlope>(g, logits, each);
  }
  int i = 0;
  const T* next = static_cast<const T*>(row.next);
  constexpr int bytes = 2 * F32::lanes * static_cast<int>(sizeof(T));
  for (; i + 2 * F32::lanes <= vocab; i += 2 * F32::lanes) {
    for (int line = 0; line < bytes; line += 64) {
      __builtin_prefetch(reinterpret_cast<const char*>(next + i) + line, 0, 2);
    }
    const Pair pair = load_pair(x + i);
    store_pair(out + i, {gradient<kFolded, kSlope>(g, pair.a, each),
                         gradient<kFolded, kSlope>(g, pair.b, each)});
  }
  if (i + F32::lanes <= vocab) store(out + i, gradient<kFolded, kSlope>(g, load(x + i), each));
  // The same values again where it reaches back.
  if (rest > 0 && vocab >= F32::lanes) store(out + vocab - F32::lanes, last);
  if (rest > 0 && vocab < F32::lanes) store_partial(out, last, rest);
  if (row.target >= 0) {
    float value[F32::lanes];
    store(value, at_target);
    out[row.target] = from_float<T>(value[0]);
  }
}
template <class T>
void backward(const LogProbBackwardRow& row) {
  const double shift = static_cast<double>(row.max) * static_cast<double>(row.scale) +
                       static_cast<double>(row.log2_sum);
  const float folded = static_cast<float>(shift);
  // A certain token has p = 1 to the last bit, and no gradient.
  if (row.log2_sum == 0.0f || !is_foldable(folded)) {
    const Gradient g{{row.scale, row.max, 0.0f}, -row.log2_sum, row.base, row.slope, row.each};
    backward_row<false, true, T>(row, g);
    return;
  }
  // log2 p = t - off and p = 2^t 2^-off, so that base and slope take the rounding of the shift.
  const double off = shift - static_cast<double>(folded);
  const double factor = rounding_factor(off);
  const double slope = static_cast<double>(row.slope);
  const float base = static_cast<float>((static_cast<double>(row.base) - slope * off) * factor);
  const Gradient g{
      {row.scale, row.max, -folded}, 0.0f, base, static_cast<float>(slope * factor), row.each};
  if (row.slope == 0.0f) {
    backward_row<true, false, T>(row, g);
  } else {
    backward_row<true, true, T>(row, g);
  }
}

}  // namespace

extern const LogProbTable log_prob_table;
const LogProbTable log_prob_table = {{sums<float>, sums<bf16>, sums<f16>},
                                     {backward<float>, backward<bf16>, backward<f16>}};

}  // namespace FIRESTEEL_ISA
}  // namespace firesteel
