// log_prob's CUDA kernels on the emulator against a float64 loop.
#include <doctest/doctest.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "kernels/log_prob/log_prob.h"
#include "runtime/cuda/context.h"
#include "runtime/scalar.h"

namespace firesteel {
namespace {

constexpr float kInf = INFINITY;

// Logits in any dtype, kept as the floats that the dtype can hold.
struct Rows {
  DType dtype;
  int64_t tokens, vocab, stride;
  std::vector<float> f32;
  std::vector<uint16_t> half;

  Rows(DType t, int64_t n, int64_t v, int64_t s) : dtype(t), tokens(n), vocab(v), stride(s) {
    const size_t count = static_cast<size_t>(n * s + 1);  // one more, to start at an odd address
    f32.assign(count, NAN);                               // what lies between rows is NaN
    half.assign(count, 0xffff);
  }
  void set(int64_t row, int64_t v, float x) {
    const size_t at = static_cast<size_t>(row * stride + v);
    if (dtype == DType::bf16) half[at] = from_float<bf16>(x).bits;
    if (dtype == DType::f16) half[at] = from_float<f16>(x).bits;
    if (dtype == DType::f32) f32[at] = x;
  }
  float get(int64_t row, int64_t v) const {
    const size_t at = static_cast<size_t>(row * stride + v);
    if (dtype == DType::bf16) return to_float(bf16{half[at]});
    if (dtype == DType::f16) return to_float(f16{half[at]});
    return f32[at];
  }
  void* data() {
    return dtype == DType::f32 ? static_cast<void*>(f32.data()) : static_cast<void*>(half.data());
  }
};

Rows random_rows(DType dtype, int64_t tokens, int64_t vocab, int64_t stride, float spread,
                 float shift, unsigned seed) {
  Rows rows(dtype, tokens, vocab, stride);
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, spread);
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t v = 0; v < vocab; ++v) rows.set(t, v, normal(random) + shift);
    // Without outliers every probability is about 1 / V and gradients prove nothing.
    for (int64_t k = 1; k <= 3; ++k) {
      const int64_t v = (t * 7 + k * vocab / 4) % vocab;
      rows.set(t, v, rows.get(t, v) + 2.0f * spread * static_cast<float>(k));
    }
  }
  return rows;
}

struct Forward {
  std::vector<float> log_prob, entropy, vocab_mean, stats;
  FaultWord faults;

  explicit Forward(int64_t tokens)
      : log_prob(static_cast<size_t>(tokens), -7.0f),
        entropy(log_prob),
        vocab_mean(log_prob),
        stats(static_cast<size_t>(2 * tokens), -7.0f) {
    std::fill_n(faults.count, kFaultKinds, 0u);
    std::fill_n(faults.first_row, kFaultKinds, ~0u);
  }
  void write(LogProbOutputs* out) {
    out->log_prob = log_prob.data();
    out->entropy = entropy.data();
    out->vocab_mean = vocab_mean.data();
    out->stats = stats.data();
    out->faults = &faults;
  }
};

void read(LogProbRows* a, Rows& rows, const std::vector<int32_t>& targets,
          const std::vector<uint8_t>& mask, float temperature,
          const std::vector<float>& temperatures = {}) {
  a->logits = rows.data();
  a->dtype = rows.dtype;
  a->tokens = rows.tokens;
  a->vocab = rows.vocab;
  a->row_stride = rows.stride;
  a->targets = targets.data();
  a->mask = mask.empty() ? nullptr : mask.data();
  a->temperature = temperature;
  a->temperatures = temperatures.empty() ? nullptr : temperatures.data();
}

void must(const Status& status) {
  CAPTURE(status.message);
  REQUIRE(status.ok());
}

Forward forward(Context& context, Rows& rows, const std::vector<int32_t>& targets,
                const std::vector<uint8_t>& mask, float temperature,
                const std::vector<float>& temperatures = {}) {
  Forward out(rows.tokens);
  LogProbArgs a{};
  read(&a, rows, targets, mask, temperature, temperatures);
  out.write(&a);
  must(log_prob_forward(context, a));
  return out;
}

// The columns between `bounds` as shards of one vocabulary, merged.
Forward sharded(Context& context, Rows& rows, const std::vector<int32_t>& targets,
                const std::vector<uint8_t>& mask, const std::vector<float>& temperatures,
                const std::vector<int64_t>& bounds) {
  std::vector<std::vector<LogProbPartial>> partials(bounds.size() - 1);
  LogProbMergeArgs merge{};
  for (size_t i = 0; i + 1 < bounds.size(); ++i) {
    partials[i].resize(static_cast<size_t>(rows.tokens));
    LogProbPartialArgs a{};
    read(&a, rows, targets, mask, 1.0f, temperatures);
    a.logits = static_cast<const char*>(a.logits) + bounds[i] * size_of(rows.dtype);
    a.vocab = bounds[i + 1] - bounds[i];
    a.vocab_start = bounds[i];
    a.partials = partials[i].data();
    must(log_prob_partial(context, a));
    merge.shards[merge.shard_count++] = partials[i].data();
  }
  Forward out(rows.tokens);
  out.write(&merge);
  merge.tokens = rows.tokens;
  merge.vocab = rows.vocab;
  must(log_prob_merge(context, merge));
  return out;
}

struct Exact {
  double log_prob, entropy, vocab_mean, largest;  // largest |z|
  std::vector<double> p, log_p;
};

Exact exact(const Rows& rows, int64_t row, int32_t target, float temperature) {
  const double scale = 1.0 / static_cast<double>(temperature);
  Exact e{};
  double top = -HUGE_VAL, sum = 0.0;
  for (int64_t v = 0; v < rows.vocab; ++v) {
    const double z = static_cast<double>(rows.get(row, v)) * scale;
    top = std::max(top, z);
    if (std::isfinite(z)) e.largest = std::max(e.largest, std::fabs(z));
  }
  for (int64_t v = 0; v < rows.vocab; ++v) {
    sum += std::exp(static_cast<double>(rows.get(row, v)) * scale - top);
  }
  const double lse = std::log(sum);
  for (int64_t v = 0; v < rows.vocab; ++v) {
    const double log_p = static_cast<double>(rows.get(row, v)) * scale - top - lse;
    e.log_p.push_back(log_p);
    e.p.push_back(std::exp(log_p));
    if (e.p.back() > 0.0) e.entropy -= e.p.back() * log_p;
    e.vocab_mean += log_p / static_cast<double>(rows.vocab);
  }
  e.log_prob = e.log_p[static_cast<size_t>(target)];
  return e;
}

std::vector<int32_t> some_targets(int64_t tokens, int64_t vocab) {
  std::vector<int32_t> targets;
  for (int64_t t = 0; t < tokens; ++t) {
    targets.push_back(static_cast<int32_t>(t == 0 ? 0 : t == 1 ? vocab - 1 : t * 7 % vocab));
  }
  return targets;
}

void compare(const Rows& rows, const std::vector<int32_t>& targets, const Forward& got,
             const std::vector<float>& temperatures) {
  for (int64_t t = 0; t < rows.tokens; ++t) {
    const size_t i = static_cast<size_t>(t);
    CAPTURE(rows.vocab);
    CAPTURE(t);
    const Exact want = exact(rows, t, targets[i], temperatures[i]);
    const double tolerance = 2e-6 + 2e-7 * want.largest;  // as the contract says
    CHECK(std::fabs(static_cast<double>(got.log_prob[i]) - want.log_prob) <= tolerance);
    CHECK(std::fabs(static_cast<double>(got.entropy[i]) - want.entropy) <= tolerance);
    CHECK(std::fabs(static_cast<double>(got.vocab_mean[i]) - want.vocab_mean) <=
          tolerance + 3e-7 * want.largest);
    const float c =
        static_cast<float>(1.4426950408889634 * static_cast<double>(1.0f / temperatures[i]));
    const double log2_p =
        (static_cast<double>(rows.get(t, targets[i])) - static_cast<double>(got.stats[2 * i])) *
            static_cast<double>(c) -
        static_cast<double>(got.stats[2 * i + 1]);
    CHECK(std::fabs(log2_p * 0.6931471805599453 - want.log_prob) <= 2.0 * tolerance);
  }
  for (int k = 0; k < kFaultKinds; ++k) CHECK(got.faults.count[k] == 0);
}

void check_forward(Context& context, Rows& rows, float temperature) {
  const std::vector<int32_t> targets = some_targets(rows.tokens, rows.vocab);
  const std::vector<float> all(static_cast<size_t>(rows.tokens), temperature);
  compare(rows, targets, forward(context, rows, targets, {}, temperature), all);
}

Context card(int max_cluster) {
  Context context;
  context.max_cluster = max_cluster;
  return context;
}

const DType kTypes[] = {DType::f32, DType::bf16, DType::f16};

// 1 and 2: less than a pack; 384 and 768: one segment of f32 and of 16 bits, with 1 element less
// and 8 more, from where on a segment is whole wherever the row starts; 1000 and 4099: packs that
// end inside a row; 3072: two parts of whole segments.
const int64_t kVocabs[] = {1, 2, 31, 33, 257, 383, 384, 392, 767, 768, 776, 1000, 3072, 4099};

TEST_CASE("forward agrees with float64 for every dtype and size") {
  Context context = card(8);
  for (DType dtype : kTypes) {
    for (int64_t vocab : kVocabs) {
      Rows rows = random_rows(dtype, 4, vocab, vocab, 3.0f, 0.0f, 1);
      check_forward(context, rows, 1.0f);
      Rows strided = random_rows(dtype, 3, vocab, vocab + 5, 1.0f, 0.0f, 2);
      check_forward(context, strided, 0.7f);
    }
  }
}

TEST_CASE("long rows: clusters of blocks, and one block of many warps") {
  for (int max_cluster : {8, 1}) {
    Context context = card(max_cluster);
    for (DType dtype : kTypes) {
      Rows two = random_rows(dtype, 3, 20000, 20000, 3.0f, 0.0f, 3);
      check_forward(context, two, 1.0f);
      Rows eight = random_rows(dtype, 2, 70001, 70001, 3.0f, 0.0f, 4);
      check_forward(context, eight, 1.0f);
    }
  }
}

TEST_CASE("shifts of the logits cost no accuracy beyond the logits' own") {
  Context context = card(8);
  for (float shift : {100.0f, -200.0f, 1000.0f, -30000.0f}) {
    for (float temperature : {1.0f, 10.0f, 0.1f}) {
      Rows rows = random_rows(DType::f32, 3, 777, 777, 2.0f, shift, 5);
      check_forward(context, rows, temperature);
    }
  }
}

TEST_CASE("the rounding of the row's base does not reach its log-probs") {
  Context context = card(8);
  Rows rows = random_rows(DType::f32, 3, 777, 777, 2.0f, 5000.0f, 5);
  const std::vector<int32_t> targets = some_targets(3, 777);
  const Forward got = forward(context, rows, targets, {}, 0.9f);
  for (size_t t = 0; t < 3; ++t) {
    const Exact want = exact(rows, static_cast<int64_t>(t), targets[t], 0.9f);
    // Distances from the maximum are below 40 here, and that is what may cost accuracy.
    CHECK(std::fabs(static_cast<double>(got.log_prob[t]) - want.log_prob) <= 2e-6 + 2e-7 * 40.0);
    CHECK(std::fabs(static_cast<double>(got.entropy[t]) - want.entropy) <= 2e-6);
  }
}

TEST_CASE("no logits are too large and no temperature too small") {
  for (int max_cluster : {8, 1}) {
    Context context = card(max_cluster);
    for (DType dtype : {DType::f32, DType::bf16}) {
      for (int64_t vocab : {int64_t{45}, int64_t{20001}}) {
        Rows rows = random_rows(dtype, 6, vocab, vocab, 2.0f, 0.0f, 6);
        for (int64_t v = 0; v < vocab; ++v) {
          rows.set(1, v, -3e38f);
          rows.set(2, v, 1e9f);
          rows.set(3, v, v % 2 == 0 ? 3e38f : -3e38f);
          rows.set(4, v, 0x1.8p25f - (v % 3 == 0 ? 0.0f : 0x1p19f));  // on both sides of kFar
        }
        rows.set(5, 7, NAN);
        const std::vector<float> temperatures = {1e-30f, 1.0f, 1e-10f, 1e-3f, 0x1p18f, 1e-20f};
        const std::vector<int32_t> targets = {0, 5, 5, 4, 3, 5};
        const Forward got = forward(context, rows, targets, {}, 1.0f, temperatures);
        for (size_t t = 0; t < 5; ++t) {
          CAPTURE(t);
          const Exact want = exact(rows, static_cast<int64_t>(t), targets[t], temperatures[t]);
          CHECK((got.log_prob[t] == static_cast<float>(want.log_prob) ||
                 static_cast<double>(got.log_prob[t]) ==
                     doctest::Approx(want.log_prob).epsilon(1e-6)));
          CHECK(static_cast<double>(got.entropy[t]) == doctest::Approx(want.entropy).epsilon(1e-6));
        }
        CHECK(std::isnan(got.log_prob[5]));
        CHECK(got.faults.count[static_cast<int>(Fault::not_a_number)] == 1);
        const Forward shards = sharded(context, rows, targets, {}, temperatures, {0, 9, 30, vocab});
        for (size_t t = 0; t < 5; ++t) {
          CHECK((shards.log_prob[t] == got.log_prob[t] ||
                 shards.log_prob[t] == doctest::Approx(got.log_prob[t]).epsilon(1e-6)));
        }
      }
    }
  }
}

TEST_CASE("a row's result does not depend on where it lies or on the order of threads") {
  Context context = card(8);
  for (DType dtype : kTypes) {
    for (int64_t vocab : {int64_t{257}, int64_t{1000}, int64_t{20008}}) {
      Rows one = random_rows(dtype, 1, vocab, vocab, 3.0f, 0.0f, 6);
      const int32_t target = static_cast<int32_t>(vocab / 2);
      const Forward want = forward(context, one, {target}, {}, 0.8f);
      Rows many(dtype, 5, vocab, vocab + 1);
      for (int64_t t = 0; t < 5; ++t) {
        for (int64_t v = 0; v < vocab; ++v) many.set(t, v, one.get(0, v));
      }
      for (const char* order : {"forward", "reverse", "random:3"}) {
        setenv("FIRESTEEL_EMULATOR_ORDER", order, 1);
        const Forward got = forward(context, many, std::vector<int32_t>(5, target), {}, 0.8f);
        for (size_t t = 0; t < 5; ++t) {
          CHECK(got.log_prob[t] == want.log_prob[0]);
          CHECK(got.entropy[t] == want.entropy[0]);
          CHECK(got.vocab_mean[t] == want.vocab_mean[0]);
          CHECK(got.stats[2 * t] == want.stats[0]);
          CHECK(got.stats[2 * t + 1] == want.stats[1]);
        }
      }
      unsetenv("FIRESTEEL_EMULATOR_ORDER");
    }
  }
}

TEST_CASE("a row has the same bits with any number of blocks and warps, and wherever it starts") {
  for (DType dtype : kTypes) {
    // 128 parts of f32 and 64 of 16 bits, the last segment of them 1 element.
    const int64_t vocab = 384 * 260 + 1;
    Rows one = random_rows(dtype, 1, vocab, vocab, 3.0f, 0.0f, 6);
    const int32_t target = static_cast<int32_t>(vocab / 3);
    Context first = card(8);
    const Forward want = forward(first, one, {target}, {}, 0.8f);
    check_forward(first, one, 1.0f);
    Rows many(dtype, 9, vocab, vocab + 1);  // every start of a row
    for (int64_t t = 0; t < 9; ++t) {
      for (int64_t v = 0; v < vocab; ++v) many.set(t, v, one.get(0, v));
    }
    // sm_count 1: as if rows were many, so that few blocks share one.
    for (int max_cluster : {1, 2, 4, 8}) {
      for (int sm_count : {1, 132}) {
        Context context = card(max_cluster);
        context.sm_count = sm_count;
        CAPTURE(max_cluster);
        CAPTURE(sm_count);
        const Forward got = forward(context, many, std::vector<int32_t>(9, target), {}, 0.8f);
        for (size_t t = 0; t < 9; ++t) {
          CHECK(got.log_prob[t] == want.log_prob[0]);
          CHECK(got.entropy[t] == want.entropy[0]);
          CHECK(got.vocab_mean[t] == want.vocab_mean[0]);
          CHECK(got.stats[2 * t] == want.stats[0]);
          CHECK(got.stats[2 * t + 1] == want.stats[1]);
        }
      }
    }
  }
}

TEST_CASE("logits of -inf have no probability, wherever they stand") {
  for (int max_cluster : {8, 1}) {
    Context context = card(max_cluster);
    for (int64_t vocab : {int64_t{40}, int64_t{3000}, int64_t{20000}}) {
      Rows rows = random_rows(DType::bf16, 4, vocab, vocab, 2.0f, 0.0f, 7);
      for (int64_t v = 0; v < vocab; ++v) {
        if (v >= vocab / 2) rows.set(0, v, -kInf);  // whole threads see nothing else
        if (v < vocab / 2) rows.set(1, v, -kInf);
        if (v % 3 != 0) rows.set(2, v, -kInf);
        if (v != 5) rows.set(3, v, -kInf);
      }
      const std::vector<int32_t> targets = {1, static_cast<int32_t>(vocab - 1), 4, 5};
      const Forward got = forward(context, rows, targets, {}, 1.0f);
      for (int64_t t = 0; t < 4; ++t) {
        const size_t i = static_cast<size_t>(t);
        const Exact want = exact(rows, t, targets[i], 1.0f);
        if (t == 2) {
          CHECK(got.log_prob[i] == -kInf);
        } else {
          CHECK(static_cast<double>(got.log_prob[i]) ==
                doctest::Approx(want.log_prob).epsilon(1e-6));
        }
        CHECK(static_cast<double>(got.entropy[i]) == doctest::Approx(want.entropy).epsilon(1e-6));
        CHECK(got.vocab_mean[i] == -kInf);
      }
      CHECK(std::fabs(got.log_prob[3]) < 1e-7f);  // a certain token
      CHECK(got.log_prob[3] <= 0.0f);
      CHECK(got.entropy[3] >= 0.0f);
      for (int k = 0; k < kFaultKinds; ++k) CHECK(got.faults.count[k] == 0);
    }
  }
}

TEST_CASE("faulty rows are NaN, counted, and alone") {
  for (int max_cluster : {8, 1}) {
    Context context = card(max_cluster);
    for (int64_t vocab : {int64_t{40}, int64_t{3001}, int64_t{20000}}) {
      Rows rows = random_rows(DType::f32, 8, vocab, vocab, 2.0f, 0.0f, 8);
      std::vector<int32_t> targets(8, 3);
      targets[1] = static_cast<int32_t>(vocab);
      targets[2] = -1;
      rows.set(3, vocab - 1, NAN);
      rows.set(4, vocab / 2, kInf);
      for (int64_t v = 0; v < vocab; ++v) rows.set(5, v, -kInf);
      const Forward got = forward(context, rows, targets, {}, 0.1f);
      for (size_t t : {size_t{1}, size_t{2}, size_t{3}, size_t{4}, size_t{5}}) {
        CHECK(std::isnan(got.log_prob[t]));
        CHECK(std::isnan(got.entropy[t]));
        CHECK(std::isnan(got.stats[2 * t]));
      }
      for (int64_t t : {int64_t{0}, int64_t{6}, int64_t{7}}) {
        const Exact want = exact(rows, t, 3, 0.1f);
        CHECK(std::fabs(static_cast<double>(got.log_prob[static_cast<size_t>(t)]) -
                        want.log_prob) <= 2e-6 + 2e-7 * want.largest);
      }
      CHECK(got.faults.count[static_cast<int>(Fault::id_out_of_range)] == 2);
      CHECK(got.faults.first_row[static_cast<int>(Fault::id_out_of_range)] == 1);
      CHECK(got.faults.count[static_cast<int>(Fault::not_a_number)] == 2);
      CHECK(got.faults.first_row[static_cast<int>(Fault::not_a_number)] == 3);
      CHECK(got.faults.count[static_cast<int>(Fault::no_support)] == 1);
      CHECK(got.faults.first_row[static_cast<int>(Fault::no_support)] == 5);
    }
  }
}

TEST_CASE("masked rows are not read and give 0") {
  Context context = card(8);
  Rows rows(DType::f32, 3, 100, 100);  // all NaN
  for (int64_t v = 0; v < 100; ++v) rows.set(1, v, 0.0f);
  const Forward got = forward(context, rows, {-5, 7, 1 << 30}, {0, 1, 0}, 1.0f);
  for (size_t t : {size_t{0}, size_t{2}}) {
    CHECK(got.log_prob[t] == 0.0f);
    CHECK(got.entropy[t] == 0.0f);
    CHECK(got.vocab_mean[t] == 0.0f);
  }
  CHECK(static_cast<double>(got.log_prob[1]) == doctest::Approx(-std::log(100.0)));
  for (int k = 0; k < kFaultKinds; ++k) CHECK(got.faults.count[k] == 0);
}

// ---- backward
// ------------------------------------------------------------------------------------

// half a unit in the last place, relative, and the smallest step
double unit(DType dtype) {
  return dtype == DType::bf16 ? 0x1p-8 : dtype == DType::f16 ? 0x1p-11 : 0x1p-24;
}
double smallest(DType dtype) {
  return dtype == DType::f16 ? 0x1p-25 : 1e-37;
}

// The shard of columns [begin, vocab) where `begin` is not 0.
void check_backward(Context& context, DType dtype, int64_t vocab, int64_t stride, bool extras,
                    bool in_place, int64_t begin = 0) {
  const int64_t tokens = 5;
  const std::vector<float> temperatures = {0.8f, 1.0f, 0.5f, 1.7f, 1.0f};
  Rows rows = random_rows(dtype, tokens, vocab, stride, 2.0f, 0.5f, 9);
  if (vocab > 8) rows.set(2, 4, -kInf);
  const Rows before = rows;
  std::vector<int32_t> targets = some_targets(tokens, vocab);
  targets[4] = -3;  // faulty
  const std::vector<uint8_t> mask = {1, 0, 1, 1, 1};
  const Forward fwd = forward(context, rows, targets, mask, 1.0f, temperatures);
  const std::vector<float> d_log_prob = {1.0f, NAN, -0.7f, 2.5f, 1.0f};
  const std::vector<float> d_entropy = {0.3f, NAN, -0.4f, 0.0f, 1.0f};
  const std::vector<float> d_vocab_mean = {-0.6f, NAN, 1.4f, 0.9f, 1.0f};

  Rows gradient(dtype, tokens, vocab, in_place ? stride : vocab + 3);
  const int64_t skip = begin * size_of(dtype);
  LogProbBackwardArgs b{};
  read(&b, rows, targets, mask, 1.0f, temperatures);
  b.logits = static_cast<const char*>(b.logits) + skip;
  b.vocab = vocab - begin;
  b.vocab_start = begin;
  b.whole_vocab = vocab;
  b.stats = fwd.stats.data();
  b.d_log_prob = d_log_prob.data();
  b.d_entropy = extras ? d_entropy.data() : nullptr;
  b.entropy = extras ? fwd.entropy.data() : nullptr;
  b.d_vocab_mean = extras ? d_vocab_mean.data() : nullptr;
  b.vocab_mean = extras ? fwd.vocab_mean.data() : nullptr;
  b.d_logits = static_cast<char*>(in_place ? rows.data() : gradient.data()) + skip;
  b.d_row_stride = in_place ? stride : gradient.stride;
  must(log_prob_backward(context, b));
  const Rows& got = in_place ? rows : gradient;

  for (int64_t t = 0; t < tokens; ++t) {
    const size_t i = static_cast<size_t>(t);
    const bool zero = t == 1 || t == 4;
    const Exact want = exact(before, t, zero ? 0 : targets[i], temperatures[i]);
    const double inverse = zero ? 0.0 : 1.0 / static_cast<double>(temperatures[i]);
    const double g = zero ? 0.0 : static_cast<double>(d_log_prob[i]) * inverse;
    const double h = zero || !extras ? 0.0 : static_cast<double>(d_entropy[i]) * inverse;
    const bool flat = zero || !extras || std::isinf(want.vocab_mean);
    const double m = flat ? 0.0 : static_cast<double>(d_vocab_mean[i]) * inverse;
    int64_t wrong = 0;
    for (int64_t v = begin; v < vocab; ++v) {
      const double x = static_cast<double>(got.get(t, v));
      if (zero) {
        wrong += x != 0.0;
        continue;
      }
      const double p = want.p[static_cast<size_t>(v)], log_p = want.log_p[static_cast<size_t>(v)];
      const double spread = p > 0.0 ? p * (log_p + want.entropy) : 0.0;
      const double even = 1.0 / static_cast<double>(vocab);
      const double exact_gradient = ((v == targets[i]) - p) * g - spread * h + (even - p) * m;
      // exp2's and the exponent's rounding, then one rounding to the dtype
      const double tolerance =
          p * (2e-6 + 2e-7 * want.largest) * (std::fabs(g) + 20 * std::fabs(h) + std::fabs(m)) +
          1e-7 * (std::fabs(g) + even * std::fabs(m)) + unit(dtype) * std::fabs(exact_gradient) +
          smallest(dtype);
      wrong += !(std::fabs(x - exact_gradient) <= tolerance);
    }
    CAPTURE(vocab);
    CAPTURE(t);
    CHECK(wrong == 0);
    for (int64_t v = vocab; v < got.stride; ++v) CHECK(std::isnan(got.get(t, v)));
    for (int64_t v = 0; v < begin; ++v) {
      CHECK((in_place ? got.get(t, v) == before.get(t, v) : std::isnan(got.get(t, v))));
    }
  }
}

TEST_CASE("backward agrees with float64, in place and elsewhere, and leaves the padding alone") {
  Context context = card(8);
  for (DType dtype : kTypes) {
    for (int64_t vocab :
         {int64_t{1}, int64_t{31}, int64_t{257}, int64_t{1000}, int64_t{4096}, int64_t{9001}}) {
      for (bool in_place : {false, true}) {
        check_backward(context, dtype, vocab, vocab, true, in_place);
        check_backward(context, dtype, vocab, vocab + 3, false, in_place);
        if (vocab > 1) check_backward(context, dtype, vocab, vocab + 8, true, in_place, vocab / 2);
      }
    }
  }
}

TEST_CASE("backward is the same in every order of threads") {
  Context context = card(8);
  for (const char* order : {"reverse", "random:9"}) {
    setenv("FIRESTEEL_EMULATOR_ORDER", order, 1);
    check_backward(context, DType::bf16, 1000, 1000, true, true);
    unsetenv("FIRESTEEL_EMULATOR_ORDER");
  }
}

TEST_CASE("no rows are no work, and a dtype that holds no logits is an error") {
  Context context = card(8);
  LogProbArgs a{};
  a.vocab = a.row_stride = 10;
  a.temperature = 1.0f;
  CHECK(log_prob_forward(context, a).ok());
  LogProbBackwardArgs b{};
  b.vocab = b.row_stride = b.d_row_stride = 10;
  CHECK(log_prob_backward(context, b).ok());
  a.dtype = b.dtype = DType::f64;
  CHECK(log_prob_forward(context, a).code == Code::dtype);
  CHECK(log_prob_backward(context, b).code == Code::dtype);
  a.dtype = b.dtype = DType::f32;
  a.tokens = b.tokens = int64_t{1} << 40;
  CHECK(log_prob_forward(context, a).code == Code::range);
  CHECK(log_prob_backward(context, b).code == Code::range);
}

// ---- temperatures and shards

TEST_CASE("one temperature and an array of it give the same bits; out of range it is a fault") {
  Context context = card(8);
  const std::vector<int32_t> targets = some_targets(5, 300);
  Rows rows = random_rows(DType::f16, 5, 300, 300, 2.0f, 0.0f, 10);
  for (float temperature : {0.7f, 1.0f, 1e-2f}) {
    const Forward one = forward(context, rows, targets, {}, temperature);
    const Forward each =
        forward(context, rows, targets, {}, NAN, std::vector<float>(5, temperature));
    CHECK(one.log_prob == each.log_prob);
    CHECK(one.entropy == each.entropy);
    CHECK(one.vocab_mean == each.vocab_mean);
    CHECK(one.stats == each.stats);
  }
  const std::vector<float> bad = {1.0f, 0.0f, -1.0f, NAN, kInf};
  const Forward got = forward(context, rows, targets, {}, 1.0f, bad);
  CHECK(got.log_prob[0] == forward(context, rows, targets, {}, 1.0f).log_prob[0]);
  for (size_t t = 1; t < 5; ++t) {
    CHECK(std::isnan(got.log_prob[t]));
    CHECK(std::isnan(got.stats[2 * t]));
  }
  const int kind = static_cast<int>(Fault::parameter_out_of_range);
  CHECK(got.faults.count[kind] == 4);
  CHECK(got.faults.first_row[kind] == 1);

  // Good statistics beside bad temperatures: reported by the backward pass, once a row.
  const Forward good = forward(context, rows, targets, {}, 1.0f);
  const std::vector<float> ones(5, 1.0f);
  Rows gradient(DType::f16, 5, 300, 300);
  Forward word(0);
  LogProbBackwardArgs b{};
  read(&b, rows, targets, {}, 1.0f, bad);
  b.whole_vocab = b.d_row_stride = 300;
  b.stats = good.stats.data();
  b.d_log_prob = ones.data();
  b.d_logits = gradient.data();
  b.faults = &word.faults;
  must(log_prob_backward(context, b));
  CHECK(word.faults.count[kind] == 4);
  CHECK(word.faults.first_row[kind] == 1);
  CHECK(gradient.get(0, targets[0]) > 0.0f);
  for (int64_t v = 0; v < 300; ++v) {
    for (int64_t t = 1; t < 5; ++t) CHECK(gradient.get(t, v) == 0.0f);
  }
}

TEST_CASE("shards of the vocabulary add up to the whole, on any card and in any order of threads") {
  for (int max_cluster : {8, 1}) {
    Context context = card(max_cluster);
    for (DType dtype : kTypes) {
      for (const std::vector<int64_t>& bounds :
           {std::vector<int64_t>{0, 20001, 20002, 30000}, std::vector<int64_t>{0, 1, 2},
            std::vector<int64_t>{0, 5, 17, 100, 101, 333, 334, 700, 777}}) {
        Rows rows = random_rows(dtype, 4, bounds.back(), bounds.back() + 3, 2.0f, 0.0f, 11);
        const std::vector<int32_t> targets = some_targets(4, bounds.back());
        const std::vector<float> temperatures = {0.7f, 1.0f, 0.3f, 2.0f};
        const Forward got = sharded(context, rows, targets, {}, temperatures, bounds);
        compare(rows, targets, got, temperatures);
        setenv("FIRESTEEL_EMULATOR_ORDER", "reverse", 1);
        const Forward again = sharded(context, rows, targets, {}, temperatures, bounds);
        unsetenv("FIRESTEEL_EMULATOR_ORDER");
        CHECK(got.log_prob == again.log_prob);
        CHECK(got.entropy == again.entropy);
        CHECK(got.vocab_mean == again.vocab_mean);
      }
    }
  }
}

TEST_CASE("one shard gives the bits of forward, faults included") {
  for (int max_cluster : {8, 1}) {
    Context context = card(max_cluster);
    for (int64_t vocab : {int64_t{40}, int64_t{20000}}) {
      Rows rows = random_rows(DType::f32, 8, vocab, vocab, 2.0f, 2000.0f, 12);
      std::vector<int32_t> targets(8, 3);
      targets[1] = static_cast<int32_t>(vocab);
      rows.set(2, vocab - 1, NAN);
      for (int64_t v = 0; v < vocab; ++v) rows.set(3, v, -kInf);
      rows.set(4, 0, -kInf);
      const std::vector<float> temperatures = {0.7f, 1.0f, 1.0f, 1.0f, 0.9f, -1.0f, 3.0f, 0.5f};
      const std::vector<uint8_t> mask = {1, 1, 1, 1, 1, 1, 1, 0};
      const Forward want = forward(context, rows, targets, mask, 1.0f, temperatures);
      const Forward got = sharded(context, rows, targets, mask, temperatures, {0, vocab});
      const auto same = [](const std::vector<float>& a, const std::vector<float>& b) {
        return memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
      };
      CHECK(same(got.log_prob, want.log_prob));
      CHECK(same(got.entropy, want.entropy));
      CHECK(same(got.vocab_mean, want.vocab_mean));
      CHECK(same(got.stats, want.stats));
      CHECK(memcmp(&got.faults, &want.faults, sizeof(FaultWord)) == 0);
      for (int k = 0; k < kFaultKinds; ++k) CHECK(got.faults.count[k] == 1);
    }
  }
}

}  // namespace
}  // namespace firesteel
