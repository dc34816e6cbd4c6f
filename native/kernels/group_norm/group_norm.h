// group_norm: advantages of values relative to their group, each column by itself.
//
//   advantage[i][k] = (value[i][k] - centre) / divisor,   divisor = scale + eps (or as
//   eps_placement)
//
// Groups are given as CSR: group g holds the rows index[group_offsets[g] .. group_offsets[g + 1]).
// The centre is the group's; the scale is the group's, the batch's (of all valid values of the
// column as they are, not as centred), or a blend of both. What each choice means:
// src/engine/kernels/groupNormTable.ts.
//
// Exactly 0 where all valid values of a group are equal, whatever centre, scale and scope are.
// Invalid values (valid 0) leave the statistics and get 0. A value alone in its group gets 0, or by
// Singleton::value what a centre of 0 and a scale of 1 make of it. A scale of 0 with unequal values
// (median deviation, the std of a value's others) divides by what zero_scale and eps say; where
// that is 0 too, the advantage is 0. Scale::none divides by 1, without eps.
//
// A valid value that is not finite is a fault of its row: it makes its own group's column NaN,
// leaves the batch's scale, and spreads no further. So does an EMA that is not finite, as a fault
// of the group's first row.
//
// Two-pass statistics in float64. A group's result depends on its own values (and, where it is
// asked for, on the batch's scale) in their order: not on other groups or columns, on threads, or
// on where its rows stand. Accuracy: the float64 formula rounded once to float.
#pragma once
#include <stdint.h>

#include "kernels/group_norm/choices.h"
#include "runtime/fault.h"
#include "runtime/status.h"

namespace firesteel {

class Context;

// How values become advantages.
struct GroupNormRule {
  Center center;
  Scale scale;
  Scope scope;
  EpsPlacement eps_placement;
  ZeroScale zero_scale;
  Singleton singleton;
  int32_t ddof;        // 0 or 1, for the two stds
  double eps;          // >= 0
  double scope_blend;  // the batch's share in Scope::blend
  double ema_blend;    // the EMA's share in Center::ema
};

struct GroupNormArgs {
  GroupNormRule rule;
  const float* values;           // [R, K]
  const uint8_t* valid;          // [R], or [R, K] if valid_per_column, or null
  const int32_t* group_offsets;  // [G + 1], ascending, from 0 to R
  const int32_t* index;  // [R] a permutation of the rows, or null (rows already in group order)
  const float* ema;      // [G, K], or null: ema_of_all
  double ema_of_all;     // for Center::ema
  bool valid_per_column;
  int64_t rows, groups, columns;
  float* advantage;   // [R, K] out
  float* center_out;  // [G, K] out: the centre used; for leave-one-out the group's mean; 0 for an
                      // empty group
  float* scale_out;   // [G, K] out: the scale before eps, 1 for Scale::none; for leave-one-out-std
                      // the group's std; 0 where the group gets 0 for being constant, or smaller
                      // than 2
  void* workspace;    // group_norm_workspace bytes
  FaultWord* faults;
};
// Reads rule, rows, groups and columns, and whether there are index and valid.
int64_t group_norm_workspace(const GroupNormArgs&);
Status group_norm(Context&, const GroupNormArgs&);

}  // namespace firesteel
