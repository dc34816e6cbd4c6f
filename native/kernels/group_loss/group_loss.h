// group_loss: objectives that couple the rows of a group or of a pair. Scores per row in, d score
// per row out; row_score pools scores from tokens before and spreads the gradient over them after.
//
//   loss = sum over groups of L(group) / denominator,  d_score = d loss / d score
//
// L by kind is in src/engine/kernels/groupLossTable.ts and, as code, in math.h. A group is the rows
// group_offsets[g] .. group_offsets[g + 1]. Rows that are not valid are selected away: whatever
// stands there changes nothing and their gradient is exactly 0. The same holds for rows whose
// reward is neither 1 nor 0, in the kinds that part rows by these (real, real_product, drpo,
// disco).
//
// A group is skipped (loss 0, gradient 0) where its kind has nothing to compare: no positive or no
// negative row, equal rewards (real_bce), no row (reg_grpo), a row that is not valid (dpo, ipo). A
// score, reward or advantage that is not finite is a fault of its row, and a loss or gradient that
// is not finite one of the group's first row: the group contributes nothing and gets gradient 0,
// other groups are untouched. The denominator still counts it.
//
// Accuracy: float64 throughout, |error| <= 1e-12 of the sum of absolute terms, times 1 + the
// largest |score| / tau, beta |score| or |score| / std: what a rounding of a score is magnified by.
// A group's d_score before the division depends on its own rows alone.
#pragma once
#include "kernels/group_loss/kinds.h"
#include "runtime/dtype.h"
#include "runtime/fault.h"
#include "runtime/status.h"

namespace firesteel {

class Context;

// Sums over groups, so that those of micro-batches add up; src/engine/kernels/groupLoss.ts names
// them. Positive and negative rows are those of the groups used; for dpo and ipo the chosen and the
// rejected ones, for reg_grpo those with advantage above and below 0.
enum GroupLossMetric : int {
  kGroupCount = 0,  // what the loss is divided by where no denominator is given
  kGroupsUsed,
  kGroupsSkipped,
  kGroupsFaulty,
  kGroupsOrdered,  // used, and the positives' mean score is above the negatives'
  kPositiveRows,
  kNegativeRows,
  kPositiveScoreSum,
  kNegativeScoreSum,
  kIgnoredRows,  // valid rows whose reward is neither 1 nor 0
  kGroupLossMetricCount,
};

struct GroupLossArgs {
  int64_t rows, groups;
  GroupLossKind kind;
  const int32_t* group_offsets;  // [G + 1], ascending, from 0 to R; for dpo and ipo in steps of 2
  const void* score;             // [R] f64 or f32
  DType score_type;              //
  const uint8_t* valid;          // [R] or null
  const void* reward;            // [R] f32 or u8: real*, drpo, disco; else null
  DType reward_type;             //
  const int32_t* length;         // [R]: drpo; else null
  const float* advantage;        // [R]: reg_grpo; else null
  double tau;                    // > 0: real*, drpo, disco
  double lambda, max_length;     // > 0: drpo
  double eps;                    // >= 0: reg_grpo, beside the std
  int32_t ddof;                  // 0 or 1: reg_grpo
  bool skip_constant;            // reg_grpo: skip groups whose advantages are all equal
  double beta;                   // > 0: dpo, ipo
  double label_smoothing;        // in [0, 0.5): dpo
  double denominator;            // 0: counted (kGroupCount, at least 1)
  double* loss;                  // [1] out
  double* d_score;               // [R] out
  double* group_loss;            // [G] out: L, before the division
  double* metrics;               // [kGroupLossMetricCount] out
  void* workspace;               // group_loss_workspace bytes
  FaultWord* faults;
};
int64_t group_loss_workspace(int64_t groups);
Status group_loss(Context&, const GroupLossArgs&);

}  // namespace firesteel
