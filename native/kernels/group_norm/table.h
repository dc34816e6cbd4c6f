// What the per-ISA objects of group_norm offer to cpu.cc: values of one column that lie side by
// side, a whole group or a part of one. A value's place in its group decides which lane takes it,
// whether others are valid or not.
#pragma once
#include "kernels/group_norm/math.h"

namespace firesteel {

struct GroupNormSpan {
  const float* values;   // [count]
  const uint8_t* valid;  // [count] or null
  int64_t count;
  bool finite_only;  // leaves out what is not finite
};

struct GroupNormTable {
  // The set of math.h.
  Extent (*extent)(const GroupNormSpan&, float but);
  double (*squares)(const GroupNormSpan&, float but, SquareFrom);
  double (*distances)(const GroupNormSpan&, DistanceFrom);
  // Advantages; may write where the values stand.
  void (*write)(const GroupNormRule&, const Normalizer&, const GroupNormSpan&, float* advantage);
  // A whole group, by a rule without medians.
  Normalizer (*normalize)(const GroupNormRule&, const GroupNormSpan&, double ema, double shared,
                          float* advantage);
};

}  // namespace firesteel
