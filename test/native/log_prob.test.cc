// log_prob on the CPU against a plain float64 loop.
#include "kernels/log_prob/log_prob.h"

#include <math.h>
#include <string.h>

#include <algorithm>
#include <numeric>

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
  return std::accumulate(word.count, word.count + kFaultKinds, 0u);
}
bool only(const FaultWord& word, Fault kind, uint32_t count, uint32_t first_row) {
  const int k = static_cast<int>(kind);
  return total(word) == count && word.count[k] == count && word.first_row[k] == first_row;
}

// A batch with everything a call needs. `T` is the element type of the logits.
template <class T>
struct Batch {
  int64_t tokens, vocab, stride;
  std::vector<T> logits;
  std::vector<int32_t> targets;
  std::vector<uint8_t> mask;
  float temperature = 1.0f;
  Array temperatures;  // of each row, where not empty
  Array log_prob, entropy, vocab_mean, stats;
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
        vocab_mean(static_cast<size_t>(tokens), 7.0f),
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
  void read(LogProbRows* rows) {
    rows->logits = logits.data();
    rows->dtype = dtype();
    rows->tokens = tokens;
    rows->vocab = vocab;
    rows->row_stride = stride;
    rows->targets = targets.data();
    rows->mask = mask.data();
    rows->temperature = temperature;
    rows->temperatures = temperatures.empty() ? nullptr : temperatures.data();
  }
  void write(LogProbOutputs* out) {
    out->log_prob = log_prob.data();
    out->entropy = entropy.data();
    out->vocab_mean = vocab_mean.data();
    out->stats = stats.data();
    out->faults = &faults;
  }
  LogProbArgs args() {
    LogProbArgs a{};
    read(&a);
    write(&a);
    return a;
  }
  void forward(int threads = 2) {
    Threads cpu(threads);
    REQUIRE(log_prob_forward(cpu, args()).ok());
  }
  // Of columns [begin, end), as a shard with rows `stride` apart holds them.
  std::vector<LogProbPartial> partial(int64_t begin, int64_t end) {
    Threads cpu(2);
    std::vector<LogProbPartial> out(static_cast<size_t>(tokens));
    LogProbPartialArgs a{};
    read(&a);
    a.logits = logits.data() + begin;
    a.vocab = end - begin;
    a.vocab_start = begin;
    a.partials = out.data();
    REQUIRE(log_prob_partial(cpu, a).ok());
    return out;
  }
  void merge(const std::vector<std::vector<LogProbPartial>>& shards, int threads = 2) {
    Threads cpu(threads);
    LogProbMergeArgs a{};
    write(&a);
    a.tokens = tokens;
    a.vocab = vocab;
    for (const auto& shard : shards) a.shards[a.shard_count++] = shard.data();
    REQUIRE(log_prob_merge(cpu, a).ok());
  }
  LogProbBackwardArgs backward_args(const Array& d_log_prob, const Array& d_entropy,
                                    const Array& d_vocab_mean) {
    const auto data = [](const Array& x) { return x.empty() ? nullptr : x.data(); };
    LogProbBackwardArgs a{};
    read(&a);
    a.whole_vocab = vocab;
    a.stats = stats.data();
    a.d_log_prob = data(d_log_prob);
    a.d_entropy = data(d_entropy);
    a.entropy = d_entropy.empty() ? nullptr : entropy.data();
    a.d_vocab_mean = data(d_vocab_mean);
    a.vocab_mean = d_vocab_mean.empty() ? nullptr : vocab_mean.data();
    a.d_row_stride = stride;
    a.faults = &faults;
    return a;
  }
  std::vector<T> backward(const Array& d_log_prob, const Array& d_entropy, bool in_place = false,
                          const Array& d_vocab_mean = {}) {
    Threads cpu(2);
    std::vector<T> out(logits.size(), from_float<T>(7.0f));
    if (in_place) out = logits;
    LogProbBackwardArgs a = backward_args(d_log_prob, d_entropy, d_vocab_mean);
    if (in_place) a.logits = out.data();
    a.d_logits = out.data();
    REQUIRE(log_prob_backward(cpu, a).ok());
    return out;
  }
};

// A row in float64: z relative to the maximum, log of the sum, entropy.
struct Exact {
  std::vector<double> log_p;
  double entropy = 0.0, vocab_mean = 0.0, magnitude = 0.0, inverse = 1.0;
};
template <class T>
Exact exact_row(Batch<T>& batch, int64_t t) {
  Exact row;
  const size_t at = static_cast<size_t>(t);
  row.inverse = 1.0 / static_cast<double>(batch.temperatures.empty() ? batch.temperature
                                                                     : batch.temperatures[at]);
  double top = -HUGE_VAL;
  for (int64_t v = 0; v < batch.vocab; ++v) {
    const double z = static_cast<double>(to_float(batch.at(t, v))) * row.inverse;
    row.log_p.push_back(z);
    top = std::max(top, z);
    if (isfinite(z)) row.magnitude = std::max(row.magnitude, fabs(z));
  }
  double sum = 0.0;
  for (const double z : row.log_p) sum += std::exp(z - top);
  for (double& z : row.log_p) {
    z = (z - top) - std::log(sum);
    if (z > -HUGE_VAL) row.entropy -= std::exp(z) * z;
    row.vocab_mean += z / static_cast<double>(batch.vocab);
  }
  return row;
}

// log2 sum exp2((x - m) c) for the m that forward chose, which backward relies on.
template <class T>
double exact_log2_sum(Batch<T>& batch, int64_t t) {
  const size_t at = static_cast<size_t>(t);
  const float inverse =
      1.0f / (batch.temperatures.empty() ? batch.temperature : batch.temperatures[at]);
  const float scale = static_cast<float>(std::log2(std::exp(1.0)) * static_cast<double>(inverse));
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
    const double mean = static_cast<double>(batch.vocab_mean[row]);
    CHECK((mean == want.vocab_mean || fabs(mean - want.vocab_mean) <= bound));
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
    batch.temperature = 0.7f;
    batch.fill(static_cast<unsigned>(vocab), 2.0f, 0.0f);
    batch.forward();
    check_forward(batch);
    batch.temperatures = {0.3f, 1.0f, 7.0f};
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

// Blocks are summed around the largest logit before them: by little above it, by much, by more than
// a float's range, below it, and behind blocks of nothing.
TEST_CASE("rows that climb, fall and begin with nothing agree with float64") {
  constexpr int64_t kStep = 1024, kVocab = 9 * kStep + 5;
  for (const float climb : {1.0f, 9.0f, 12.0f, 30.0f, 200.0f, -1.0f, -30.0f, -200.0f}) {
    INFO(climb);
    Batch<float> batch(3, kVocab);
    batch.fill(11, 1.0f, 0.0f);
    for (int64_t v = 0; v < kVocab; ++v) {
      const float step = static_cast<float>(v / kStep);
      batch.at(0, v) += climb * step;
      batch.at(1, v) = v < 5 * kStep ? -kInfinity : batch.at(1, v) + climb;
      batch.at(2, v) += v == 7 * kStep ? 10.0f * climb : 0.0f;
    }
    batch.targets = {static_cast<int32_t>(kVocab - 1), static_cast<int32_t>(6 * kStep), 3};
    batch.forward();
    check_forward(batch);
  }
}

TEST_CASE("NaN and infinity anywhere in a row are found") {
  constexpr int64_t kVocab = 8 * 1024 + 3;
  for (const int64_t at : {int64_t{0}, int64_t{1500}, int64_t{5000}, kVocab - 1}) {
    for (const float bad : {kNaN, -kNaN, kInfinity}) {
      INFO(at, " ", bad);
      Batch<float> batch(1, kVocab);
      batch.fill(12, 1.0f, 0.0f);
      batch.at(0, at) = bad;
      batch.forward();
      CHECK(only(batch.faults, Fault::not_a_number, 1, 0));
    }
  }
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
  for (const float temperature : {1.0f, 0.1f}) {
    Batch<float> batch(1, 5000);
    batch.temperature = temperature;
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
      CHECK(float_bits(batch.vocab_mean[a]) == float_bits(other.vocab_mean[b]));
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

double exact_gradient(const Exact& row, int64_t v, int64_t target, double d_log_prob,
                      double d_entropy, double d_vocab_mean) {
  const double log_p = row.log_p[static_cast<size_t>(v)];
  const double p = std::exp(log_p);
  const double spread = p > 0.0 ? p * (log_p + row.entropy) : 0.0;
  const double even = 1.0 / static_cast<double>(row.log_p.size()) - p;
  return ((v == target ? 1.0 - p : -p) * d_log_prob - spread * d_entropy + even * d_vocab_mean) *
         row.inverse;
}

// half_ulp: of one rounding to the dtype, relative.
template <class T>
void check_gradient(Batch<T>& batch, const std::vector<T>& out, const Array& d_log_prob,
                    const Array& d_entropy, const Array& d_vocab_mean, double half_ulp) {
  for (int64_t t = 0; t < batch.tokens; ++t) {
    const size_t row = static_cast<size_t>(t);
    const Exact want = exact_row(batch, t);
    const double a = static_cast<double>(d_log_prob[row]), b = static_cast<double>(d_entropy[row]);
    const double c = static_cast<double>(d_vocab_mean[row]);
    int wrong = 0;
    for (int64_t v = 0; v < batch.vocab; ++v) {
      const T bits = out[static_cast<size_t>(t * batch.stride + v)];
      const double got = static_cast<double>(to_float(bits));
      const double exact = exact_gradient(want, v, batch.targets[row], a, b, c);
      // log p has an error of about 2^-24 (|log2 p| + |log2 sum|), and without a fused multiply-add
      // of 2^-24 |z| too. p inherits it relatively, log p + H absolutely, hence the 1. Tiny f16
      // results are subnormal: 2^-25 absolute.
      const double log_p = want.log_p[static_cast<size_t>(v)];
      const double relative = 1e-6 + 1.5e-7 * (fabs(log_p) + 12.0 + want.magnitude);
      const double size =
          std::exp(log_p) * (fabs(a) + fabs(c) + fabs(b) * (fabs(log_p) + want.entropy + 1.0)) +
          fabs(c) / static_cast<double>(batch.vocab) + (v == batch.targets[row] ? fabs(a) : 0.0);
      const double bound = relative * size * want.inverse + half_ulp * fabs(exact) +
                           (sizeof(T) == 2 ? 0x1p-25 : 1e-37);
      wrong += !(fabs(got - exact) <= bound);
    }
    CHECK(wrong == 0);
  }
}
template <class T>
void check_backward(int64_t vocab, float shift, double half_ulp) {
  INFO(vocab);
  INFO(shift);
  Batch<T> batch(3, vocab);
  batch.temperature = 0.8f;
  batch.fill(8, 2.0f, shift);
  const Array d_log_prob{0.7f, -1.3f, 0.0f}, d_entropy{0.0f, 0.4f, -0.9f};
  const Array d_vocab_mean{-0.6f, 0.0f, 1.2f};
  for (const Array& temperatures : {Array{}, Array{0.6f, 2.5f, 1.0f}}) {
    batch.temperatures = temperatures;
    batch.forward();
    const std::vector<T> out = batch.backward(d_log_prob, d_entropy, false, d_vocab_mean);
    const std::vector<T> same = batch.backward(d_log_prob, d_entropy, true, d_vocab_mean);
    CHECK(memcmp(out.data(), same.data(), out.size() * sizeof(T)) == 0);
    check_gradient(batch, out, d_log_prob, d_entropy, d_vocab_mean, half_ulp);
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
  batch.temperatures = {1.25f, 0.9f};
  batch.fill(9, 1.5f, 0.0f);
  batch.forward();
  const Array d_log_prob{1.5f, -0.6f}, d_entropy{0.8f, 0.3f}, d_vocab_mean{-0.4f, 1.1f};
  const Array out = batch.backward(d_log_prob, d_entropy, false, d_vocab_mean);
  for (int64_t t = 0; t < 2; ++t) {
    const size_t row = static_cast<size_t>(t);
    const auto loss = [&] {
      const Exact e = exact_row(batch, t);
      return static_cast<double>(d_log_prob[row]) *
                 e.log_p[static_cast<size_t>(batch.targets[row])] +
             static_cast<double>(d_entropy[row]) * e.entropy +
             static_cast<double>(d_vocab_mean[row]) * e.vocab_mean;
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
  a.entropy = a.vocab_mean = nullptr;
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

// ---- temperatures of rows

TEST_CASE("one temperature and an array of it give the same bits") {
  for (const float temperature : {0.7f, 1.0f, 1e-30f, 3e-3f, 1e30f}) {
    Batch<bf16> one(3, 500);
    one.temperature = temperature;
    one.fill(11, 1.0f, 0.0f);
    Batch<bf16> each = one;
    each.temperature = kNaN;
    each.temperatures = Array(3, temperature);
    one.forward();
    each.forward();
    CHECK(same_bits(one.log_prob, each.log_prob));
    CHECK(same_bits(one.entropy, each.entropy));
    CHECK(same_bits(one.vocab_mean, each.vocab_mean));
    CHECK(same_bits(one.stats, each.stats));
    const Array d(3, 0.5f);
    const std::vector<bf16> a = one.backward(d, d, false, d), b = each.backward(d, d, false, d);
    CHECK(memcmp(a.data(), b.data(), a.size() * sizeof(bf16)) == 0);
  }
}

TEST_CASE("a temperature out of range is a fault of its row, forward and backward") {
  Batch<float> batch(8, 100);
  batch.fill(12, 1.0f, 0.0f);
  batch.temperatures = Array(8, 1.0f);
  batch.forward();
  const Batch<float> clean = batch;
  const Array ones(8, 1.0f);
  const Array want = batch.backward(ones, ones, false, ones);

  batch.temperatures = {1.0f, 0.0f, -1.0f, kNaN, kInfinity, 9e-31f, 1.1e30f, -0.0f};
  // Statistics that are numbers: the backward pass sees it by itself.
  const Array late = batch.backward(ones, ones, false, ones);
  CHECK(only(batch.faults, Fault::parameter_out_of_range, 7, 1));
  batch.faults = no_faults();
  batch.forward();
  CHECK(only(batch.faults, Fault::parameter_out_of_range, 7, 1));
  batch.faults = no_faults();
  const Array usual = batch.backward(ones, ones, false, ones);
  CHECK(total(batch.faults) == 0);  // has been said
  for (size_t t = 1; t < 8; ++t) {
    CHECK(isnan(batch.log_prob[t]));
    CHECK(isnan(batch.vocab_mean[t]));
  }
  CHECK(batch.log_prob[0] == clean.log_prob[0]);
  for (const Array& d : {late, usual}) {
    CHECK(memcmp(d.data(), want.data(), 100 * sizeof(float)) == 0);
    CHECK(std::count(d.begin() + 100, d.end(), 0.0f) == 700);
  }
}

// ---- memory

TEST_CASE("nothing outside of the columns is read or written, wherever the rows lie") {
  for (const int64_t vocab : {1, 7, 31, 33, 4100}) {
    for (const int64_t stride : {vocab, vocab + 1, vocab + 16}) {
      const Array values = random_array(3 * vocab, 13);
      Padded logits(3, vocab, stride, values), gradient(3, vocab, stride + 3);
      Batch<float> batch(3, vocab);
      std::copy(values.begin(), values.end(), batch.logits.begin());
      const Array d(3, 0.5f);
      LogProbArgs f = batch.args();
      f.logits = logits.data();
      f.row_stride = stride;
      Threads cpu(2);
      REQUIRE(log_prob_forward(cpu, f).ok());
      check_forward(batch);
      LogProbBackwardArgs b = batch.backward_args(d, d, d);
      b.logits = logits.data();
      b.row_stride = stride;
      b.d_logits = gradient.data();
      b.d_row_stride = gradient.stride;
      REQUIRE(log_prob_backward(cpu, b).ok());
      CHECK(gradient.intact());
      CHECK(same_bits(gradient.values(), batch.backward(d, d, false, d)));
      b.d_logits = logits.data();
      b.d_row_stride = stride;
      REQUIRE(log_prob_backward(cpu, b).ok());
      CHECK(logits.intact());
      CHECK(same_bits(logits.values(), gradient.values()));
    }
  }
}

TEST_CASE("targets out of range beside statistics of another call reach no memory") {
  Padded logits(2, 9, 9, Array(18, 0.5f));
  Batch<float> batch(2, 9);
  batch.stats = {0.5f, 3.0f, 0.5f, 3.0f};
  batch.targets = {1 << 30, -(1 << 30)};
  const Array d(2, 1.0f);
  LogProbBackwardArgs b = batch.backward_args(d, {}, {});
  b.logits = b.d_logits = logits.data();
  Threads cpu(1);
  REQUIRE(log_prob_backward(cpu, b).ok());
  CHECK(logits.intact());
  CHECK(distance(logits.values(), Array(18, -0.125f), 1e-7, 0.0) <= 1.0);
}

// ---- shards

template <class T>
void check_shards(const std::vector<int64_t>& bounds, bool masked) {
  const int64_t vocab = bounds.back();
  const size_t count = bounds.size() - 1;
  Batch<T> batch(static_cast<int64_t>(count), vocab, 3);
  batch.fill(14, 2.0f, 0.0f);
  // The target of row t is the last column of shard t.
  for (size_t t = 0; t < count; ++t) batch.targets[t] = static_cast<int32_t>(bounds[t + 1] - 1);
  batch.temperatures = random_array(static_cast<int64_t>(count), 15, 0.5f, 2.0f);
  if (masked) batch.mask[0] = 0;
  std::vector<std::vector<LogProbPartial>> shards;
  for (size_t i = 0; i < count; ++i) shards.push_back(batch.partial(bounds[i], bounds[i + 1]));
  batch.merge(shards);
  CHECK(total(batch.faults) == 0);
  if (masked) {
    CHECK(batch.log_prob[0] == 0.0f);
    CHECK(batch.vocab_mean[0] == 0.0f);
    CHECK(batch.stats[0] == 0.0f);
    return;
  }
  check_forward(batch);
  const Batch<T> first = batch;
  batch.merge(shards, 1);
  CHECK(same_bits(batch.log_prob, first.log_prob));
  CHECK(same_bits(batch.entropy, first.entropy));

  const Array d = random_array(static_cast<int64_t>(count), 16);
  const std::vector<T> whole = batch.backward(d, d, false, d);
  std::vector<T> out(batch.logits.size(), from_float<T>(7.0f));
  Threads cpu(2);
  for (size_t i = 0; i < count; ++i) {
    LogProbBackwardArgs a = batch.backward_args(d, d, d);
    a.logits = batch.logits.data() + bounds[i];
    a.d_logits = out.data() + bounds[i];
    a.vocab = bounds[i + 1] - bounds[i];
    a.vocab_start = bounds[i];
    REQUIRE(log_prob_backward(cpu, a).ok());
  }
  // One by one the elements are the same function of the same statistics.
  CHECK(memcmp(out.data(), whole.data(), out.size() * sizeof(T)) == 0);
}
TEST_CASE("shards of the vocabulary add up to the whole, forward and backward") {
  check_shards<float>({0, 2500, 5000}, false);
  check_shards<bf16>({0, 1, 4997, 5000}, false);
  check_shards<f16>({0, 11, 12, 40, 41, 90, 700, 701, 800}, false);
  check_shards<float>({0, 1, 2, 3}, false);
  check_shards<bf16>({0, 33, 70}, true);
}

TEST_CASE("one shard gives the bits of forward, faults included") {
  Batch<float> batch(8, 5000);
  batch.fill(17, 2.0f, 0.0f);
  batch.temperatures = {0.5f, 1.0f, 3.0f, 0.0f, 1.0f, 1.0f, 1.0f, 1.0f};
  batch.targets[4] = -1;
  batch.set(5, 17, kNaN);
  for (int64_t v = 0; v < 5000; ++v) batch.set(6, v, -kInfinity);
  batch.mask[7] = 0;
  Batch<float> merged = batch;
  batch.forward();
  merged.merge({merged.partial(0, 5000)});
  CHECK(same_bits(merged.log_prob, batch.log_prob));
  CHECK(same_bits(merged.entropy, batch.entropy));
  CHECK(same_bits(merged.vocab_mean, batch.vocab_mean));
  CHECK(same_bits(merged.stats, batch.stats));
  CHECK(memcmp(&merged.faults, &batch.faults, sizeof(FaultWord)) == 0);
  CHECK(total(batch.faults) == 4);
}

TEST_CASE("a fault in one shard, or between shards, is its row's alone") {
  Batch<float> batch(6, 90);
  batch.fill(18, 1.0f, 0.0f);
  batch.temperatures = Array(6, 0.9f);
  for (size_t t = 0; t < 6; ++t) batch.targets[t] = static_cast<int32_t>(15 * t);
  Batch<float> clean = batch;
  clean.merge({clean.partial(0, 30), clean.partial(30, 60), clean.partial(60, 90)});

  batch.targets[1] = 90;
  batch.set(2, 45, kInfinity);
  for (int64_t v = 0; v < 90; ++v) batch.set(3, v, -kInfinity);
  const auto first = batch.partial(0, 30);
  batch.temperatures[4] = 0.8f;
  const auto second = batch.partial(30, 60);
  batch.temperatures[4] = 0.9f;
  batch.mask[5] = 0;
  const auto third = batch.partial(60, 90);
  CHECK(total(batch.faults) == 0);
  batch.merge({first, second, third});
  CHECK(batch.log_prob[0] == clean.log_prob[0]);
  for (size_t t = 1; t < 6; ++t) CHECK(isnan(batch.log_prob[t]));
  for (const Fault kind : {Fault::id_out_of_range, Fault::not_a_number, Fault::no_support}) {
    CHECK(batch.faults.count[static_cast<int>(kind)] == 1);
  }
  CHECK(batch.faults.first_row[static_cast<int>(Fault::id_out_of_range)] == 1);
  CHECK(batch.faults.count[static_cast<int>(Fault::parameter_out_of_range)] == 2);
  CHECK(batch.faults.first_row[static_cast<int>(Fault::parameter_out_of_range)] == 4);
}

TEST_CASE("what asks for no vocabulary mean gets the same bits without") {
  Batch<float> batch(3, 5000);
  batch.fill(19, 1.0f, 1e4f);
  batch.forward();
  check_forward(batch);
  const Batch<float> all = batch;
  LogProbArgs a = batch.args();
  a.vocab_mean = nullptr;
  Threads cpu(2);
  REQUIRE(log_prob_forward(cpu, a).ok());
  CHECK(same_bits(batch.log_prob, all.log_prob));
  CHECK(same_bits(batch.entropy, all.entropy));
  CHECK(same_bits(batch.stats, all.stats));
}

}  // namespace
}  // namespace firesteel
