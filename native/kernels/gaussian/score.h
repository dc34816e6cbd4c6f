// Per-sample maths of gaussian in float64, shared by cpu.cc and cuda.cu: from the sum of squares of
// a sample's elements to its result.
#pragma once
#include <math.h>

#include "kernels/gaussian/gaussian.h"
#include "runtime/dtype.h"

namespace firesteel {

// Of some of a sample's elements; partial sums add up in order.
struct GaussianSum {
  double sum;
  int64_t count;  // valid elements
};

struct GaussianOutcome {
  double out, slope;
  bool fault;
};

// `steps`: a std of 0 is a deterministic step instead of a fault.
FIRESTEEL_HD inline GaussianOutcome score_of(GaussianTerm term, GaussianReduction reduction,
                                             GaussianSum squares, double std, bool steps) {
  constexpr double kHalfLogTwoPi = 0.91893853320467274178;
  if (squares.count == 0) return {0.0, 0.0, false};
  const bool deterministic = steps && std == 0.0;
  const bool density = std >= 1e-15 && std <= 1e15;
  const bool finite = squares.sum <= 1e300;  // false for NaN too
  if (!finite || !(density || deterministic)) {
    return {static_cast<double>(NAN), static_cast<double>(NAN), true};
  }
  if (deterministic) return {0.0, 0.0, false};
  const double n = static_cast<double>(squares.count);
  const double weight = reduction == GaussianReduction::mean ? 1.0 / n : 1.0;
  // Of e^2, and beside it.
  double factor = -1.0, constant = 0.0;
  if (term == GaussianTerm::log_prob) {
    factor = -0.5 / (std * std);
    constant = -::log(std) - kHalfLogTwoPi;
  } else if (term == GaussianTerm::kl) {
    factor = 0.5 / (std * std);
  }
  return {weight * (factor * squares.sum + n * constant), -2.0 * factor * weight, false};
}

}  // namespace firesteel
