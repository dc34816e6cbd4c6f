#include "runtime/simd/simd.h"
#include "kernels/surrogate/math.h"
#include "kernels/surrogate/table.h"

namespace firesteel {
namespace FIRESTEEL_ISA {
namespace {

int64_t trained_tokens(const uint8_t* mask, int64_t tokens) {
  int64_t n = 0, i = 0;
  for (; i + F32::lanes <= tokens; i += F32::lanes) n += count(load_mask(mask + i));
  if (i < tokens) n += count(load_mask_partial(mask + i, static_cast<int>(tokens - i)));
  return n;
}

struct Lanes {
  F64 policy, kl, ratio, log_ratio_squared;
  F32 ratio_min, ratio_max;
  int64_t clipped_low, clipped_high, faults;
};

struct Tokens {
  F32 log_prob, old_log_prob, ref_log_prob, advantage, weight;
  Mask trained;
};

FIRESTEEL_INLINE F32 accumulate(const SurrogateTerms& s, const Tokens& x, F32 coefficient,
                                Lanes& sums) {
  const F32 zero(0.0f);
  const TokenTerm<F32> t =
      token_term(s, x.log_prob, x.old_log_prob, x.ref_log_prob, x.advantage, x.weight);
  const Mask valid = is_valid(t, x.advantage, x.weight);
  const Mask used = x.trained & valid;
  const F32 log_ratio = select(used, t.log_ratio, zero);
  sums.policy = sums.policy + widen(select(used, t.policy, zero));
  sums.kl = sums.kl + widen(select(used, t.kl, zero));
  sums.ratio = sums.ratio + widen(select(used, t.ratio, zero));
  sums.log_ratio_squared = sums.log_ratio_squared + widen(log_ratio) * widen(log_ratio);
  sums.ratio_min = min(sums.ratio_min, select(used, t.ratio, F32(__builtin_inff())));
  sums.ratio_max = max(sums.ratio_max, select(used, t.ratio, F32(-__builtin_inff())));
  sums.clipped_low += count(used & (t.ratio < F32(s.low)) & (x.advantage < zero));
  sums.clipped_high += count(used & (t.ratio > F32(s.high)) & (x.advantage > zero));
  sums.faults += count(x.trained & !valid);
  return select(used, t.gradient * coefficient, zero);
}

FIRESTEEL_INLINE Tokens load_tokens(const SurrogateTerms& s, const SurrogateRow& row, int64_t i) {
  return {load(row.log_prob + i),
          load(row.old_log_prob + i),
          s.reference ? load(row.ref_log_prob + i) : F32(0.0f),
          row.advantage_per_token ? load(row.advantage + i) : F32(row.advantage[0]),
          row.weight != nullptr ? load(row.weight + i) : F32(1.0f),
          row.mask != nullptr ? load_mask(row.mask + i) : first_lanes(F32::lanes)};
}
FIRESTEEL_INLINE Tokens load_tail(const SurrogateTerms& s, const SurrogateRow& row, int64_t i) {
  const int n = static_cast<int>(row.tokens - i);
  return {
      load_partial(row.log_prob + i, n, 0.0f),
      load_partial(row.old_log_prob + i, n, 0.0f),
      s.reference ? load_partial(row.ref_log_prob + i, n, 0.0f) : F32(0.0f),
      row.advantage_per_token ? load_partial(row.advantage + i, n, 0.0f) : F32(row.advantage[0]),
      row.weight != nullptr ? load_partial(row.weight + i, n, 0.0f) : F32(1.0f),
      row.mask != nullptr ? load_mask_partial(row.mask + i, n) : first_lanes(n)};
}

SurrogateSums row(const SurrogateTerms& s, const SurrogateRow& r) {
  const F64 none = widen(F32(0.0f));
  Lanes sums{none, none, none, none, F32(__builtin_inff()), F32(-__builtin_inff()), 0, 0, 0};
  const F32 coefficient(r.coefficient);
  int64_t i = 0;
  for (; i + F32::lanes <= r.tokens; i += F32::lanes) {
    store(r.d_log_prob + i, accumulate(s, load_tokens(s, r, i), coefficient, sums));
  }
  if (i < r.tokens) {
    store_partial(r.d_log_prob + i, accumulate(s, load_tail(s, r, i), coefficient, sums),
                  static_cast<int>(r.tokens - i));
  }
  return {reduce_add(sums.policy),
          reduce_add(sums.kl),
          reduce_add(sums.ratio),
          0.5 * reduce_add(sums.log_ratio_squared),
          reduce_min(sums.ratio_min),
          reduce_max(sums.ratio_max),
          sums.clipped_low,
          sums.clipped_high,
          sums.faults};
}

}  // namespace

extern const SurrogateTable surrogate_table;
const SurrogateTable surrogate_table = {trained_tokens, row};

}  // namespace FIRESTEEL_ISA
}  // namespace firesteel
