// Per-edge maths of bernoulli in float64, shared by cpu.cc and cuda.cu.
#pragma once
#include <math.h>
#include <stdint.h>

#include "runtime/dtype.h"

namespace firesteel {

// log(1 + exp(z)).
FIRESTEEL_HD inline double softplus(double z) {
  return (z > 0.0 ? z : 0.0) + ::log1p(::exp(-::fabs(z)));
}

FIRESTEEL_HD inline double bernoulli_log_prob(double z, bool action) {
  return 0.0 - softplus(action ? -z : z);  // not -softplus: of a certain action it is +0
}

// p (1 - p), exactly 0 where p is 0 or 1.
FIRESTEEL_HD inline double bernoulli_variance(double z) {
  const double e = ::exp(-::fabs(z));
  return e / ((1.0 + e) * (1.0 + e));
}

FIRESTEEL_HD inline double sigmoid(double z) {
  const double e = ::exp(-::fabs(z));
  return (z > 0.0 ? 1.0 : e) / (1.0 + e);
}

// softplus(-m) + m sigmoid(-m), m = |z|.
FIRESTEEL_HD inline double bernoulli_entropy(double z) {
  const double m = ::fmin(::fabs(z), 800.0);  // where exp(-m) is 0; not inf * 0
  return softplus(-m) + m * sigmoid(-m);
}

// KL(sigmoid(z) || sigmoid(r)) = softplus(r) - softplus(z) - p (r - z). Turned so that p <= 1/2,
// the terms of that are at most of the size of p, and d = r - z loses at most 2e-15 / d^2 of the
// result. Below |d| = 2^-9 (5e-10) the series of the cumulants takes over, cut after d^4 (d^3 / 60:
// 2e-10).
FIRESTEEL_HD inline double bernoulli_kl(double z, double r) {
  if (z == r) return 0.0;
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

// Of log_prob, entropy and kl, each times what is upstream of it, with respect to z.
FIRESTEEL_HD inline double bernoulli_gradient(double z, double r, bool action, double d_log_prob,
                                              double d_entropy, double d_kl) {
  const double gradient = d_log_prob * (action ? sigmoid(-z) : -sigmoid(z));
  const double variance = bernoulli_variance(z);
  if (variance == 0.0) return gradient;  // z may be infinite
  const bool support = ::fabs(r) < static_cast<double>(INFINITY);
  return gradient + variance * ((support ? d_kl * (z - r) : 0.0) - d_entropy * z);
}

// One edge of a call. What is not wanted or not given is 0.
struct Edge {
  float logit, ref_logit;
  uint8_t action;

  FIRESTEEL_HD bool usable() const { return logit == logit && action <= 1; }
};

struct EdgeValues {
  float log_prob, entropy, kl;
};
FIRESTEEL_HD inline EdgeValues edge_values(const Edge& edge, double temperature, bool entropy,
                                           bool kl) {
  if (!edge.usable()) return {NAN, NAN, NAN};
  const double z = static_cast<double>(edge.logit) / temperature;
  const double r = static_cast<double>(edge.ref_logit) / temperature;
  return {static_cast<float>(bernoulli_log_prob(z, edge.action != 0)),
          entropy ? static_cast<float>(bernoulli_entropy(z)) : 0.0f,
          kl ? static_cast<float>(bernoulli_kl(z, r)) : 0.0f};
}

// With respect to the logit; `d` is what is upstream of each value.
FIRESTEEL_HD inline float edge_gradient(const Edge& edge, double temperature, const EdgeValues& d) {
  if (!edge.usable()) return 0.0f;
  const double z = static_cast<double>(edge.logit) / temperature;
  const double r = static_cast<double>(edge.ref_logit) / temperature;
  const double gradient =
      bernoulli_gradient(z, r, edge.action != 0, static_cast<double>(d.log_prob),
                         static_cast<double>(d.entropy), static_cast<double>(d.kl));
  return static_cast<float>(gradient / temperature);
}

}  // namespace firesteel
