// The SIMD layer on every instruction set of the machine: accuracy of exp over the range, exact
// conversions, tails, reductions; and the scalar forms of the same.
#include <doctest/doctest.h>
#include <math.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

#include "runtime/scalar.h"
#include "runtime/simd/dispatch.h"
#include "simd_probe.h"

namespace firesteel {

#if defined(__x86_64__)
namespace sse2 {
extern const SimdProbe simd_probe_table;
}
namespace avx2 {
extern const SimdProbe simd_probe_table;
}
namespace avx512 {
extern const SimdProbe simd_probe_table;
}
#else
namespace neon {
extern const SimdProbe simd_probe_table;
}
#endif

namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

struct Named {
  const char* name;
  const SimdProbe* probe;
};
std::vector<Named> probes() {
#if defined(__x86_64__)
  std::vector<Named> found{{"sse2", &sse2::simd_probe_table}};
  if (current_isa() >= Isa::avx2) found.push_back({"avx2", &avx2::simd_probe_table});
  if (current_isa() >= Isa::avx512) found.push_back({"avx512", &avx512::simd_probe_table});
  return found;
#else
  return {{"neon", &neon::simd_probe_table}};
#endif
}

// Distance in units of the last place of `want`; subnormals have the unit 2^-149.
double ulps(float got, double want) {
  if (isnan(want)) return isnan(got) ? 0.0 : 1e9;
  if (isinf(static_cast<float>(want)))
    return static_cast<double>(got) == want || isinf(got) ? 0.0 : 1e9;
  int exponent;
  frexp(want, &exponent);
  return fabs(static_cast<double>(got) - want) / ldexp(1.0, std::max(exponent - 24, -149));
}

using Map = void (*)(const float*, float*, int);

// Every 509th of all floats in a range; of all, NaN and infinities among them.
double worst_ulps(Map f, double (*exact)(double), float low, float high) {
  std::vector<float> x;
  for (uint64_t bits = 0; bits < (uint64_t{1} << 32); bits += 509) {
    const float value = bits_float(static_cast<uint32_t>(bits));
    if (low == -kInf || (value >= low && value <= high)) x.push_back(value);
  }
  std::vector<float> y(x.size());
  f(x.data(), y.data(), static_cast<int>(x.size()));
  double worst = 0.0;
  for (size_t i = 0; i < x.size(); ++i) {
    worst = std::max(worst, ulps(y[i], exact(static_cast<double>(x[i]))));
  }
  return worst;
}

// The contract of simd/math.h. Measured: exp 1.0, exp2 2.2 on sse2 and 2.0 elsewhere, log1p 1.5.
TEST_CASE("exp is within 2 ULP and exp2 within 3 over all floats") {
  for (const Named& isa : probes()) {
    INFO(isa.name);
    CHECK(worst_ulps(isa.probe->exp, ::exp, -kInf, kInf) <= 2.0);
    CHECK(worst_ulps(isa.probe->exp2, ::exp2, -kInf, kInf) <= 3.0);
    CHECK(worst_ulps(isa.probe->exp2_bounded, ::exp2, -126.0f, 100.0f) <= 3.0);
  }
}

TEST_CASE("log1p is within 2 ULP, exact at 0, and keeps NaN") {
  for (const Named& isa : probes()) {
    INFO(isa.name);
    CHECK(worst_ulps(isa.probe->log1p, ::log1p, 0x1p-24f - 1.0f, 0x1p126f) <= 2.0);
    const float x[] = {0.0f, kNan};
    float y[2];
    isa.probe->log1p(x, y, 2);
    CHECK(y[0] == 0.0f);
    CHECK(static_cast<bool>(isnan(y[1])));
  }
}

TEST_CASE("exp at its ends and at 0") {
  const std::vector<float> x{0.0f, -0.0f, kInf, -kInf, kNan, 89.0f, -104.0f, 1e30f, -1e30f};
  const std::vector<float> want{1.0f, 1.0f, kInf, 0.0f, kNan, kInf, 0.0f, kInf, 0.0f};
  for (const Named& isa : probes()) {
    INFO(isa.name);
    std::vector<float> y(x.size());
    const int n = static_cast<int>(x.size());
    isa.probe->exp(x.data(), y.data(), n);
    for (size_t i = 0; i < x.size(); ++i) {
      CHECK((isnan(want[i]) ? static_cast<bool>(isnan(y[i])) : y[i] == want[i]));
    }
    // Below its range exp2_bounded answers something tiny, and 0 where callers clamp to.
    const std::vector<float> low{-126.25f, -126.75f, isa.probe->exp2_zero, 0.0f};
    isa.probe->exp2_bounded(low.data(), y.data(), 4);
    CHECK(y[0] >= 0.0f);
    CHECK(y[0] <= 0x1p-126f);
    CHECK(y[1] >= 0.0f);
    CHECK(y[1] <= 0x1p-126f);
    CHECK(y[2] == 0.0f);
    CHECK(y[3] == 1.0f);
  }
}

// A 16-bit float by its definition.
double value_of(uint16_t bits, int exponent_bits) {
  const int fraction_bits = 15 - exponent_bits;
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = bits >> fraction_bits & ((1 << exponent_bits) - 1);
  const int fraction = bits & ((1 << fraction_bits) - 1);
  const double sign = bits >> 15 ? -1.0 : 1.0;
  if (exponent == (1 << exponent_bits) - 1) return fraction ? nan("") : sign * HUGE_VAL;
  if (exponent == 0) return sign * ldexp(fraction, 1 - bias - fraction_bits);
  return sign * ldexp((1 << fraction_bits) + fraction, exponent - bias - fraction_bits);
}

template <class T>
void check_widening(int exponent_bits, void (*SimdProbe::*widen)(const T*, float*, int)) {
  std::vector<T> x(65536);
  for (int i = 0; i < 65536; ++i) x[static_cast<size_t>(i)].bits = static_cast<uint16_t>(i);
  const auto same = [](float got, double want) {
    return isnan(want) ? static_cast<bool>(isnan(got))
                       : static_cast<double>(got) == want && signbit(got) == signbit(want);
  };
  for (const Named& isa : probes()) {
    INFO(isa.name);
    std::vector<float> y(x.size());
    (isa.probe->*widen)(x.data(), y.data(), 65536);
    int wrong = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const double want = value_of(x[i].bits, exponent_bits);
      wrong += !same(y[i], want) + !same(to_float(x[i]), want);
    }
    CHECK(wrong == 0);
  }
}
TEST_CASE("all 65,536 bf16 and f16 widen exactly") {
  check_widening<bf16>(8, &SimdProbe::widen_bf16);
  check_widening<f16>(5, &SimdProbe::widen_f16);
}

// Rounding by its definition: of the neighbours below and above the nearer one, at a tie the even
// one; from half a step beyond the largest on, infinity.
template <class T>
void check_narrowing(int exponent_bits, void (*SimdProbe::*narrow)(const float*, T*, int)) {
  const uint16_t infinity = exponent_bits == 8 ? 0x7f80 : 0x7c00;
  std::vector<float> x;
  std::vector<uint16_t> want;
  const auto expect = [&](double value, uint16_t bits) {
    x.push_back(static_cast<float>(value));
    want.push_back(bits);
    x.push_back(static_cast<float>(-value));
    want.push_back(bits | 0x8000);
  };
  for (uint16_t low = 0; low < infinity; ++low) {
    const uint16_t high = low + 1;
    const double a = value_of(low, exponent_bits);
    // Infinity stands where the next number would.
    const double b =
        high == infinity ? 2 * a - value_of(low - 1, exponent_bits) : value_of(high, exponent_bits);
    const float middle = static_cast<float>((a + b) / 2);
    expect(a, low);
    expect(static_cast<double>(middle), low % 2 == 0 ? low : high);
    expect(static_cast<double>(nextafterf(middle, 0.0f)), low);
    expect(static_cast<double>(nextafterf(middle, kInf)), high);
  }
  expect(HUGE_VAL, infinity);
  expect(3e38, exponent_bits == 8 ? from_float<bf16>(3e38f).bits : infinity);
  const int n = static_cast<int>(x.size());
  for (const Named& isa : probes()) {
    INFO(isa.name);
    std::vector<T> y(x.size());
    (isa.probe->*narrow)(x.data(), y.data(), n);
    int wrong = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      wrong += (y[i].bits != want[i]) + (from_float<T>(x[i]).bits != want[i]);
    }
    CHECK(wrong == 0);
    // NaN of any payload, also one whose upper bits are all 0.
    for (const uint32_t bits : {0x7fc00000u, 0x7f800001u, 0xffffffffu, 0x7fffffffu}) {
      const float nan = bits_float(bits);
      T out;
      (isa.probe->*narrow)(&nan, &out, 1);
      CHECK(isnan(to_float(out)));
      CHECK(isnan(to_float(from_float<T>(nan))));
    }
  }
}
TEST_CASE("f32 rounds to the nearest bf16 and f16, ties to even, at every boundary") {
  check_narrowing<bf16>(8, &SimdProbe::narrow_bf16);
  check_narrowing<f16>(5, &SimdProbe::narrow_f16);
}

TEST_CASE("pairs of vectors load, round and store bf16 as single ones do") {
  std::vector<bf16> x(65536), one(65536), two(65536);
  for (int i = 0; i < 65536; ++i) x[static_cast<size_t>(i)].bits = static_cast<uint16_t>(i);
  for (const Named& isa : probes()) {
    INFO(isa.name);
    // Products of 16 bits, among them ties; overflow; subnormal numbers.
    for (const float factor :
         {1.0f, 1.00390625f, -1.01171875f, 1.5f, 0x1.fffffep0f, 1e-30f, 1e30f}) {
      isa.probe->scale_bf16(x.data(), one.data(), 65536, factor);
      isa.probe->scale_pairs_bf16(x.data(), two.data(), 65536, factor);
      int wrong = 0;
      for (size_t i = 0; i < x.size(); ++i) {
        const bool nan = isnan(to_float(x[i]));
        wrong += nan ? !isnan(to_float(two[i])) : one[i].bits != two[i].bits;
      }
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("tails touch what they should and nothing else") {
  for (const Named& isa : probes()) {
    INFO(isa.name);
    for (int n = 0; n <= 3 * isa.probe->lanes; ++n) {
      const size_t size = static_cast<size_t>(n);
      std::vector<float> x(size);  // exactly n, so that a sanitizer sees a read beyond
      std::iota(x.begin(), x.end(), 1.0f);
      std::vector<uint8_t> bytes(size);
      for (size_t i = 0; i < size; ++i) bytes[i] = i % 3 == 0 ? 0 : i % 3 == 1 ? 1 : 128;
      std::vector<float> y(size + 1, 7.0f);
      isa.probe->masked(x.data(), bytes.data(), y.data(), n);
      for (size_t i = 0; i < size; ++i) CHECK(y[i] == (i % 3 == 0 ? -x[i] : 1.0f));
      CHECK(y[size] == 7.0f);

      std::vector<bf16> half(size + 1, bf16{7});
      isa.probe->narrow_bf16(x.data(), half.data(), n);
      isa.probe->widen_bf16(half.data(), y.data(), n);
      for (size_t i = 0; i < size; ++i) CHECK(y[i] == x[i]);  // small integers are exact
      CHECK(half[size].bits == 7);
      std::vector<f16> other(size + 1, f16{7});
      isa.probe->narrow_f16(x.data(), other.data(), n);
      isa.probe->widen_f16(other.data(), y.data(), n);
      for (size_t i = 0; i < size; ++i) CHECK(y[i] == x[i]);
      CHECK(other[size].bits == 7);
    }
  }
}

TEST_CASE("reductions, comparisons and rounding") {
  for (const Named& isa : probes()) {
    INFO(isa.name);
    const size_t lanes = static_cast<size_t>(isa.probe->lanes);
    for (size_t at = 0; at < lanes; ++at) {
      std::vector<float> x(lanes, 1.0f), other(lanes, 2.0f);
      x[at] = 0x1p25f;
      float y[3];
      double sum;
      isa.probe->reduce(x.data(), y, &sum);
      CHECK(sum == 0x1p25 + static_cast<double>(lanes - 1));
      CHECK(y[1] == 0x1p25f);
      CHECK(y[2] == 1.0f);
      x[at] = -5.0f;
      isa.probe->reduce(x.data(), y, &sum);
      CHECK(y[0] == static_cast<float>(lanes) - 6.0f);
      CHECK(y[1] == 1.0f);
      CHECK(y[2] == -5.0f);
      // What callers rely on for NaN: the second operand wins.
      x[at] = kNan;
      std::vector<float> highest(lanes), lowest(lanes);
      CHECK(isa.probe->compare(x.data(), other.data(), highest.data(), lowest.data()) ==
            isa.probe->lanes - 1);
      CHECK(highest[at] == 2.0f);
      CHECK(lowest[at] == 2.0f);
      isa.probe->compare(other.data(), x.data(), highest.data(), lowest.data());
      CHECK(isnan(highest[at]));
      CHECK(isnan(lowest[at]));
    }
    const std::vector<float> x{0.5f, 1.5f,  2.5f,    -0.5f,    -1.5f,
                               2.3f, -2.7f, 0x1p30f, -0x1p40f, kInf};
    std::vector<float> rounded(x.size()), down(x.size());
    isa.probe->round_even(x.data(), rounded.data(), static_cast<int>(x.size()));
    isa.probe->floor(x.data(), down.data(), static_cast<int>(x.size()));
    for (size_t i = 0; i < x.size(); ++i) {
      CHECK(rounded[i] == rintf(x[i]));
      CHECK(signbit(rounded[i]) == signbit(rintf(x[i])));
      CHECK(down[i] == floorf(x[i]));
    }
  }
}

}  // namespace
}  // namespace firesteel
