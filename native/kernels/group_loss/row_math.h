// The mathematics of a row's score, once for both backends, in double.
#pragma once
#include <math.h>

#include "kernels/group_loss/row_score.h"
#include "runtime/dtype.h"

namespace firesteel {

FIRESTEEL_HD inline double log_ratio(float log_prob, float base_log_prob) {
  return static_cast<double>(log_prob) - static_cast<double>(base_log_prob);
}

// exp(x) - 1 - x (Schulman 2020): an estimate of KL(base || policy) where the base sampled.
FIRESTEEL_HD inline double k3(double x) {
  return ::expm1(x) - x;
}
FIRESTEEL_HD inline double k3_slope(double x) {
  return ::expm1(x);
}

struct RowScore {
  double score, token_weight;
};

// From the sum over the row's trained tokens of the log-ratios, or of k3.
FIRESTEEL_HD inline RowScore row_score_of(RowTerm term, Pooling pooling, double sum,
                                          int64_t trained) {
  if (trained == 0) return {0.0, 0.0};
  if (!(sum - sum == 0.0)) return {static_cast<double>(NAN), 0.0};
  const double divisor = pooling == Pooling::mean ? static_cast<double>(trained) : 1.0;
  return term == RowTerm::k1 ? RowScore{(0.0 - sum) / divisor, -1.0 / divisor}
                             : RowScore{sum / divisor, 1.0 / divisor};
}

// A token's gradient, of which `slope` is the row's part; false where it is not a finite float.
FIRESTEEL_HD inline bool to_gradient(double slope, float* gradient) {
  const float rounded = static_cast<float>(slope);
  const bool finite = rounded - rounded == 0.0f;
  *gradient = finite ? rounded : 0.0f;
  return finite;
}

}  // namespace firesteel
