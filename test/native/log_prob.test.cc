// log_prob on the CPU against a plain float64 loop.
#include "kernels/log_prob/log_prob.h"

#include <math.h>
#include <string.h>

#include <algorithm>

#include "arrays.h"
#include "every_isa.h"
#include "runtime/scalar.h"

namespace firesteel {
namespace {

constexpr float kLowest = -3.402823466e38f;

FaultWord no_faults() {
  FaultWord word;
  for (int k = 0; k < kFaultKinds; ++k) {
    word.count[k] = 0;
    word.first_row[k] = 0xffffffffu;
  }
  return word;
}
uint32_t total(const FaultWord& word) {
  return word.count[0] + word.count[1] + word.count[2];
}

// A batch with everything a call needs. `T` is the element type of the logits.
template <class T>
struct Batch {
  int64_t tokens, vocab, stride;
  std::vector<T> logits;
  std::vector<int32_t> targets;
  std::vector<uint8_t> mask;
  float inv_temperature = 1.0f;
  Array log_prob, entropy, stats;
  FaultWord faults = no_faults();

  Batch(int64_t tokens, int64_t vocab, int64_t padding = 0)
      : tokens(tokens),
        vocab(vocab),
        stride(vocab + padding),
        logits(static_cast<size_t>(tokens * stride), from_float<T>(0.0f)),
        targets(static_cast<size_t>(tokens), 0),
        mask(static_cast<size_t>(tokens), 1),
        log_prob(static_cast<size_t>(tokens), 7.0f),
        entropy(static_cast<size_t>(tokens), 7.0f),
        stats(static_cast<size_t>(2 * tokens), 7.0f) {}

  T& at(int64_t t, int64_t v) { return logits[static_cast<size_t>(t * stride + v)]; }
  void set(int64_t t, int64_t v, float x) { at(t, v) = from_float<T>(x); }

  // Normal logits with a few that stick out, so that probabilities are neither all alike nor all 0.
  void fill(unsigned seed, float spread, float shift) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t v = 0; v < vocab; ++v) set(t, v, normal(random) * spread + shift);
      for (int k = 0; k < 3; ++k) {
        const int64_t v = static_cast<int64_t>(random() % static_cast<uint64_t>(vocab));
        set(t, v, to_float(at(t, v)) + 8.0f * spread);
      }
      targets[static_cast<size_t>(t)] =
          static_cast<int32_t>(t == 0   ? vocab - 1
                               : t == 1 ? 0
                                        : random() % static_cast<uint64_t>(vocab));
    }
  }

  DType dtype() const {
    return sizeof(T) == 4 ? DType::f32 : std::is_same<T, bf16>::value ? DType::bf16 : DType::f16;
  }
  LogProbArgs args() {
    return {logits.data(),   dtype(),        tokens,       vocab,
            stride,          targets.data(), mask.data(),  inv_temperature,
            log_prob.data(), entropy.data(), stats.data(), &faults};
  }
  void forward(int threads = 2) {
    Threads cpu(threads);
    REQUIRE(log_prob_forward(cpu, args()).ok());
  }
  std::vector<T> backward(const Array& d_log_prob, const Array& d_entropy, bool in_place = false) {
    Threads cpu(2);
    std::vector<T> out(logits.size(), from_float<T>(7.0f));
    if (in_place) out = logits;
    LogProbBackwardArgs a{in_place ? out.data() : logits.data(),
                          dtype(),
                          tokens,
                          vocab,
                          stride,
                          targets.data(),
                          mask.data(),
                          inv_temperature,
                          stats.data(),
                          d_log_prob.data(),
                          d_entropy.empty() ? nullptr : d_entropy.data(),
                          d_entropy.empty() ? nullptr : entropy.data(),
                          out.data(),
                          stride};
    REQUIRE(log_prob_backward(cpu, a).ok());
    return out;
  }
};

// A row in float64: z relative to the maximum, log of the sum, entropy.
struct Exact {
  std::vector<double> log_p;
  double entropy = 0.0, magnitude = 0.0;
};
template <class T>
Exact exact_row(Batch<T>& batch, int64_t t) {
  Exact row;
  double top = -HUGE_VAL;
  for (int64_t v = 0; v < batch.vocab; ++v) {
    const double z =
        static_cast<double>(to_float(batch.at(t, v))) * static_cast<double>(batch.inv_temperature);
    row.log_p.push_back(z);
    top = std::max(top, z);
    if (isfinite(z)) row.magnitude = std::max(row.magnitude, fabs(z));
  }
  double sum = 0.0;
  for (const double z : row.log_p) sum += std::exp(z - top);
  for (double& z : row.log_p) {
    z = (z - top) - std::log(sum);
    if (z > -HUGE_VAL) row.entropy -= std::exp(z) * z;
  }
  return row;
}

// log2 sum exp2((x - m) c) for the m that forward chose, which backward relies on.
template <class T>
double exact_log2_sum(Batch<T>& batch, int64_t t) {
  const float scale =
      static_cast<float>(std::log2(std::exp(1.0)) * static_cast<double>(batch.inv_temperature));
  double sum = 0.0;
  for (int64_t v = 0; v < batch.vocab; ++v) {
    const double x = static_cast<double>(to_float(batch.at(t, v)));
    const double m = static_cast<double>(batch.stats[static_cast<size_t>(2 * t)]);
    sum += std::exp2((x - m) * static_cast<double>(scale));
  }
  return std::log2(sum);
}

// The contract's bound (log_prob.h); the statistics, being relative, have no magnitude in theirs.
template <class T>
void check_forward(Batch<T>& batch) {
  for (int64_t t = 0; t < batch.tokens; ++t) {
    const size_t row = static_cast<size_t>(t);
    const Exact want = exact_row(batch, t);
    const double bound = 2e-6 + 2e-7 * want.magnitude;
    const double log_p = want.log_p[static_cast<size_t>(batch.targets[row])];
    CHECK(fabs(static_cast<double>(batch.log_prob[row]) - log_p) <= bound);
    CHECK(fabs(static_cast<double>(batch.entropy[row]) - want.entropy) <= bound);
    CHECK(fabs(static_cast<double>(batch.stats[2 * row + 1]) - exact_log2_sum(batch, t)) <= 3e-6);
    CHECK(batch.log_prob[row] <= 0.0f);
    CHECK(batch.entropy[row] >= 0.0f);
  }
  CHECK(total(batch.faults) == 0);
}

template <class T>
void check_sizes_and_magnitudes() {
  // 1, 2: degenerate; 31: less than two vectors; 4095 .. 4097: the ends of blocks of every width;
  // 50,260: GPT-2's rows, not a multiple of 16; 151,936: Qwen's.
  for (const int64_t vocab : {1, 2, 31, 4095, 4096, 4097, 50260, 151936}) {
    INFO(vocab);
    Batch<T> batch(3, vocab);
    batch.inv_temperature = 1.0f / 0.7f;
    batch.fill(static_cast<unsigned>(vocab), 2.0f, 0.0f);
    batch.forward();
    check_forward(batch);
  }
  for (const float shift : {100.0f, -200.0f, 1e4f, -1e4f}) {
    INFO(shift);
    Batch<T> batch(3, 5000);
    batch.fill(5, 1.0f, shift);
    batch.forward();
    check_forward(batch);
  }
  Batch<T> wide(2, 5000);
  wide.fill(6, 3000.0f, 0.0f);
  wide.forward();
  check_forward(wide);
}
TEST_CASE("forward agrees with float64: sizes, magnitudes, dtypes") {
  check_sizes_and_magnitudes<float>();
  check_sizes_and_magnitudes<bf16>();
  check_sizes_and_magnitudes<f16>();
}

TEST_CASE("a vocabulary of one is certain: exactly 0") {
  Batch<float> batch(1, 1);
  batch.set(0, 0, -3.7f);
  batch.forward();
  CHECK(batch.log_prob[0] == 0.0f);
  CHECK(batch.entropy[0] == 0.0f);
  CHECK(batch.backward({1.0f}, {1.0f})[0] == 0.0f);
}

TEST_CASE("-inf is probability 0, also for whole blocks and the target") {
  Batch<float> batch(3, 9000);
  batch.fill(1, 1.0f, 0.0f);
  for (int64_t v = 0; v < 4500; ++v) batch.set(0, v, -kInfinity);     // starts with empty blocks
  for (int64_t v = 4000; v < 9000; ++v) batch.set(1, v, -kInfinity);  // ends with them
  for (int64_t v = 0; v < 9000; v += 2) batch.set(2, v, -kInfinity);
  batch.targets = {8000, 5, 17};
  batch.forward();
  check_forward(batch);

  batch.targets = {3, 8999, 4};
  batch.forward();
  for (int t = 0; t < 3; ++t) CHECK(batch.log_prob[static_cast<size_t>(t)] == -kInfinity);
  CHECK(total(batch.faults) == 0);

  const Array d = batch.backward({1.0f, 1.0f, 1.0f}, {0.5f, 0.5f, 0.5f});
  for (int64_t v = 1; v < 4500; ++v) {
    if (v != 3) CHECK(d[static_cast<size_t>(v)] == 0.0f);
  }
  CHECK(d[3] == 1.0f);  // its probability could still rise
}

TEST_CASE("the lowest float everywhere is a uniform row and not an overflow") {
  for (const float inv_temperature : {1.0f, 10.0f}) {
    Batch<float> batch(1, 5000);
    batch.inv_temperature = inv_temperature;
    for (int64_t v = 0; v < 5000; ++v) batch.set(0, v, kLowest);
    batch.forward();
    CHECK(static_cast<double>(batch.log_prob[0]) ==
          doctest::Approx(-std::log(5000.0)).epsilon(1e-6));
    CHECK(static_cast<double>(batch.entropy[0]) == doctest::Approx(std::log(5000.0)).epsilon(1e-6));
    CHECK(total(batch.faults) == 0);
    for (const float g : batch.backward({1.0f}, {1.0f})) CHECK(isfinite(g));

    batch.set(0, 17, -kLowest);
    batch.targets[0] = 17;
    batch.forward();
    CHECK(batch.log_prob[0] == 0.0f);
    CHECK(batch.entropy[0] == 0.0f);
    for (const float g : batch.backward({1.0f}, {1.0f})) CHECK(g == 0.0f);
  }
}

TEST_CASE("faulty rows become NaN, are counted, and harm no other row") {
  Batch<float> batch(9, 6000);
  batch.fill(2, 1.0f, 0.0f);
  Batch<float> clean = batch;
  clean.forward();
  batch.targets[1] = -1;
  batch.targets[2] = 6000;
  batch.set(3, 5999, kNaN);
  // A NaN among -inf, where a maximum alone would lose it, and one with a small payload.
  for (int64_t v = 0; v < 6000; ++v) batch.set(4, v, -kInfinity);
  batch.at(4, 100) = bits_float(0x7f800001u);
  batch.set(5, 4200, kInfinity);
  for (int64_t v = 0; v < 6000; ++v) batch.set(6, v, -kInfinity);
  batch.set(7, 0, kNaN);
  batch.forward();
  for (size_t t = 0; t < 9; ++t) {
    INFO(t);
    if (t == 0 || t == 8) {
      CHECK(batch.log_prob[t] == clean.log_prob[t]);
      CHECK(batch.entropy[t] == clean.entropy[t]);
    } else {
      CHECK(isnan(batch.log_prob[t]));
      CHECK(isnan(batch.entropy[t]));
      CHECK(isnan(batch.stats[2 * t]));
    }
  }
  const int id = static_cast<int>(Fault::id_out_of_range);
  const int number = static_cast<int>(Fault::not_a_number);
  const int support = static_cast<int>(Fault::no_support);
  CHECK(batch.faults.count[id] == 2);
  CHECK(batch.faults.first_row[id] == 1);
  CHECK(batch.faults.count[number] == 4);
  CHECK(batch.faults.first_row[number] == 3);
  CHECK(batch.faults.count[support] == 1);
  CHECK(batch.faults.first_row[support] == 6);

  const Array ones(9, 1.0f);
  const Array d = batch.backward(ones, ones);
  const Array want = clean.backward(ones, ones);
  for (int64_t t = 0; t < 9; ++t) {
    const size_t begin = static_cast<size_t>(t * 6000);
    if (t == 0 || t == 8) {
      CHECK(memcmp(&d[begin], &want[begin], 6000 * sizeof(float)) == 0);
    } else {
      CHECK(std::count(d.begin() + t * 6000, d.begin() + (t + 1) * 6000, 0.0f) == 6000);
    }
  }
}

TEST_CASE("what stands under a mask is never seen") {
  Batch<float> batch(2, 100);
  batch.fill(3, 1.0f, 0.0f);
  for (int64_t v = 0; v < 100; ++v) batch.set(0, v, kNaN);
  batch.targets[0] = -100;
  batch.mask[0] = 0;
  batch.forward();
  CHECK(batch.log_prob[0] == 0.0f);
  CHECK(batch.entropy[0] == 0.0f);
  CHECK(batch.stats[0] == 0.0f);
  CHECK(batch.stats[1] == 0.0f);
  CHECK(total(batch.faults) == 0);
  const Array d = batch.backward({kNaN, 1.0f}, {kNaN, 0.0f});
  for (size_t v = 0; v < 100; ++v) CHECK(float_bits(d[v]) == 0);
  CHECK(d[100] != 0.0f);
}

template <class T>
void check_independence() {
  const int64_t tokens = 40, vocab = 5003;  // odd, so that rows start at every alignment
  Batch<T> batch(tokens, vocab);
  batch.fill(4, 2.0f, 1.0f);
  batch.forward(1);
  const Array d_log_prob(40, 0.3f), d_entropy(40, -0.2f);
  const std::vector<T> d = batch.backward(d_log_prob, d_entropy);

  // Reversed, each row in a call of its own or in a batch with padding, on 1 to 3 threads.
  for (int threads = 1; threads <= 3; ++threads) {
    Batch<T> other(tokens, vocab, threads);
    for (int64_t t = 0; t < tokens; ++t) {
      memcpy(&other.at(tokens - 1 - t, 0), &batch.at(t, 0), static_cast<size_t>(vocab) * sizeof(T));
      other.targets[static_cast<size_t>(tokens - 1 - t)] = batch.targets[static_cast<size_t>(t)];
    }
    other.forward(threads);
    const std::vector<T> other_d = other.backward(d_log_prob, d_entropy);
    for (int64_t t = 0; t < tokens; ++t) {
      const size_t a = static_cast<size_t>(t), b = static_cast<size_t>(tokens - 1 - t);
      CHECK(float_bits(batch.log_prob[a]) == float_bits(other.log_prob[b]));
      CHECK(float_bits(batch.entropy[a]) == float_bits(other.entropy[b]));
      CHECK(memcmp(&batch.stats[2 * a], &other.stats[2 * b], 8) == 0);
      CHECK(memcmp(&d[a * static_cast<size_t>(vocab)],
                   &other_d[b * static_cast<size_t>(other.stride)],
                   static_cast<size_t>(vocab) * sizeof(T)) == 0);
    }
  }
  for (int64_t t = 0; t < tokens; t += 7) {
    Batch<T> single(1, vocab);
    memcpy(&single.at(0, 0), &batch.at(t, 0), static_cast<size_t>(vocab) * sizeof(T));
    single.targets[0] = batch.targets[static_cast<size_t>(t)];
    single.forward();
    CHECK(float_bits(single.log_prob[0]) == float_bits(batch.log_prob[static_cast<size_t>(t)]));
    CHECK(float_bits(single.entropy[0]) == float_bits(batch.entropy[static_cast<size_t>(t)]));
  }
}
TEST_CASE("a row's bits depend on the row alone: order, split, stride, threads") {
  check_independence<float>();
  check_independence<bf16>();
}

double exact_gradient(const Exact& row, int64_t v, int64_t target, double inv_temperature,
                      double d_log_prob, double d_entropy) {
  const double log_p = row.log_p[static_cast<size_t>(v)];
  const double p = std::exp(log_p);
  const double spread = p > 0.0 ? p * (log_p + row.entropy) : 0.0;
  return ((v == target ? 1.0 - p : -p) * d_log_prob - spread * d_entropy) * inv_temperature;
}

// half_ulp: of one rounding to the dtype, relative.
template <class T>
void check_backward(int64_t vocab, float shift, double half_ulp) {
  INFO(vocab);
  INFO(shift);
  Batch<T> batch(3, vocab);
  batch.inv_temperature = 1.25f;
  batch.fill(8, 2.0f, shift);
  batch.forward();
  const Array d_log_prob{0.7f, -1.3f, 0.0f}, d_entropy{0.0f, 0.4f, -0.9f};
  const std::vector<T> out = batch.backward(d_log_prob, d_entropy);
  const std::vector<T> same = batch.backward(d_log_prob, d_entropy, true);
  CHECK(memcmp(out.data(), same.data(), out.size() * sizeof(T)) == 0);
  for (int64_t t = 0; t < 3; ++t) {
    const size_t row = static_cast<size_t>(t);
    const Exact want = exact_row(batch, t);
    const double inv_temperature = static_cast<double>(batch.inv_temperature);
    const double a = static_cast<double>(d_log_prob[row]), b = static_cast<double>(d_entropy[row]);
    int wrong = 0;
    for (int64_t v = 0; v < vocab; ++v) {
      const double got = static_cast<double>(to_float(out[static_cast<size_t>(t * vocab + v)]));
      const double exact = exact_gradient(want, v, batch.targets[row], inv_temperature, a, b);
      // log p has an error of about 2^-24 (|log2 p| + |log2 sum|), and without a fused multiply-add
      // of 2^-24 |z| too. p inherits it relatively, log p + H absolutely, hence the 1. Tiny f16
      // results are subnormal: 2^-25 absolute.
      const double log_p = want.log_p[static_cast<size_t>(v)];
      const double relative = 1e-6 + 1.5e-7 * (fabs(log_p) + 12.0 + want.magnitude);
      const double size =
          std::exp(log_p) * (fabs(a) + fabs(b) * (fabs(log_p) + want.entropy + 1.0)) +
          (v == batch.targets[row] ? fabs(a) : 0.0);
      const double bound = relative * size * inv_temperature + half_ulp * fabs(exact) +
                           (sizeof(T) == 2 ? 0x1p-25 : 1e-37);
      wrong += !(fabs(got - exact) <= bound);
    }
    CHECK(wrong == 0);
  }
}
TEST_CASE("backward agrees with float64 and may overwrite the logits") {
  for (const int64_t vocab : {1, 2, 31, 4097, 50260}) {
    check_backward<float>(vocab, 0.0f, 6e-8);
    check_backward<bf16>(vocab, 0.0f, 0x1p-8);
    check_backward<f16>(vocab, 0.0f, 0x1p-11);
  }
  check_backward<float>(4097, 1e4f, 6e-8);
  check_backward<float>(4097, -300.0f, 6e-8);
}

// Central differences of the float64 loss: independent of any gradient formula. With h = 1e-3 their
// own error is about h^2 = 1e-6.
TEST_CASE("backward agrees with finite differences") {
  Batch<float> batch(2, 31);
  batch.inv_temperature = 0.8f;
  batch.fill(9, 1.5f, 0.0f);
  batch.forward();
  const Array d_log_prob{1.5f, -0.6f}, d_entropy{0.8f, 0.3f};
  const Array out = batch.backward(d_log_prob, d_entropy);
  for (int64_t t = 0; t < 2; ++t) {
    const size_t row = static_cast<size_t>(t);
    const auto loss = [&] {
      const Exact e = exact_row(batch, t);
      return static_cast<double>(d_log_prob[row]) *
                 e.log_p[static_cast<size_t>(batch.targets[row])] +
             static_cast<double>(d_entropy[row]) * e.entropy;
    };
    for (int64_t v = 0; v < 31; ++v) {
      const float x = batch.at(t, v);
      batch.at(t, v) = x + 0x1p-10f;
      const double high = static_cast<double>(batch.at(t, v)), above = loss();
      batch.at(t, v) = x - 0x1p-10f;
      const double low = static_cast<double>(batch.at(t, v)), below = loss();
      batch.at(t, v) = x;
      CHECK(static_cast<double>(out[static_cast<size_t>(t * 31 + v)]) ==
            doctest::Approx((above - below) / (high - low)).epsilon(1e-5).scale(1.0));
    }
  }
}

TEST_CASE("no tokens, no entropy wanted, no mask, other dtypes") {
  Batch<float> batch(4, 33);
  batch.fill(10, 1.0f, 0.0f);
  batch.forward();
  Threads cpu(2);
  LogProbArgs a = batch.args();
  const Array want = batch.log_prob;
  a.entropy = nullptr;
  a.mask = nullptr;
  std::fill(batch.log_prob.begin(), batch.log_prob.end(), 7.0f);
  CHECK(log_prob_forward(cpu, a).ok());
  CHECK(batch.log_prob == want);
  a.tokens = 0;
  a.log_prob = nullptr;
  CHECK(log_prob_forward(cpu, a).ok());
  a.dtype = DType::i32;
  CHECK(log_prob_forward(cpu, a).code == Code::dtype);

  // Without d_entropy nothing but d_log_prob counts.
  const Array d_log_prob(4, 0.5f), zeros(4, 0.0f);
  CHECK(batch.backward(d_log_prob, {}) == batch.backward(d_log_prob, zeros));
}

}  // namespace
}  // namespace firesteel
