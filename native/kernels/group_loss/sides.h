// The rows of a group: who takes part, on which side, and what a side adds up to. Once for both
// backends, in double, over a Team, which has
//   each(begin, end, body)   body(i) for every i, divided among its threads
//   sum(x), max(x), any(x)   of what all its threads hold, the same bits in all of them
//   leads()                  true in one of its threads
//   fault(row)               records it
#pragma once
#include <math.h>

#include "kernels/group_loss/group_loss.h"
#include "runtime/team.h"

namespace firesteel {

FIRESTEEL_TEAM inline bool is_finite(double x) {
  return x - x == 0.0;
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

}  // namespace firesteel
