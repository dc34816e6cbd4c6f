// group_norm: advantages of rewards relative to their group.
//
//   advantage[i] = (value[i] - centre(group)) / (scale(group or batch) + eps)
//
// Groups are given as CSR: group g holds the rows index[group_offsets[g] .. group_offsets[g + 1]).
// Two-pass statistics in float64. Where all valid values of a group are equal the result is exactly
// 0. Invalid rows (valid 0) leave the statistics and get 0. A group with fewer than two valid
// values gets 0. A scale of 0 with unequal values (median deviation) divides by eps as it stands;
// with eps 0 too, the group gets 0. Scale::none divides by 1, without eps. The batch's scale is
// that of all valid values as they are, not of the centred ones. A valid value that is not finite
// is a fault of its row: it makes its own group NaN, leaves the batch's scale, and spreads no
// further.
//
// Accuracy: the float64 formula rounded once to float.
#pragma once
#include <stdint.h>

#include "runtime/fault.h"
#include "runtime/status.h"

namespace firesteel {

class Context;

// Values are part of the addon's protocol with src/engine/groupNorm.ts.
enum class Center : int32_t { none = 0, mean = 1, median = 2 /* lower median for even counts */ };
enum class Scale : int32_t {
  none = 0,
  std = 1,               // sqrt(sum (x - mean)^2 / (n - ddof))
  median_deviation = 2,  // lower median of |x - median|
};
enum class Scope : int32_t { group = 0, batch = 1 };  // of the scale; the centre is the group's

struct GroupNormArgs {
  const float* values;           // [R]
  const uint8_t* valid;          // [R] or null
  const int32_t* group_offsets;  // [G + 1], ascending, from 0 to R
  const int32_t* index;  // [R] a permutation of the rows, or null (rows already in group order)
  int64_t rows, groups;
  Center center;
  Scale scale;
  Scope scope;
  int32_t ddof;       // 0 or 1, for Scale::std
  float eps;          // >= 0, outside the root
  float* advantage;   // [R] out
  float* center_out;  // [G] out: the centre used (0 for an empty group)
  float* scale_out;   // [G] out: the scale before eps, 1 for Scale::none (0 where the group gets 0
                      // for being constant, or smaller than 2)
  void* workspace;    // group_norm_workspace bytes
  FaultWord* faults;
};
int64_t group_norm_workspace(int64_t rows, int64_t groups);
Status group_norm(Context&, const GroupNormArgs&);

}  // namespace firesteel
