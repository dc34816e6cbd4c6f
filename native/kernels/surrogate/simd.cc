#include "runtime/simd/simd.h"
#include "kernels/surrogate/math.h"
#include "kernels/surrogate/table.h"

namespace firesteel {
namespace FIRESTEEL_ISA {
namespace {

constexpr float kInfinity = __builtin_inff();

int64_t trained_tokens(const uint8_t* mask, int64_t tokens) {
  int64_t n = 0, i = 0;
  for (; i + F32::lanes <= tokens; i += F32::lanes) n += count(load_mask(mask + i));
  if (i < tokens) n += count(load_mask_partial(mask + i, static_cast<int>(tokens - i)));
  return n;
}

// The n tokens from i on: a vector full, or what is left of the span.
template <bool kFull>
struct Reader {
  int64_t i;
  int n;

  FIRESTEEL_MEMBER F32 operator()(const float* p) const {
    return kFull ? load(p + i) : load_partial(p + i, n, 0.0f);
  }
  FIRESTEEL_MEMBER F32 operator()(const float* p, float absent) const {
    return p != nullptr ? (*this)(p) : F32(absent);
  }
  FIRESTEEL_MEMBER F32 operator()(const float* p, bool per_token) const {
    return per_token ? (*this)(p) : F32(*p);
  }
  FIRESTEEL_MEMBER Mask trained(const uint8_t* mask) const {
    if (mask == nullptr) return first_lanes(kFull ? F32::lanes : n);
    return kFull ? load_mask(mask + i) : load_mask_partial(mask + i, n);
  }
  FIRESTEEL_MEMBER void write(float* p, F32 x) const {
    if (kFull) {
      store(p + i, x);
    } else {
      store_partial(p + i, x, n);
    }
  }
  FIRESTEEL_MEMBER void write_if(float* p, F32 x) const {
    if (p != nullptr) write(p, x);
  }
};

template <bool kPlain, bool kFull>
FIRESTEEL_INLINE TokenInput<F32> read_tokens(const SurrogatePlan& s, const SurrogateSpan& span,
                                             F32 advantage, const Reader<kFull>& read) {
  TokenInput<F32> x;
  x.log_prob = read(span.log_prob);
  x.old_log_prob = kPlain ? read(span.old_log_prob) : read(span.old_log_prob, 0.0f);
  x.ref_log_prob = read(span.ref_log_prob, 0.0f);
  x.advantage = span.advantage_per_token ? read(span.advantage) : advantage;
  x.weight = read(span.weight, 1.0f);
  x.entropy = read(span.entropy, 0.0f);
  x.low = kPlain ? F32(s.low) : read(span.low, span.limits_per_token);
  x.high = kPlain ? F32(s.high) : read(span.high, span.limits_per_token);
  x.sampler_log_prob = kPlain ? F32(0.0f) : read(span.sampler_log_prob, 0.0f);
  x.ratio_scale = kPlain ? F32(1.0f) : read(span.ratio_scale, 1.0f);
  x.ratio_bias = kPlain ? F32(0.0f) : read(span.ratio_bias, 0.0f);
  return x;
}

// Read once: to the compiler every store to a gradient could change it.
FIRESTEEL_INLINE F32 shared_advantage(const SurrogateSpan& span) {
  return span.advantage_per_token ? F32(0.0f) : F32(*span.advantage);
}

FIRESTEEL_INLINE F64 no_sum() {
  return widen(F32(0.0f));
}
FIRESTEEL_INLINE F64 widen_used(Mask used, F32 x) {
  return widen(select(used, x, F32(0.0f)));
}
FIRESTEEL_INLINE F64 widen_used(Mask used, const LogRatio<F32>& x) {
  return widen_used(used, x.value) + widen_used(used, x.rest);
}

// body.take(reader) over a range of tokens, one vector after the other, and body.flush() after
// every few and at the end: that many terms may be added up in float.
constexpr int kFlush = 4;
template <class Body>
FIRESTEEL_INLINE void for_vectors(int64_t begin, int64_t end, Body& body) {
  int64_t i = begin;
  for (int v = 0; i + F32::lanes <= end; i += F32::lanes, ++v) {
    if (v == kFlush) {
      body.flush();
      v = 0;
    }
    body.take(Reader<true>{i, F32::lanes});
  }
  if (i < end) body.take(Reader<false>{i, static_cast<int>(end - i)});
  body.flush();
}

struct SumUnit {
  const SurrogatePlan& s;
  const SurrogateSpan& span;
  const F32 advantage = shared_advantage(span);
  int64_t trained = 0;
  F64 log_ratio = no_sum(), mismatch = no_sum(), correction = no_sum(), off_policy = no_sum();

  FIRESTEEL_MEMBER void flush() {}
  template <bool kFull>
  FIRESTEEL_MEMBER void take(const Reader<kFull>& read) {
    const Mask used = read.trained(span.mask);
    const TokenSums<F32> sums = token_sums(s, false, read_tokens<false>(s, span, advantage, read));
    trained += count(used);
    if (s.sums_log_ratio) log_ratio = log_ratio + widen_used(used, sums.log_ratio);
    if (s.sums_mismatch) mismatch = mismatch + widen_used(used, sums.mismatch);
    if (s.sums_correction) correction = correction + widen_used(used, sums.correction);
    if (s.sums_off_policy) off_policy = off_policy + widen_used(used, sums.off_policy);
  }
};

SurrogateStatistics statistics(const SurrogatePlan& s, const SurrogateSpan& span) {
  SumUnit sums{s, span};
  for_vectors(0, span.tokens, sums);
  return {static_cast<double>(sums.trained), reduce_add(sums.log_ratio), reduce_add(sums.mismatch),
          reduce_add(sums.correction), reduce_add(sums.off_policy)};
}

struct SumPull {
  const SurrogatePlan& s;
  const SurrogateUnit& unit;
  const SurrogateSpan& span;
  const F32 advantage = shared_advantage(span);
  int64_t faults = 0;
  F64 pull = no_sum();

  FIRESTEEL_MEMBER void flush() {}
  template <bool kFull>
  FIRESTEEL_MEMBER void take(const Reader<kFull>& read) {
    const TokenInput<F32> x = read_tokens<false>(s, span, advantage, read);
    const TokenTerm<F32> t = token_term<false>(s, unit, x);
    const Mask trained = read.trained(span.mask);
    const Mask used =
        t.valid & (abs(own_gradient<false>(s, unit, t, F32(1.0f))) < F32(kLargestPart));
    pull = pull + widen_used(trained & used, t.pull);
    faults += count(trained & !used);
  }
};

SurrogatePull pull(const SurrogatePlan& s, const SurrogateUnit& unit, const SurrogateSpan& span) {
  SumPull sums{s, unit, span};
  for_vectors(0, span.tokens, sums);
  return {reduce_add(sums.pull), sums.faults};
}

// Adds to lanes in memory.
FIRESTEEL_INLINE void add(double* lanes, F64 x) {
  F64 sum;
  __builtin_memcpy(&sum, lanes, sizeof sum);
  sum = sum + x;
  __builtin_memcpy(lanes, &sum, sizeof sum);
}
FIRESTEEL_INLINE void lower(float* lanes, F32 x) {
  store(lanes, min(load(lanes), x));
}
FIRESTEEL_INLINE void raise(float* lanes, F32 x) {
  store(lanes, max(load(lanes), x));
}

// A sum in double of partial sums in float.
struct Total {
  F64 sum = no_sum();
  F32 part = F32(0.0f);

  FIRESTEEL_MEMBER void add(Mask used, F32 x) { part = select(used, part + x, part); }
  FIRESTEEL_MEMBER void flush() {
    sum = sum + widen(part);
    part = F32(0.0f);
  }
};

// The tokens of one unit after the other; what is added up over all of them stays in registers.
template <bool kPlain>
struct TakeTokens {
  const SurrogatePlan& s;
  SurrogateUnit unit{};  // a copy, which no store to memory can change
  const SurrogateSpan& span;
  F32 advantage = F32(0.0f);
  SurrogateCounts counts{};
  Total policy, kl, kl_loss, entropy;  // of the unit
  F64 policy_loss = no_sum(), kl_losses = no_sum(), entropy_loss = no_sum();
  F64 kl_sum = no_sum(), entropy_sum = no_sum();
  Total ratio, log_ratio_squared, mismatch, sampler_difference;
  F32 ratio_min = kInfinity, ratio_max = -kInfinity;
  F32 mismatch_min = kInfinity, mismatch_max = -kInfinity, sampler_difference_max = -kInfinity;

  FIRESTEEL_MEMBER TakeTokens(const SurrogatePlan& plan, const SurrogateSpan& tokens)
      : s(plan), span(tokens) {}

  FIRESTEEL_MEMBER void begin(const SurrogateUnit& next) {
    unit = next;
    advantage = shared_advantage(span);
    counts = {};
    policy = kl = kl_loss = entropy = Total{};
  }

  template <bool kFull>
  FIRESTEEL_MEMBER void take(const Reader<kFull>& read) {
    const F32 zero(0.0f), infinity(kInfinity);
    const TokenInput<F32> x = read_tokens<kPlain>(s, span, advantage, read);
    const Mask trained = read.trained(span.mask);
    const TokenTerm<F32> t = token_term<kPlain>(s, unit, x);
    F32 gradient = own_gradient<kPlain>(s, unit, t, x.ratio_scale);
    if (!kPlain && s.pools && !unit.shaped) {
      gradient = gradient + select(t.moves, F32(unit.share), zero);
    }
    const Mask valid = t.valid & (abs(gradient) < infinity);
    const Mask used = trained & valid;
    read.write(span.d_log_prob, select(used, gradient, zero));
    read.write_if(span.d_entropy, select(used, F32(static_cast<float>(unit.entropy)), zero));

    if (any(trained & !valid)) counts.faults += count(trained & !valid);
    counts.clipped_low += count(used & t.clipped_low);
    counts.clipped_high += count(used & t.clipped_high);
    policy.add(used, t.policy);
    ratio.add(used, t.ratio);
    log_ratio_squared.add(used, t.log_ratio * t.log_ratio);
    ratio_min = select(used, min(ratio_min, t.ratio), ratio_min);
    ratio_max = select(used, max(ratio_max, t.ratio), ratio_max);
    if (s.reference) kl.add(used, t.kl);
    if (s.entropies) entropy.add(used, x.entropy);
    if (kPlain) return;

    if (span.d_ratio_bias != nullptr) {
      // What d_log_prob has got of it.
      const F32 bias = select(t.moves, x.ratio_scale * t.pull, zero);
      const F32 coefficient(static_cast<float>(unit.coefficient));
      read.write(span.d_ratio_bias, select(used, bias * coefficient, zero));
    }
    read.write_if(span.mismatch_weight, select(used, t.mismatch, zero));
    counts.clamped += count(used & t.clamped);
    counts.dropped += count(used & t.dropped);
    if (s.kl_ratio) kl_loss.add(used, t.kl_loss);
    if (s.mismatch != Mismatch::none) {
      counts.mismatch_changed += count(used & t.mismatch_changed);
      mismatch.add(used, t.mismatch);
      mismatch_min = min(mismatch_min, select(used, t.mismatch, infinity));
      mismatch_max = max(mismatch_max, select(used, t.mismatch, -infinity));
    }
    if (s.sampler && s.old) {
      sampler_difference.add(used, t.sampler_difference);
      sampler_difference_max =
          max(sampler_difference_max, select(used, t.sampler_difference, -infinity));
    }
  }

  FIRESTEEL_MEMBER void flush() {
    policy.flush();
    ratio.flush();
    log_ratio_squared.flush();
    if (s.reference) kl.flush();
    if (s.entropies) entropy.flush();
    if (kPlain) return;
    kl_loss.flush();
    mismatch.flush();
    sampler_difference.flush();
  }

  // The unit's losses, with its coefficients.
  FIRESTEEL_MEMBER void end() {
    policy_loss = policy_loss + policy.sum * unit.coefficient;
    if (s.reference) {
      // Where it is a metric only the estimate may be infinite.
      const double beta = static_cast<double>(s.beta) * unit.coefficient;
      const F64 loss = kPlain || !s.kl_ratio ? kl.sum : kl_loss.sum;
      if (beta != 0.0) kl_losses = kl_losses + loss * beta;
      kl_sum = kl_sum + kl.sum;
    }
    if (s.entropies) {
      entropy_loss = entropy_loss + entropy.sum * unit.entropy;
      entropy_sum = entropy_sum + entropy.sum;
    }
  }

  FIRESTEEL_MEMBER void add_to(SurrogateLanes& lanes) const {
    add(lanes.policy_loss, policy_loss);
    if (s.reference) {
      add(lanes.kl_loss, kl_losses);
      add(lanes.kl, kl_sum);
    }
    if (s.entropies) {
      add(lanes.entropy_loss, entropy_loss);
      add(lanes.entropy, entropy_sum);
    }
    if (!kPlain && unit.shaped) return;
    add(lanes.ratio, ratio.sum);
    add(lanes.log_ratio_squared, log_ratio_squared.sum);
    lower(lanes.ratio_min, ratio_min);
    raise(lanes.ratio_max, ratio_max);
    if (kPlain) return;
    if (s.mismatch != Mismatch::none) {
      add(lanes.mismatch, mismatch.sum);
      lower(lanes.mismatch_min, mismatch_min);
      raise(lanes.mismatch_max, mismatch_max);
    }
    if (!s.sampler || !s.old) return;
    add(lanes.sampler_difference, sampler_difference.sum);
    raise(lanes.sampler_difference_max, sampler_difference_max);
  }
};

FIRESTEEL_INLINE SurrogateCounts take_unit(const SurrogatePlan& s, const SurrogateUnit& unit,
                                           const SurrogateSpan& span, SurrogateLanes& lanes) {
  TakeTokens<false> tokens(s, span);
  tokens.begin(unit);
  for_vectors(0, span.tokens, tokens);
  tokens.end();
  tokens.add_to(lanes);
  return tokens.counts;
}

SurrogateCounts take(const SurrogatePlan& s, const SurrogateUnit& unit, const SurrogateSpan& span,
                     SurrogateLanes& lanes) {
  return take_unit(s, unit, span, lanes);
}

// What a plan that pulls alike does not have, as constants of the loop.
SurrogateCounts take_alike(const SurrogatePlan& plan, const SurrogateUnit& of,
                           const SurrogateSpan& tokens, SurrogateLanes& lanes) {
  SurrogatePlan s = plan;
  s.level = RatioLevel::sequence;  // shared: which of the levels shows in `pools` alone
  s.mismatch = Mismatch::none;
  s.reference = s.sampler = s.weighted = s.normalised = s.entropies = s.kl_ratio = false;
  s.old = true;
  s.log_ratio_low = -kInfinity;
  s.log_ratio_high = kInfinity;
  SurrogateUnit unit = of;
  unit.shaped = unit.off_policy = false;
  SurrogateSpan span = tokens;
  span.ref_log_prob = span.sampler_log_prob = span.weight = span.entropy = nullptr;
  span.ratio_scale = span.ratio_bias = nullptr;
  span.d_entropy = span.d_ratio_bias = span.mismatch_weight = nullptr;
  span.advantage_per_token = span.limits_per_token = false;
  if (s.form != SurrogateForm::clip) return take_unit(s, unit, span, lanes);
  s.form = SurrogateForm::clip;
  return take_unit(s, unit, span, lanes);
}

// Inputs beside log-probs, mask and an advantage a row, as constants of the loop: any, none, or
// those of a reference alone.
enum class Extras { any, none, reference };

// The form and what the plain form of token_term takes for granted are constants of the loop.
template <SurrogateForm kForm, Extras kExtras>
void take_plain(const SurrogatePlan& plan, const SurrogateSpan& batch, const int32_t* row_offsets,
                int64_t rows, SurrogateRow* row, SurrogateLanes& lanes) {
  SurrogatePlan s = plan;
  s.form = kForm;
  s.level = RatioLevel::token;
  s.normalised = s.pools = s.shares_ratio = false;
  SurrogateSpan span = batch;
  if (kExtras != Extras::any) {
    s.reference = kExtras == Extras::reference;
    s.weighted = s.entropies = span.advantage_per_token = false;
    s.delta = s.dual_clip = kInfinity;
    span.weight = span.entropy = nullptr;
    span.d_entropy = nullptr;
    if (!s.reference) span.ref_log_prob = nullptr;
  }
  TakeTokens<true> tokens(s, span);
  SurrogateUnit unit{};
  for (int64_t r = 0; r < rows; ++r) {
    unit.coefficient = row[r].coefficient;
    unit.entropy = row[r].entropy;
    if (!span.advantage_per_token) span.advantage = batch.advantage + r;
    tokens.begin(unit);
    for_vectors(row_offsets[r], row_offsets[r + 1], tokens);
    tokens.end();
    // One by one: a copy in vectors would wait for stores of single counts.
    SurrogateCounts& counts = row[r].counts;
    counts.faults = tokens.counts.faults;
    counts.clipped_low = tokens.counts.clipped_low;
    counts.clipped_high = tokens.counts.clipped_high;
    counts.clamped = counts.mismatch_changed = counts.dropped = 0;
  }
  tokens.add_to(lanes);
}

template <SurrogateForm kForm>
void take_rows(const SurrogatePlan& s, const SurrogateSpan& span, const int32_t* row_offsets,
               int64_t rows, SurrogateRow* row, SurrogateLanes& lanes) {
  const bool any = s.weighted || s.entropies || span.d_entropy != nullptr ||
                   span.advantage_per_token || s.delta < kInfinity || s.dual_clip < kInfinity;
  const auto take = any           ? take_plain<kForm, Extras::any>
                    : s.reference ? take_plain<kForm, Extras::reference>
                                  : take_plain<kForm, Extras::none>;
  take(s, span, row_offsets, rows, row, lanes);
}

}  // namespace

extern const SurrogateTable surrogate_table;
const SurrogateTable surrogate_table = {
    trained_tokens,
    statistics,
    pull,
    take,
    take_alike,
    {take_rows<SurrogateForm::clip>, take_rows<SurrogateForm::unclipped>, nullptr,
     take_rows<SurrogateForm::cispo>, take_rows<SurrogateForm::sapo>, nullptr,
     take_rows<SurrogateForm::dppo_tv>, nullptr}};

}  // namespace FIRESTEEL_ISA
}  // namespace firesteel
