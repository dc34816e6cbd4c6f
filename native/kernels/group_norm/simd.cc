#include "runtime/simd/simd.h"
#include "kernels/group_norm/table.h"

namespace firesteel {
namespace FIRESTEEL_ISA {

// Where the terms of math.h look for it.
FIRESTEEL_INLINE F64 magnitude(F64 x) {
  return {x.lo < 0.0 ? -x.lo : x.lo, x.hi < 0.0 ? -x.hi : x.hi};
}

namespace {

constexpr float kInfinity = __builtin_inff();

// body(x, used) for every vector of a span. kAll: all values count, and but for the last vector the
// compiler sees that `used` is all lanes.
template <bool kAll, class Body>
FIRESTEEL_INLINE void for_vectors(const GroupNormSpan& s, float but, const Body& body) {
  const auto counts = [&](F32 x, Mask used) __attribute__((always_inline)) {
    used = used & !(x == F32(but));
    return s.finite_only ? used & (abs(x) < F32(kInfinity)) : used;
  };
  int64_t i = 0;
  for (; i + F32::lanes <= s.count; i += F32::lanes) {
    const F32 x = load(s.values + i);
    const Mask all = first_lanes(F32::lanes);
    body(x, kAll ? all : counts(x, s.valid != nullptr ? load_mask(s.valid + i) : all));
  }
  if (i == s.count) return;
  const int n = static_cast<int>(s.count - i);
  const F32 x = load_partial(s.values + i, n, 0.0f);
  const Mask there = s.valid != nullptr ? load_mask_partial(s.valid + i, n) : first_lanes(n);
  body(x, counts(x, there));
}

struct SpanSet {
  const GroupNormSpan& s;

  FIRESTEEL_MEMBER bool takes_all(float but) const {
    return s.valid == nullptr && !s.finite_only && but != but;
  }
  FIRESTEEL_MEMBER Extent extent(float but) const {
    return takes_all(but) ? extent_of<true>(but) : extent_of<false>(but);
  }
  template <class Term>
  FIRESTEEL_MEMBER double sum(float but, Term term) const {
    return takes_all(but) ? sum_of<true>(but, term) : sum_of<false>(but, term);
  }
  // cpu.cc keeps the rules that ask for them to itself.
  FIRESTEEL_MEMBER double median() const { return __builtin_nan(""); }
  FIRESTEEL_MEMBER double median_distance(double) const { return __builtin_nan(""); }

 private:
  template <bool kAll>
  FIRESTEEL_MEMBER Extent extent_of(float but) const {
    F64 sum = widen(F32(0.0f));
    F32 low = kInfinity, high = -kInfinity;
    int64_t left_out = 0;
    for_vectors<kAll>(s, but, [&](F32 x, Mask used) __attribute__((always_inline)) {
      sum = sum + widen(select(used, x, F32(0.0f)));
      low = min(low, select(used, x, F32(kInfinity)));
      high = max(high, select(used, x, F32(-kInfinity)));
      if (!kAll) left_out += F32::lanes - count(used);
    });
    Extent all;
    const int64_t lanes = (s.count + F32::lanes - 1) / F32::lanes * F32::lanes;
    all.count = kAll ? s.count : lanes - left_out;
    all.sum = reduce_add(sum);
    all.low = reduce_min(low);
    all.high = reduce_max(high);
    all.wrong = !is_finite(all.sum);  // floats cannot overflow a double
    return all;
  }

  template <bool kAll, class Term>
  FIRESTEEL_MEMBER double sum_of(float but, Term term) const {
    F64 sum = widen(F32(0.0f));
    for_vectors<kAll>(s, but, [&](F32 x, Mask used) __attribute__((always_inline)) {
      const F64 of_zeros = term(widen(select(used, x, F32(0.0f))));
      sum = sum + of_zeros * widen(select(used, F32(1.0f), F32(0.0f)));
    });
    return reduce_add(sum);
  }
};

Extent extent(const GroupNormSpan& s, float but) {
  return SpanSet{s}.extent(but);
}
double squares(const GroupNormSpan& s, float but, SquareFrom term) {
  return SpanSet{s}.sum(but, term);
}
double distances(const GroupNormSpan& s, DistanceFrom term) {
  return SpanSet{s}.sum(kNoValue, term);
}

// One value at a time: a divisor of its own each, or one whose inverse is not an ordinary number.
void write_each(const GroupNormRule& rule, const Normalizer& n, const GroupNormSpan& s,
                float* advantage) {
  for (int64_t i = 0; i < s.count; ++i) {
    const bool used = s.valid == nullptr || s.valid[i] != 0;
    advantage[i] = used ? advantage_of(rule, n, s.values[i]) : 0.0f;
  }
}

FIRESTEEL_INLINE void write_span(const GroupNormRule& rule, const Normalizer& n,
                                 const GroupNormSpan& s, float* advantage) {
  if (!n.zero && (n.std_of_others || !(n.divisor > 0x1p-1000 && n.divisor < 0x1p1000))) {
    return write_each(rule, n, s, advantage);
  }
  const double center = n.zero ? 0.0 : n.center, factor = n.zero ? 0.0 : n.others / n.divisor;
  int64_t i = 0;
  const auto of = [&](F32 x, Mask used) __attribute__((always_inline)) {
    const F32 y = narrow((widen(x) - center) * factor);
    return select(used, n.zero ? F32(0.0f) : y, F32(0.0f));
  };
  for (; i + F32::lanes <= s.count; i += F32::lanes) {
    const Mask used = s.valid != nullptr ? load_mask(s.valid + i) : first_lanes(F32::lanes);
    store(advantage + i, of(load(s.values + i), used));
  }
  if (i == s.count) return;
  const int left = static_cast<int>(s.count - i);
  const Mask used = s.valid != nullptr ? load_mask_partial(s.valid + i, left) : first_lanes(left);
  store_partial(advantage + i, of(load_partial(s.values + i, left, 0.0f), used), left);
}

void write(const GroupNormRule& rule, const Normalizer& n, const GroupNormSpan& s,
           float* advantage) {
  write_span(rule, n, s, advantage);
}

Normalizer normalize(const GroupNormRule& rule, const GroupNormSpan& s, double ema, double shared,
                     float* advantage) {
  const Normalizer n = normalizer(SpanSet{s}, rule, ema, shared);
  write_span(rule, n, s, advantage);
  return n;
}

}  // namespace

extern const GroupNormTable group_norm_table;
const GroupNormTable group_norm_table = {extent, squares, distances, write, normalize};

}  // namespace FIRESTEEL_ISA
}  // namespace firesteel
