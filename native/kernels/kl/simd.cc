#include "runtime/simd/simd.h"
#include "kernels/kl/math.h"
#include "kernels/kl/table.h"

namespace firesteel {
namespace FIRESTEEL_ISA {
namespace {

struct Lanes {
  F64 kl;
  int64_t faults;
};

FIRESTEEL_INLINE F32 estimate(const KlRow& row, F32 log_prob, F32 ref_log_prob, Mask trained,
                              Lanes& sums) {
  const LossTerm<F32> term =
      kl_loss(row.estimator, row.difference_limit, row.value_limit, log_prob, ref_log_prob);
  const F32 kl = select(trained, term.loss, F32(0.0f));
  sums.kl = sums.kl + widen(kl);
  sums.faults += count(!(kl == kl));
  return kl;
}

KlSum row(const KlRow& r) {
  Lanes sums{widen(F32(0.0f)), 0};
  int64_t i = 0;
  for (; i + F32::lanes <= r.tokens; i += F32::lanes) {
    const Mask trained = r.mask != nullptr ? load_mask(r.mask + i) : first_lanes(F32::lanes);
    store(r.kl + i, estimate(r, load(r.log_prob + i), load(r.ref_log_prob + i), trained, sums));
  }
  if (i < r.tokens) {
    const int n = static_cast<int>(r.tokens - i);
    const Mask trained = r.mask != nullptr ? load_mask_partial(r.mask + i, n) : first_lanes(n);
    const F32 kl = estimate(r, load_partial(r.log_prob + i, n, 0.0f),
                            load_partial(r.ref_log_prob + i, n, 0.0f), trained, sums);
    store_partial(r.kl + i, kl, n);
  }
  return {reduce_add(sums.kl), sums.faults};
}

}  // namespace

extern const KlTable kl_table;
const KlTable kl_table = {row};

}  // namespace FIRESTEEL_ISA
}  // namespace firesteel
