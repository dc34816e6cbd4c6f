// What is known of a row from some of its columns, and how two such parts become one: blocks of a
// row on the CPU, warps of a row on CUDA, shards of a vocabulary on several machines.
#pragma once
#include "runtime/dtype.h"

namespace firesteel {

// With x the logits as they are stored and u = (x - max) log2(e) / temperature:
struct LogProbPartial {
  double max;                  // of x; -inf where every logit is -inf
  double sum;                  // of 2^u
  double weighted;             // of u 2^u
  double total;                // of x
  double target;               // the target's logit; +inf where the target is not in the shard
  double inverse_temperature;  // a float; 0: the row is masked, and so is everything above
};
// A faulty shard has NaN in max, sum, weighted and total, and in inverse_temperature where that was
// the fault.

// What precedes the first columns.
constexpr LogProbPartial kNoColumns{-__builtin_inf(), 0.0, 0.0, 0.0, 0.0, 0.0};

constexpr double kLog2e = 1.44269504088896340736;
constexpr double kLn2 = 0.693147180559945309417;

FIRESTEEL_HD inline double double_exp2(double x) {
#ifdef __CUDA_ARCH__
  return ::exp2(x);
#else
  return __builtin_exp2(x);
#endif
}
FIRESTEEL_HD inline double double_log2(double x) {
#ifdef __CUDA_ARCH__
  return ::log2(x);
#else
  return __builtin_log2(x);
#endif
}

// log2(e) / temperature
FIRESTEEL_HD inline float exponent_scale(float inverse_temperature) {
  return static_cast<float>(kLog2e * static_cast<double>(inverse_temperature));
}

// The same sums relative to a maximum that is not lower. NaN stays.
FIRESTEEL_HD inline LogProbPartial raised(const LogProbPartial& part, double max, double scale) {
  LogProbPartial out = part;
  if (!(part.max < max)) return out;
  out.max = max;
  out.sum = out.weighted = 0.0;
  if (part.max == -__builtin_inf()) return out;
  const double down = (part.max - max) * scale;
  const double factor = double_exp2(down);
  out.sum = part.sum * factor;
  out.weighted = (part.weighted + down * part.sum) * factor;
  return out;
}

// Two parts of one row; target and temperature are the first's.
FIRESTEEL_HD inline LogProbPartial merged(const LogProbPartial& a, const LogProbPartial& b,
                                          double scale) {
  const double max = a.max < b.max ? b.max : a.max;
  const LogProbPartial x = raised(a, max, scale), y = raised(b, max, scale);
  return {max,      x.sum + y.sum,        x.weighted + y.weighted, a.total + b.total,
          a.target, a.inverse_temperature};
}

// Two shards, in rank order. Where they differ in mask or temperature the latter becomes NaN.
FIRESTEEL_HD inline LogProbPartial merged_shards(const LogProbPartial& a, const LogProbPartial& b) {
  const float inverse = static_cast<float>(a.inverse_temperature);
  LogProbPartial out = merged(a, b, static_cast<double>(exponent_scale(inverse)));
  if (a.target == __builtin_inf()) out.target = b.target;
  if (a.inverse_temperature != b.inverse_temperature) out.inverse_temperature = __builtin_nan("");
  return out;
}

}  // namespace firesteel
