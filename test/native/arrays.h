// What native tests of CPU kernels share: threads, reproducible data, buffers whose surroundings
// are watched.
#pragma once
#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "runtime/cpu/context.h"
#include "runtime/dtype.h"
#include "runtime/scalar.h"

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

// `rows` rows of `width` values, `stride` apart, with NaN before and between them: what reads a
// neighbour spoils its result, what writes one is found by `intact`. Behind the last value lies a
// page that may not be touched: reading a vector too far ends the test.
class Padded {
 public:
  int64_t rows, width, stride;

  Padded(int64_t rows, int64_t width, int64_t stride) : rows(rows), width(width), stride(stride) {
    const int64_t page = sysconf(_SC_PAGESIZE);
    count_ = kMargin + (rows == 0 ? 0 : (rows - 1) * stride + width);
    const int64_t bytes = count_ * int64_t(sizeof(float));
    usable_ = (bytes + page - 1) / page * page;
    void* pages = mmap(nullptr, size_t(usable_ + page), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(pages != MAP_FAILED);
    pages_ = static_cast<char*>(pages);
    REQUIRE(mprotect(pages_ + usable_, size_t(page), PROT_NONE) == 0);
    first_ = reinterpret_cast<float*>(pages_ + usable_ - bytes);
    std::fill_n(first_, count_, kNaN);
  }
  Padded(int64_t rows, int64_t width, int64_t stride, const Array& values)
      : Padded(rows, width, stride) {
    for (int64_t r = 0; r < rows; ++r) {
      std::copy_n(values.begin() + r * width, width, data() + r * stride);
    }
  }
  Padded(const Padded&) = delete;
  ~Padded() { munmap(pages_, size_t(usable_ + sysconf(_SC_PAGESIZE))); }

  float* data() { return first_ + kMargin; }

  Array values() const {
    Array out;
    for (int64_t r = 0; r < rows; ++r) {
      const float* row = first_ + kMargin + r * stride;
      out.insert(out.end(), row, row + width);
    }
    return out;
  }
  bool intact() const {
    for (int64_t i = 0; i < count_; ++i) {
      const int64_t at = i - kMargin;
      const bool inside = at >= 0 && at % stride < width;
      if (!inside && !std::isnan(first_[i])) return false;
    }
    return true;
  }

 private:
  static constexpr int64_t kMargin = 32;
  int64_t count_, usable_;
  char* pages_;
  float* first_;
};

inline uint16_t narrow(DType type, float x) {
  return type == DType::bf16 ? from_float<bf16>(x).bits : from_float<f16>(x).bits;
}
inline float widen(DType type, uint16_t x) {
  return type == DType::bf16 ? to_float(bf16{x}) : to_float(f16{x});
}

// The values of `from` in another type; they too end where memory does.
class Typed {
 public:
  Typed(Padded& from, DType type) : from_(from), type_(type), room_(1, (count() + 1) / 2, 1) {
    if (type == DType::f32) return;
    for (int64_t i = 0; i < count(); ++i) halves()[i] = narrow(type, from.data()[i]);
  }
  const void* data() {
    return type_ == DType::f32 ? static_cast<const void*>(from_.data()) : halves();
  }

 private:
  int64_t count() const {
    return from_.rows == 0 ? 0 : (from_.rows - 1) * from_.stride + from_.width;
  }
  uint16_t* halves() { return reinterpret_cast<uint16_t*>(room_.data() + room_.width) - count(); }

  Padded& from_;
  DType type_;
  Padded room_;
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
    const double off =
        std::fabs(double{a[i]} - expected) / (absolute + relative * std::fabs(expected));
    if (!(off <= worst)) worst = std::isnan(off) ? std::numeric_limits<double>::infinity() : off;
  }
  return worst;
}

}  // namespace firesteel
