// One row of a divergence over the teacher's k tokens, in double, for a team that is one CPU thread
// or one CUDA block.
//
// The outcomes are those tokens and, by support, what lies outside of them. With g the derivative
// of the divergence by an outcome's P, every kind's gradient is
//
//   d / d z_v = p_v (g of v's outcome - sum over outcomes of P g)
//
// up to a constant in g, which drops out. P g is called the pull of an outcome.
#pragma once
#include "kernels/divergence/row.h"
#include "runtime/team.h"

namespace firesteel {

constexpr double kNoMass = -__builtin_inf();  // the logarithm of 0

struct OutcomeTerms {
  double divergence, pull;
};

FIRESTEEL_HD inline OutcomeTerms forward_terms(double log_p, double log_q) {
  const double q = ::exp(log_q);
  return {q > 0.0 ? q * (log_q - log_p) : 0.0, -q};
}
FIRESTEEL_HD inline OutcomeTerms reverse_terms(double log_p, double log_q) {
  const double p = ::exp(log_p);
  const double term = p > 0.0 ? p * (log_p - log_q) : 0.0;
  return {term, term};
}
FIRESTEEL_HD inline OutcomeTerms jsd_terms(double weight, double log_p, double log_q) {
  const double p = ::exp(log_p), q = ::exp(log_q), rest = 1.0 - weight;
  const double log_m = ::log(weight * q + rest * p);
  const double teacher = q > 0.0 ? weight * q * (log_q - log_m) : 0.0;
  const double student = p > 0.0 ? rest * p * (log_p - log_m) : 0.0;
  return {teacher + student, student};
}
// A KL of weight 0 is left out, even where it is infinite.
FIRESTEEL_HD inline OutcomeTerms outcome_terms(const DivergenceRule& rule, double log_p,
                                               double log_q) {
  const double weight = rule.weight;
  switch (rule.kind) {
    case DivergenceKind::forward:
      return forward_terms(log_p, log_q);
    case DivergenceKind::reverse:
      return reverse_terms(log_p, log_q);
    case DivergenceKind::jsd:
      return jsd_terms(weight, log_p, log_q);
    case DivergenceKind::mixed:
      break;
  }
  OutcomeTerms sum{0.0, 0.0};
  if (weight > 0.0) {
    const OutcomeTerms terms = forward_terms(log_p, log_q);
    sum = {weight * terms.divergence, weight * terms.pull};
  }
  if (weight < 1.0) {
    const OutcomeTerms terms = reverse_terms(log_p, log_q);
    sum.divergence += (1.0 - weight) * terms.divergence;
    sum.pull += (1.0 - weight) * terms.pull;
  }
  return sum;
}
FIRESTEEL_HD inline double reverse_share(const DivergenceRule& rule) {
  return rule.kind == DivergenceKind::reverse ? 1.0
         : rule.kind == DivergenceKind::mixed ? 1.0 - rule.weight
                                              : 0.0;
}

FIRESTEEL_HD inline bool needs_vocabulary(DivergenceSupport support) {
  return support != DivergenceSupport::renormalized;
}
FIRESTEEL_HD inline bool has_log_probs(DivergenceSupport support) {
  return support == DivergenceSupport::tail || support == DivergenceSupport::truncated;
}

// A row, and of its tokens outside of the k the student's sums of 2^t and of t 2^t, t = log2(e)
// times their distance from student_max (ExponentSums of table.h).
struct TopKRow {
  int64_t top_k;
  double inverse_temperature, inverse_teacher_temperature;
  double student_max;                    // over the vocabulary; found here where that is not read
  double outside_sum, outside_weighted;  // 0 where that is not read
};

struct TopKResult {
  double divergence;
  float student_max, log2_sum, base, slope;  // of DivergenceArgs::stats
  int fault;                                 // a Fault, or -1
};

// What lies outside of the k tokens; g there is base + slope log p_v.
struct OutsideTerms {
  double divergence, pull, base, slope;
};
FIRESTEEL_HD inline OutsideTerms outside_terms(const DivergenceRule& rule, const TopKRow& row,
                                               double total, double teacher_sum) {
  const double mass = row.outside_sum / total;
  if (rule.support == DivergenceSupport::tail) {
    const double rest = 1.0 - teacher_sum;
    const double p = mass > kLeastTail ? mass : kLeastTail;
    const double q = rest > kLeastTail ? rest : kLeastTail;
    const OutcomeTerms terms = outcome_terms(rule, ::log(p), ::log(q));
    if (mass > kLeastTail) return {terms.divergence, terms.pull, terms.pull / p, 0.0};
    return {terms.divergence, 0.0, 0.0, 0.0};  // p does not move
  }
  const double share = reverse_share(rule);
  if (rule.support != DivergenceSupport::floor || share == 0.0) return {0.0, 0.0, 0.0, 0.0};
  // sum p (log p - floor), where log2 p = t - log2 of the total
  const double sum_log_p = row.outside_weighted / total * kLn2 - mass * ::log(total);
  const double term = share * (sum_log_p - rule.log_floor * mass);
  return {term, term, -share * rule.log_floor, share};
}

// The largest of value(0 .. count - 1), 0 where that is -inf. NaN is passed over.
template <class Team, class Value>
FIRESTEEL_TEAM inline double max_of(const Team& team, int64_t count, const Value& value) {
  double top = kNoMass;
  team.each(count, [&](int64_t j) { top = value(j) > top ? value(j) : top; });
  top = team.max(top);
  return top == kNoMass ? 0.0 : top;
}

// Team: each(count, body) spreads a loop; sum and max make one number of what its members have.
// Logits: student(j) and teacher(j), widened. slopes [K] out, unless there is a fault.
template <class Team, class Logits>
FIRESTEEL_TEAM inline TopKResult top_k_row(const Team& team, const DivergenceRule& rule,
                                           const TopKRow& row, const Logits& logits,
                                           float* slopes) {
  const bool given = has_log_probs(rule.support), whole = needs_vocabulary(rule.support);
  const auto student_logit = [&](int64_t j) { return logits.student(j); };
  const auto teacher_logit = [&](int64_t j) { return logits.teacher(j); };
  const double student_max = whole ? row.student_max : max_of(team, row.top_k, student_logit);
  const double teacher_max = given ? 0.0 : max_of(team, row.top_k, teacher_logit);
  const auto student_at = [&](int64_t j) {
    return (logits.student(j) - student_max) * row.inverse_temperature;
  };
  const auto teacher_at = [&](int64_t j) {
    return (logits.teacher(j) - teacher_max) * row.inverse_teacher_temperature;
  };
  double student_sum = 0.0, teacher_sum = 0.0;
  team.each(row.top_k, [&](int64_t j) {
    student_sum += ::exp(student_at(j));
    teacher_sum += ::exp(teacher_at(j));
  });
  student_sum = team.sum(student_sum);
  teacher_sum = team.sum(teacher_sum);
  TopKResult result{0.0, static_cast<float>(student_max), 0.0f, 0.0f, 0.0f, -1};
  // A NaN is in its sum, +inf makes one as a maximum and an infinite one as a log-prob.
  if (!(teacher_sum < __builtin_inf() && student_sum < __builtin_inf())) {
    result.fault = static_cast<int>(Fault::not_a_number);
    return result;
  }
  const double total = student_sum + row.outside_sum;
  if (!(total > 0.0 && teacher_sum > 0.0)) {
    result.fault = static_cast<int>(Fault::no_support);
    return result;
  }

  const double log_total = ::log(total), log_teacher = given ? 0.0 : ::log(teacher_sum);
  double divergence = 0.0, pull = 0.0;
  team.each(row.top_k, [&](int64_t j) {
    const OutcomeTerms terms =
        outcome_terms(rule, student_at(j) - log_total, teacher_at(j) - log_teacher);
    divergence += terms.divergence;
    pull += terms.pull;
  });
  divergence = team.sum(divergence);
  pull = team.sum(pull);

  const OutsideTerms outside = outside_terms(rule, row, total, teacher_sum);
  divergence += outside.divergence;
  pull += outside.pull;
  const bool flat = rule.non_negative && divergence < 0.0;
  if (flat) divergence = 0.0;
  team.each(row.top_k, [&](int64_t j) {
    const double log_p = student_at(j) - log_total;
    const double own = outcome_terms(rule, log_p, teacher_at(j) - log_teacher).pull;
    slopes[j] = flat ? 0.0f : static_cast<float>(own - ::exp(log_p) * pull);
  });
  result.divergence = divergence;
  result.log2_sum = static_cast<float>(log_total * kLog2e);
  if (whole && !flat) {
    result.base = static_cast<float>(outside.base - pull);
    result.slope = static_cast<float>(outside.slope * kLn2);
  }
  if (!(divergence < __builtin_inf())) result.fault = static_cast<int>(Fault::no_support);
  return result;
}

}  // namespace firesteel
