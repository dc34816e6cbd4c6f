// What native tests of CPU kernels share: threads, reproducible data, buffers whose surroundings are
// watched.
#pragma once
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "runtime/cpu/context.h"

namespace firesteel {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

class Threads {
 public:
  explicit Threads(int count) : context_(ThreadPool::shared(count), count, &cancelled_) {}
  operator Context&() { return context_; }

 private:
  std::atomic<bool> cancelled_{false};
  Context context_;
};

using Array = std::vector<float>;

inline Array random_array(int64_t count, uint32_t seed, float low = -1.0f, float high = 1.0f) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<float> uniform(low, high);
  Array values(static_cast<size_t>(count));
  for (float& v : values) v = uniform(engine);
  return values;
}

// `rows` rows of `width` values, `stride` apart, with NaN between them and on both sides: what reads a
// neighbour spoils its result, what writes one is found by `intact`.
struct Padded {
  static constexpr int64_t kMargin = 32;
  int64_t rows, width, stride;
  Array memory;

  Padded(int64_t rows, int64_t width, int64_t stride)
      : rows(rows), width(width), stride(stride),
        memory(static_cast<size_t>(rows * stride + 2 * kMargin), kNaN) {}
  Padded(int64_t rows, int64_t width, int64_t stride, const Array& values)
      : Padded(rows, width, stride) {
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t j = 0; j < width; ++j) data()[r * stride + j] = values[size_t(r * width + j)];
    }
  }
  float* data() { return memory.data() + kMargin; }

  Array values() const {
    Array out;
    for (int64_t r = 0; r < rows; ++r) {
      const auto row = memory.begin() + kMargin + r * stride;
      out.insert(out.end(), row, row + width);
    }
    return out;
  }
  bool intact() const {
    for (int64_t i = 0; i < int64_t(memory.size()); ++i) {
      const int64_t at = i - kMargin;
      const bool inside = at >= 0 && at < rows * stride && at % stride < width;
      if (!inside && !std::isnan(memory[size_t(i)])) return false;
    }
    return true;
  }
};

inline bool same_bits(const Array& a, const Array& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

// The largest |a[i] - b[i]| / (absolute + relative * |b[i]|): at most 1 where all are close. NaN
// anywhere counts as infinitely far.
template <class Reference>
double distance(const Array& a, const Reference& b, double absolute, double relative) {
  if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
  double worst = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double expected = static_cast<double>(b[i]);
    const double off = std::fabs(double{a[i]} - expected) / (absolute + relative * std::fabs(expected));
    if (!(off <= worst)) worst = std::isnan(off) ? std::numeric_limits<double>::infinity() : off;
  }
  return worst;
}

}  // namespace firesteel
