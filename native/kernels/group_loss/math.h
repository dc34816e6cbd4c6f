// The losses of a group and their gradients, once for both backends: over a Team (sides.h), in
// double. A new kind is a Solution and its slope_at.
#pragma once
#include "kernels/group_loss/sides.h"

namespace firesteel {

// log(1 + exp(x))
FIRESTEEL_TEAM inline double softplus(double x) {
  return (x > 0.0 ? x : 0.0) + ::log1p(::exp(x > 0.0 ? -x : x));
}

FIRESTEEL_TEAM inline double sigmoid(double x) {
  const double e = ::exp(x > 0.0 ? -x : x);
  return (x > 0.0 ? 1.0 : e) / (1.0 + e);
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
