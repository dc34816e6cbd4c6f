// What native tests of CUDA kernels share: the emulated card under every order of threads, and
// reproducible data.
#pragma once
#include <doctest/doctest.h>
#include <stdlib.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "runtime/cuda/context.h"
#include "runtime/fault.h"

namespace firesteel {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr double kEpsilon = 0x1p-24;  // relative error of one rounding to float

// body(context) with the emulated threads taking turns forwards, backwards and at random.
template <class Body>
void in_every_order(Body body) {
  for (const char* order : {"forward", "reverse", "random:1", "random:2"}) {
    CAPTURE(std::string(order));
    setenv("FIRESTEEL_EMULATOR_ORDER", order, 1);
    Context context;
    context.sm_count = 4;
    body(context);
  }
  unsetenv("FIRESTEEL_EMULATOR_ORDER");
}

inline void must(const Status& status) {
  CAPTURE(status.message);
  REQUIRE(status.ok());
}

using Array = std::vector<float>;
using Doubles = std::vector<double>;

inline Array random_array(int64_t count, uint32_t seed, float low = -1.0f, float high = 1.0f) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<float> uniform(low, high);
  Array values(static_cast<size_t>(count));
  for (float& v : values) v = uniform(engine);
  return values;
}

inline std::vector<int32_t> offsets_of(const std::vector<int>& lengths) {
  std::vector<int32_t> offsets{0};
  for (int length : lengths) offsets.push_back(offsets.back() + length);
  return offsets;
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

// The largest |a[i] - b[i]| / (absolute + relative * |b[i]|): at most 1 where all are close. NaN is
// infinitely far from everything.
template <class A, class B>
double distance(const A& a, const B& b, double absolute, double relative) {
  double worst = a.size() == b.size() ? 0.0 : std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < a.size() && i < b.size(); ++i) {
    const double x = static_cast<double>(a[i]), y = static_cast<double>(b[i]);
    const double off = std::fabs(x - y) / (absolute + relative * std::fabs(y));
    if (!(off <= worst)) worst = std::isnan(off) ? std::numeric_limits<double>::infinity() : off;
  }
  return worst;
}

// d f / d x[i] by central differences, f over double values.
template <class Function>
Doubles slopes(Doubles x, Function f) {
  constexpr double kStep = 1e-5;
  Doubles out(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double at = x[i];
    x[i] = at + kStep;
    const double above = f(x);
    x[i] = at - kStep;
    out[i] = (above - f(x)) / (2.0 * kStep);
    x[i] = at;
  }
  return out;
}

inline Doubles widened(const Array& x) {
  return Doubles(x.begin(), x.end());
}

struct Faults : FaultWord {
  Faults() : FaultWord{} { std::fill_n(first_row, kFaultKinds, ~0u); }
  bool none() const {
    return std::all_of(count, count + kFaultKinds, [](uint32_t n) { return n == 0; });
  }
};

}  // namespace firesteel
