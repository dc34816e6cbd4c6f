// The mathematics of a group, once for both backends: in double, over a Team, which is one thread
// on the CPU and a block on the card. A team has
//   each(begin, end, body)   body(i) for every i, divided among its threads
//   sum(x), max(x), any(x)   of what all its threads hold, the same bits in all of them
//   leads()                  true in one of its threads
//   fault(row)               records it
// Every thread takes the same way through the code.
#pragma once
#include <math.h>

#include "kernels/group_loss/group_loss.h"

#ifdef __CUDACC__
#define FIRESTEEL_TEAM __device__
#else
#define FIRESTEEL_TEAM
#endif

namespace firesteel {

FIRESTEEL_TEAM inline bool is_finite(double x) {
  return x - x == 0.0;
}

// log(1 + exp(x))
FIRESTEEL_TEAM inline double softplus(double x) {
  return (x > 0.0 ? x : 0.0) + ::log1p(::exp(x > 0.0 ? -x : x));
}

FIRESTEEL_TEAM inline double sigmoid(double x) {
  const double e = ::exp(x > 0.0 ? -x : x);
  return (x > 0.0 ? 1.0 : e) / (1.0 + e);
}

FIRESTEEL_TEAM inline double score_at(const GroupLossArgs& a, int64_t row) {
  return a.score_type == DType::f32 ? static_cast<double>(static_cast<const float*>(a.score)[row])
                                    : static_cast<const double*>(a.score)[row];
}

// What tells the sides of a group apart; 0 where the kind does that by position.
FIRESTEEL_TEAM inline double target_at(const GroupLossArgs& a, int64_t row) {
  if (a.advantage != nullptr) return static_cast<double>(a.advantage[row]);
  if (a.reward == nullptr) return 0.0;
  return a.reward_type == DType::u8
             ? static_cast<double>(static_cast<const uint8_t*>(a.reward)[row])
             : static_cast<double>(static_cast<const float*>(a.reward)[row]);
}

FIRESTEEL_TEAM inline bool is_pair(GroupLossKind kind) {
  return kind == GroupLossKind::dpo || kind == GroupLossKind::ipo;
}

// Kinds that know rewards 1 and 0 only: contrasts of positives against negatives.
FIRESTEEL_TEAM inline bool is_contrast(GroupLossKind kind) {
  return kind == GroupLossKind::real || kind == GroupLossKind::real_product ||
         kind == GroupLossKind::drpo || kind == GroupLossKind::disco;
}

enum class Part { none, ignored, wrong, member };

FIRESTEEL_TEAM inline Part part_of(const GroupLossArgs& a, int64_t row) {
  if (a.valid != nullptr && a.valid[row] == 0) return Part::none;
  const double target = target_at(a, row);
  if (!is_finite(target)) return Part::wrong;
  if (is_contrast(a.kind) && target != 0.0 && target != 1.0) return Part::ignored;
  return is_finite(score_at(a, row)) ? Part::member : Part::wrong;
}

// First look: who takes part, and the range of the targets.
struct Survey {
  int64_t begin, end;
  int64_t present;  // members and wrong ones
  int64_t ignored;
  bool wrong;
  double low, high;  // of the targets of those present
};

template <class Team>
FIRESTEEL_TEAM inline Survey survey(const GroupLossArgs& a, int64_t group, const Team& team) {
  Survey s = {a.group_offsets[group], a.group_offsets[group + 1], 0, 0, false, INFINITY, -INFINITY};
  team.each(s.begin, s.end, [&](int64_t row) {
    const Part part = part_of(a, row);
    if (part == Part::ignored) ++s.ignored;
    if (part == Part::none || part == Part::ignored) return;
    const double target = target_at(a, row);
    ++s.present;
    if (target < s.low) s.low = target;
    if (target > s.high) s.high = target;
    if (part == Part::wrong) {
      s.wrong = true;
      team.fault(row);
    }
  });
  s.present = team.sum(s.present);
  s.ignored = team.sum(s.ignored);
  s.wrong = team.any(s.wrong);
  s.low = -team.max(-s.low);
  s.high = team.max(s.high);
  return s;
}

// > 0 positive, < 0 negative, 0 neither.
FIRESTEEL_TEAM inline int side_of(const GroupLossArgs& a, const Survey& s, int64_t row) {
  if (is_pair(a.kind)) return row == s.begin ? 1 : -1;
  const double target = target_at(a, row);
  if (a.kind == GroupLossKind::reg_grpo) return (target > 0.0) - (target < 0.0);
  return target == (a.kind == GroupLossKind::real_bce ? s.high : 1.0) ? 1 : -1;
}

// The row's logit, high where it is on the wrong side of 0; of drpo's positives, that of its
// weight.
FIRESTEEL_TEAM inline double exponent(const GroupLossArgs& a, int64_t row, int side) {
  if (side > 0 && a.kind == GroupLossKind::drpo) {
    return (1.0 - static_cast<double>(a.length[row]) / a.max_length) / a.lambda;
  }
  if (side > 0 && a.kind == GroupLossKind::disco) return 0.0;
  const double z = score_at(a, row) / a.tau;
  return side > 0 ? -z : z;
}

// What the rows of one side add up to.
struct Side {
  int64_t rows;
  double score;     // sum
  double max;       // of the exponents, for contrasts
  double total;     // sum of exp(exponent - max)
  double weighted;  // sum of exp(exponent - max) * score
};

template <class Team>
FIRESTEEL_TEAM inline Side side_sums(const GroupLossArgs& a, const Survey& s, int side,
                                     const Team& team) {
  Side sums = {0, 0.0, -INFINITY, 0.0, 0.0};
  const bool contrast = is_contrast(a.kind);
  team.each(s.begin, s.end, [&](int64_t row) {
    if (part_of(a, row) != Part::member || side_of(a, s, row) != side) return;
    ++sums.rows;
    sums.score += score_at(a, row);
    if (contrast) sums.max = ::fmax(sums.max, exponent(a, row, side));
  });
  sums.rows = team.sum(sums.rows);
  sums.score = team.sum(sums.score);
  sums.max = team.max(sums.max);
  return sums;
}

template <class Team>
FIRESTEEL_TEAM inline void add_exponentials(const GroupLossArgs& a, const Survey& s, int side,
                                            const Team& team, Side& sums) {
  team.each(s.begin, s.end, [&](int64_t row) {
    if (part_of(a, row) != Part::member || side_of(a, s, row) != side) return;
    const double e = ::exp(exponent(a, row, side) - sums.max);
    sums.total += e;
    sums.weighted += e * score_at(a, row);
  });
  sums.total = team.sum(sums.total);
  sums.weighted = team.sum(sums.weighted);
}

// A group's loss, and what d loss / d score of a row is made of (slope_at).
struct Solution {
  double loss;
  double positive, negative;          // factor of each side's soft-max; of pairs, the slope itself
  double positive_max, negative_max;  // of the exponents
  double mean, inverse_scale, mean_error, pull;  // reg_grpo
};

FIRESTEEL_TEAM inline bool is_finite(const Solution& x) {
  return is_finite(x.loss) && is_finite(x.positive) && is_finite(x.negative) &&
         is_finite(x.inverse_scale) && is_finite(x.pull);
}

// log(sum exp(exponent)) of a side; with an anchor, of these and of a logit of 0.
struct LogSum {
  double value;
  double weight;  // exp(exponent - max) times this is the soft-max
};
FIRESTEEL_TEAM inline LogSum log_sum(const Side& side, bool anchored) {
  if (!anchored) return {side.max + ::log(side.total), 1.0 / side.total};
  const double total = side.total + ::exp(-side.max);
  return {side.max == 0.0 ? ::log1p(side.total) : side.max + ::log(total), 1.0 / total};
}

// REAL (arXiv 2602.05630), whose "1 +" inside each log is an anchor, and DRPO (arXiv 2510.04474).
template <class Team>
FIRESTEEL_TEAM inline Solution contrast(const GroupLossArgs& a, const Survey& s, Side positive,
                                        Side negative, const Team& team) {
  const bool anchored = a.kind == GroupLossKind::real;
  if (anchored) {
    positive.max = ::fmax(positive.max, 0.0);
    negative.max = ::fmax(negative.max, 0.0);
  }
  add_exponentials(a, s, 1, team, positive);
  add_exponentials(a, s, -1, team, negative);
  const LogSum above = log_sum(positive, anchored), below = log_sum(negative, anchored);
  Solution x = {};
  x.positive_max = positive.max;
  x.negative_max = negative.max;
  double slope = 1.0;  // of the loss, along both soft-maxes
  if (a.kind == GroupLossKind::real) {
    x.loss = above.value + below.value;
    slope = 1.0 / a.tau;
  } else if (a.kind == GroupLossKind::real_product) {
    x.loss = softplus(above.value + below.value);
    slope = sigmoid(above.value + below.value) / a.tau;
  } else {
    const double log_mean = below.value - ::log(static_cast<double>(negative.rows));
    x.loss = a.tau * log_mean - positive.weighted * above.weight;
  }
  x.positive = -slope * above.weight;
  x.negative = slope * below.weight;
  return x;
}

// Cross-entropy of sigmoid(score / tau) with the side as label (REAL's code, bce).
template <class Team>
FIRESTEEL_TEAM inline Solution classify(const GroupLossArgs& a, const Survey& s, const Team& team) {
  Solution x = {};
  team.each(s.begin, s.end, [&](int64_t row) {
    if (part_of(a, row) == Part::member) x.loss += softplus(exponent(a, row, side_of(a, s, row)));
  });
  x.loss = team.sum(x.loss);
  return x;
}

// Advantages predicted from the scores, regressed on the given ones (Reg-GRPO, arXiv 2506.07464).
// Equal scores predict exactly 0. The gradient passes through mean and std:
//   (e_i - mean e) / (std + eps) - (c_i / std) sum(e p) / ((n - ddof) (std + eps)),
// with c = score - mean, p = c / (std + eps) and e = 2 (p - advantage) / n.
template <class Team>
FIRESTEEL_TEAM inline Solution regress(const GroupLossArgs& a, const Survey& s, const Team& team) {
  const auto each_member = [&](auto body) {
    team.each(s.begin, s.end, [&](int64_t row) {
      if (part_of(a, row) == Part::member) body(row, score_at(a, row));
    });
  };
  const double n = static_cast<double>(s.present);
  double low = INFINITY, high = -INFINITY, sum = 0.0, squares = 0.0;
  each_member([&](int64_t, double score) {
    low = ::fmin(low, score);
    high = ::fmax(high, score);
    sum += score;
  });
  low = -team.max(-low);
  high = team.max(high);
  sum = team.sum(sum);
  Solution x = {};
  x.mean = low == high ? low : sum / n;
  each_member([&](int64_t, double score) { squares += (score - x.mean) * (score - x.mean); });
  squares = team.sum(squares);
  const double freedom = n - static_cast<double>(a.ddof);
  const double std = low == high ? 0.0 : ::sqrt(squares / freedom);
  // With nothing to divide by there is no derivative, and the gradient is 0.
  x.inverse_scale = std + a.eps > 0.0 ? 1.0 / (std + a.eps) : 0.0;

  double errors = 0.0, moment = 0.0;
  each_member([&](int64_t row, double score) {
    const double predicted = (score - x.mean) * x.inverse_scale;
    const double error = predicted - target_at(a, row);
    x.loss += error * error / n;
    errors += 2.0 * error / n;
    moment += 2.0 * error / n * predicted;
  });
  x.loss = is_finite(std) ? team.sum(x.loss) : std;  // squares that overflow predict nothing
  x.mean_error = team.sum(errors) / n;
  moment = team.sum(moment);
  x.pull = std > 0.0 ? moment * x.inverse_scale / (freedom * std) : 0.0;
  return x;
}

// DPO (arXiv 2305.18290) with label smoothing as in TRL, IPO (arXiv 2310.12036).
FIRESTEEL_TEAM inline Solution prefer(const GroupLossArgs& a, const Survey& s) {
  const double h = score_at(a, s.begin) - score_at(a, s.begin + 1);
  Solution x = {};
  if (a.kind == GroupLossKind::ipo) {
    const double off = h - 0.5 / a.beta;
    x.loss = off * off;
    x.positive = 2.0 * off;
  } else {
    // (1 - e) softplus(-z) + e softplus(z), because softplus(z) = softplus(-z) + z.
    const double z = a.beta * h;
    x.loss = softplus(-z) + a.label_smoothing * z;
    x.positive = a.beta * (a.label_smoothing - sigmoid(-z));
  }
  x.negative = -x.positive;
  return x;
}

// d L / d score of a member.
FIRESTEEL_TEAM inline double slope_at(const GroupLossArgs& a, const Survey& s, const Solution& x,
                                      int64_t row) {
  const int side = side_of(a, s, row);
  if (is_contrast(a.kind)) {
    return (side > 0 ? x.positive : x.negative) *
           ::exp(exponent(a, row, side) - (side > 0 ? x.positive_max : x.negative_max));
  }
  if (is_pair(a.kind)) return side > 0 ? x.positive : x.negative;
  if (a.kind == GroupLossKind::real_bce) {
    const double slope = sigmoid(exponent(a, row, side)) / a.tau;
    return side > 0 ? -slope : slope;
  }
  const double c = score_at(a, row) - x.mean;
  const double error =
      2.0 * (c * x.inverse_scale - target_at(a, row)) / static_cast<double>(s.present);
  return (error - x.mean_error) * x.inverse_scale - x.pull * c;
}

// What a group adds to the loss, before the division, and to the metrics.
struct GroupTerm {
  double loss;
  double metrics[kGroupLossMetricCount];
};

// The group's share of the counted denominator. Faults do not change it.
FIRESTEEL_TEAM inline double count_of(const GroupLossArgs& a, const Survey& s) {
  if (is_contrast(a.kind)) return 1.0;
  if (is_pair(a.kind)) return s.present == 2 ? 1.0 : 0.0;
  if (a.kind == GroupLossKind::real_bce) {
    return s.low < s.high ? static_cast<double>(s.present) : 0.0;
  }
  return s.present == 0 || (a.skip_constant && !(s.low < s.high)) ? 0.0 : 1.0;
}

FIRESTEEL_TEAM inline double denominator_of(const GroupLossArgs& a, double counted) {
  return a.denominator != 0.0 ? a.denominator : counted > 1.0 ? counted : 1.0;
}

// Writes d_score of the group's rows, before the division.
template <class Team>
FIRESTEEL_TEAM inline GroupTerm group_term(const GroupLossArgs& a, int64_t group,
                                           const Team& team) {
  const Survey s = survey(a, group, team);
  const Side positive = side_sums(a, s, 1, team), negative = side_sums(a, s, -1, team);
  const bool both = positive.rows > 0 && negative.rows > 0;
  const double count = count_of(a, s);
  const bool skipped = !s.wrong && (count == 0.0 || (is_contrast(a.kind) && !both));

  Solution x = {};
  if (!s.wrong && !skipped) {
    if (is_contrast(a.kind)) {
      x = contrast(a, s, positive, negative, team);
    } else if (is_pair(a.kind)) {
      x = prefer(a, s);
    } else if (a.kind == GroupLossKind::real_bce) {
      x = classify(a, s, team);
    } else {
      x = regress(a, s, team);
    }
  }
  const bool overflown = !is_finite(x);
  if (overflown && team.leads()) team.fault(s.begin);
  const bool used = !s.wrong && !skipped && !overflown;
  team.each(s.begin, s.end, [&](int64_t row) {
    const bool moves = used && part_of(a, row) == Part::member;
    a.d_score[row] = moves ? slope_at(a, s, x, row) : 0.0;
  });

  GroupTerm term = {};
  term.metrics[kGroupCount] = count;
  term.metrics[kGroupsUsed] = used ? 1.0 : 0.0;
  term.metrics[kGroupsSkipped] = skipped ? 1.0 : 0.0;
  term.metrics[kGroupsFaulty] = !used && !skipped ? 1.0 : 0.0;
  term.metrics[kIgnoredRows] = static_cast<double>(s.ignored);
  if (!used) return term;
  const double positives = static_cast<double>(positive.rows);
  const double negatives = static_cast<double>(negative.rows);
  term.loss = x.loss;
  term.metrics[kPositiveRows] = positives;
  term.metrics[kNegativeRows] = negatives;
  term.metrics[kPositiveScoreSum] = positive.score;
  term.metrics[kNegativeScoreSum] = negative.score;
  const bool ordered = both && positive.score / positives > negative.score / negatives;
  term.metrics[kGroupsOrdered] = ordered ? 1.0 : 0.0;
  return term;
}

}  // namespace firesteel
