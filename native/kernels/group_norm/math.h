// What group_norm computes, once for both backends, in float64. Over a Set: the valid values of a
// group's column, or the finite ones among them of the whole batch's. A backend's Set has
//
//   Extent extent(float but)                 of the values, without those that equal `but`
//   double sum(float but, Term term)         of term(value): SquareFrom or DistanceFrom
//   double median()                          the lower one
//   double median_distance(double from)      lower median of |value - from|
#pragma once
#include <math.h>

#include "kernels/group_norm/group_norm.h"

// A CUDA set exists on the device only.
#ifdef __CUDACC__
#define FIRESTEEL_OVER_SET __device__
#else
#define FIRESTEEL_OVER_SET
#endif

namespace firesteel {

FIRESTEEL_HD inline double magnitude(double x) {
  return ::fabs(x);
}

// The terms of sums, over D = double or a vector of them.
struct SquareFrom {
  double mean;
  template <class D>
  FIRESTEEL_HD inline D operator()(D x) const {
    const D away = x - mean;
    return away * away;
  }
};
struct DistanceFrom {
  double mean;
  template <class D>
  FIRESTEEL_HD inline D operator()(D x) const {
    return magnitude(x - mean);
  }
};

constexpr float kNoValue = __builtin_nanf("");  // equals none: nothing is left out

FIRESTEEL_HD inline bool is_finite(double x) {
  return x - x == 0.0;
}

// What a first pass over values finds.
struct Extent {
  int64_t count = 0;
  double sum = 0.0;
  float low = __builtin_inff(), high = -__builtin_inff();
  bool wrong = false;  // one is not finite

  FIRESTEEL_HD void add(float x) {
    ++count;
    sum += static_cast<double>(x);
    low = x < low ? x : low;
    high = x > high ? x : high;
    wrong = wrong || !is_finite(static_cast<double>(x));
  }
  FIRESTEEL_HD void add(const Extent& next) {
    count += next.count;
    sum += next.sum;
    low = next.low < low ? next.low : low;
    high = next.high > high ? next.high : high;
    wrong = wrong || next.wrong;
  }
};

struct Statistics {
  int64_t count;
  bool wrong;  // one value is not finite: mean and median are NaN
  bool equal;  // all values, or fewer than two: mean and median are that value, to the last bit
  float low, high;
  double mean, median;
  double squares;  // sum of (x - mean)^2, of the stds
};

template <class Set>
FIRESTEEL_OVER_SET double squares_around(const Set& set, double mean, float but) {
  return set.sum(but, SquareFrom{mean});
}

template <class Set>
FIRESTEEL_OVER_SET Statistics statistics(const Set& set, bool with_median) {
  const Extent all = set.extent(kNoValue);
  Statistics s{};
  s.count = all.count;
  s.wrong = all.wrong;
  s.equal = all.count < 2 || all.low == all.high;
  s.low = all.low;
  s.high = all.high;
  if (all.wrong) {
    s.mean = __builtin_nan("");
  } else if (s.equal) {
    s.mean = all.count > 0 ? static_cast<double>(all.low) : 0.0;
  } else {
    s.mean = all.sum / static_cast<double>(all.count);
  }
  s.median = with_median && !s.equal && !s.wrong ? set.median() : s.mean;
  return s;
}

// Before eps; 0 where all values are equal.
template <class Set>
FIRESTEEL_OVER_SET double scale_of(const Set& set, const GroupNormRule& rule, Statistics& s) {
  if (s.wrong) return s.mean;
  if (s.equal) return 0.0;
  const double count = static_cast<double>(s.count), mean = s.mean;
  switch (rule.scale) {
    case Scale::none:
      return 1.0;
    case Scale::std:
    case Scale::leave_one_out_std:
      s.squares = squares_around(set, mean, kNoValue);
      return ::sqrt(s.squares / (count - rule.ddof));
    case Scale::mean_deviation:
      return set.sum(kNoValue, DistanceFrom{mean}) / count;
    case Scale::median_deviation:
      return set.median_distance(s.median);
    case Scale::range:
      return static_cast<double>(s.high) - static_cast<double>(s.low);
  }
  return s.mean;
}

// The scale that one column's groups share.
template <class Set>
FIRESTEEL_OVER_SET double batch_scale(const Set& set, const GroupNormRule& rule) {
  Statistics s = statistics(set, rule.scale == Scale::median_deviation);
  return scale_of(set, rule, s);
}

FIRESTEEL_HD inline double divisor(const GroupNormRule& rule, double scale) {
  if (rule.scale == Scale::none) return 1.0;
  if (scale == 0.0 && rule.zero_scale == ZeroScale::one) return 1.0;
  switch (rule.eps_placement) {
    case EpsPlacement::inside:
      return ::sqrt(scale * scale + rule.eps);
    case EpsPlacement::floor:
      return ::sqrt(::fmax(scale * scale, rule.eps));
    case EpsPlacement::outside:
      break;
  }
  return scale + rule.eps;
}

// How the values of one group become advantages.
struct Normalizer {
  bool zero;             // all of them, exactly
  double center, scale;  // as reported
  double divisor;
  double others;  // n / (n - 1) where the centre is that of a value's others, else 1
  // For leave-one-out-std.
  bool std_of_others;
  double count, squares;
  float low, high;
  double without_low, without_high;  // squares of the others of such a value; -1: from `squares`
};

// The squares of a value's others are those of all, less (x - mean)^2 n / (n - 1). Where that takes
// nearly everything away, which only one value at an end of the range can do (two of three), the
// others are gone through: what cancels would be left as noise, and equal others must give 0 (they
// do: a float64 sum of equal floats is exact).
template <class Set>
FIRESTEEL_OVER_SET double squares_without(const Set& set, const Normalizer& n, float x) {
  const double away = static_cast<double>(x) - n.center;
  if (away * away * n.others <= 0.75 * n.squares) return -1.0;
  const Extent rest = set.extent(x);
  return squares_around(set, rest.sum / static_cast<double>(rest.count), x);
}

FIRESTEEL_HD inline double std_of_others(const GroupNormRule& rule, const Normalizer& n, float x) {
  if (n.count < 3.0) return 0.0;
  double squares = x == n.low ? n.without_low : x == n.high ? n.without_high : -1.0;
  if (squares < 0.0) {
    const double away = static_cast<double>(x) - n.center;
    squares = n.squares - away * away * n.others;
  }
  return ::sqrt(squares / (n.count - 1.0 - rule.ddof));
}

FIRESTEEL_HD inline double center_of(const GroupNormRule& rule, const Statistics& s, double ema) {
  if (s.wrong || s.count == 0) return s.mean;
  switch (rule.center) {
    case Center::none:
      return 0.0;
    case Center::mean:
    case Center::leave_one_out:
      return s.mean;
    case Center::median:
      return s.median;
    case Center::ema:
      return (1.0 - rule.ema_blend) * s.mean + rule.ema_blend * ema;
  }
  return s.mean;
}

// `shared`: the batch's scale; not read where each group has its own.
template <class Set>
FIRESTEEL_OVER_SET Normalizer normalizer(const Set& set, const GroupNormRule& rule, double ema,
                                         double shared) {
  const bool own_scale = rule.scope != Scope::batch;
  Statistics s = statistics(
      set, rule.center == Center::median || (own_scale && rule.scale == Scale::median_deviation));
  Normalizer n{};
  n.others = 1.0;
  if (s.count == 1 && !s.wrong && rule.singleton == Singleton::value) {
    n.scale = 1.0;
    n.divisor = divisor(rule, n.scale);
    return n;
  }
  n.center = center_of(rule, s, ema);
  s.wrong = !is_finite(n.center);
  n.zero = s.equal && !s.wrong;
  if (s.equal || s.wrong) {
    n.scale = s.wrong ? __builtin_nan("") : 0.0;
  } else if (rule.scope == Scope::group) {
    n.scale = scale_of(set, rule, s);
  } else {
    const double own = own_scale ? (1.0 - rule.scope_blend) * scale_of(set, rule, s) : 0.0;
    n.scale = own_scale ? own + rule.scope_blend * shared : shared;
  }
  n.divisor = divisor(rule, n.scale);
  if (s.equal || s.wrong) return n;
  n.count = static_cast<double>(s.count);
  if (rule.center == Center::leave_one_out) n.others = n.count / (n.count - 1.0);
  if (rule.scale == Scale::leave_one_out_std) {
    n.std_of_others = true;
    n.squares = s.squares;
    n.low = s.low;
    n.high = s.high;
    n.without_low = squares_without(set, n, s.low);
    n.without_high = squares_without(set, n, s.high);
  }
  return n;
}

FIRESTEEL_HD inline float advantage_of(const GroupNormRule& rule, const Normalizer& n, float x) {
  if (n.zero) return 0.0f;
  const double by = n.std_of_others ? divisor(rule, std_of_others(rule, n, x)) : n.divisor;
  const double distance = (static_cast<double>(x) - n.center) * n.others;
  return by == 0.0 ? 0.0f : static_cast<float>(distance / by);
}

}  // namespace firesteel
