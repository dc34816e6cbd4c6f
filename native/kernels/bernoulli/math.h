// Per-edge maths of bernoulli in float64, shared by cpu.cc and cuda.cu.
#pragma once
#include <math.h>
#include <stdint.h>

#include "runtime/dtype.h"

namespace firesteel {
namespace bernoulli {

// log(1 + exp(z)).
FIRESTEEL_HD inline double softplus(double z) {
  return (z > 0.0 ? z : 0.0) + ::log1p(::exp(-::fabs(z)));
}

FIRESTEEL_HD inline double log_prob_of(double z, bool action) {
  return 0.0 - softplus(action ? -z : z);  // not -softplus: of a certain action it is +0
}

// p (1 - p), exactly 0 where p is 0 or 1.
FIRESTEEL_HD inline double variance_of(double z) {
  const double e = ::exp(-::fabs(z));
  return e / ((1.0 + e) * (1.0 + e));
}

FIRESTEEL_HD inline double sigmoid(double z) {
  const double e = ::exp(-::fabs(z));
  return (z > 0.0 ? 1.0 : e) / (1.0 + e);
}

// softplus(-m) + m sigmoid(-m), m = |z|.
FIRESTEEL_HD inline double entropy_of(double z) {
  const double m = ::fmin(::fabs(z), 800.0);  // where exp(-m) is 0; not inf * 0
  return softplus(-m) + m * sigmoid(-m);
}

// KL(sigmoid(z) || sigmoid(r)) = softplus(r) - softplus(z) - p (r - z). Turned so that p <= 1/2,
// the terms of that are at most of the size of p, and d = r - z loses at most 2e-15 / d^2 of the
// result. Below |d| = 2^-9 (5e-10) the series of the cumulants takes over, cut after d^4 (d^3 / 60:
// 2e-10).
FIRESTEEL_HD inline double kl_of(double z, double r) {
  if (z > 0.0) {
    z = -z;
    r = -r;
  }
  if (r == static_cast<double>(INFINITY)) return r;
  const double d = r - z, p = sigmoid(z);
  if (::fabs(d) < 0x1p-9) {
    const double variance = p * (1.0 - p), skew = 1.0 - 2.0 * p;
    return 0.5 * variance * d * d * (1.0 + d * (skew / 3.0 + d * (1.0 - 6.0 * variance) / 12.0));
  }
  return softplus(r) - softplus(z) - (p > 0.0 ? p * d : 0.0);
}

// One edge of a call. What is not wanted or not given is 0.
struct Edge {
  float logit, ref_logit;
  uint8_t action;

  FIRESTEEL_HD bool usable() const { return logit == logit && action <= 1; }
};

// Of an edge, or what is upstream of them.
struct EdgeValues {
  float log_prob, entropy, kl;
};

FIRESTEEL_HD inline EdgeValues edge_values(const Edge& edge, double temperature, bool with_entropy,
                                           bool with_kl) {
  if (!edge.usable()) return {NAN, NAN, NAN};
  const double z = static_cast<double>(edge.logit) / temperature;
  const double r = static_cast<double>(edge.ref_logit) / temperature;
  return {static_cast<float>(log_prob_of(z, edge.action != 0)),
          with_entropy ? static_cast<float>(entropy_of(z)) : 0.0f,
          with_kl ? static_cast<float>(kl_of(z, r)) : 0.0f};
}

// With respect to the logit. Through z: action - p, -z p (1 - p), (z - r) p (1 - p).
FIRESTEEL_HD inline float edge_gradient(const Edge& edge, double temperature,
                                        const EdgeValues& upstream) {
  if (!edge.usable()) return 0.0f;
  const double z = static_cast<double>(edge.logit) / temperature;
  const double r = static_cast<double>(edge.ref_logit) / temperature;
  double gradient =
      static_cast<double>(upstream.log_prob) * (edge.action != 0 ? sigmoid(-z) : -sigmoid(z));
  const double variance = variance_of(z);
  if (variance != 0.0) {  // else z may be infinite
    const bool support = ::fabs(r) < static_cast<double>(INFINITY);
    const double through_kl = support ? static_cast<double>(upstream.kl) * (z - r) : 0.0;
    gradient += variance * (through_kl - static_cast<double>(upstream.entropy) * z);
  }
  return static_cast<float>(gradient / temperature);
}

}  // namespace bernoulli
}  // namespace firesteel
