// divergence on the CPU: against the definitions in double, and where only memory shows what went
// wrong: rows that end at a page's end, every length around a vector and a block.
#include "kernels/divergence/divergence.h"

#include <string.h>

#include <algorithm>

#include "arrays.h"
#include "divergence_plain.h"
#include "every_isa.h"
#include "kernels/divergence/math.h"
#include "runtime/scalar.h"

namespace firesteel {
namespace {

FaultWord no_faults() {
  FaultWord word;
  memset(word.count, 0, sizeof word.count);
  memset(word.first_row, 0xff, sizeof word.first_row);
  return word;
}

int64_t stats_width(int64_t top_k) {
  return kDivergenceStats + top_k;
}

// Values of a dtype that end where memory ends.
template <class T>
class AtTheEnd {
 public:
  explicit AtTheEnd(const Array& values)
      : count_(static_cast<int64_t>(values.size())),
        room_(1, (count_ * int64_t(sizeof(T)) + 3) / 4, (count_ * int64_t(sizeof(T)) + 3) / 4) {
    for (int64_t i = 0; i < count_; ++i) data()[i] = from_float<T>(values[size_t(i)]);
  }
  T* data() { return reinterpret_cast<T*>(room_.data() + room_.width) - count_; }
  Array values() {
    Array out;
    for (int64_t i = 0; i < count_; ++i) out.push_back(to_float(data()[i]));
    return out;
  }
  bool intact() const { return room_.intact(); }

 private:
  int64_t count_;
  Padded room_;
};

template <class T>
DType dtype_of() {
  return sizeof(T) == 4 ? DType::f32 : std::is_same<T, bf16>::value ? DType::bf16 : DType::f16;
}

struct Batch {
  DivergenceRule rule{DivergenceKind::mixed, DivergenceSupport::full, 0.3, -20.0, false};
  int64_t tokens, vocab, top_k = 0;
  Array student, teacher;
  std::vector<int32_t> ids;
  std::vector<uint8_t> mask;
  double inverse_temperature = 1.25, inverse_teacher_temperature = 0.75;

  Batch(const DivergenceChoice& choice, int64_t tokens, int64_t vocab, int64_t top_k, uint32_t seed)
      : tokens(tokens), vocab(vocab), student(random_array(tokens * vocab, seed, -4.0f, 4.0f)) {
    rule.kind = choice.kind;
    rule.support = choice.support;
    if (choice.support == DivergenceSupport::full) {
      teacher = random_array(tokens * vocab, seed + 1, -4.0f, 4.0f);
      return;
    }
    this->top_k = std::min(top_k, vocab);
    if (needs_log_probs()) inverse_teacher_temperature = 1.0;
    // Log-probs that leave about half of the mass, or logits.
    const float middle = -std::log(2.0f * static_cast<float>(this->top_k));
    teacher = random_array(tokens * this->top_k, seed + 1, middle - 0.2f, middle + 0.2f);
    std::mt19937 random(seed);
    for (int64_t t = 0; t < tokens; ++t) {
      std::vector<int32_t> all(static_cast<size_t>(vocab));
      for (int64_t v = 0; v < vocab; ++v) all[size_t(v)] = static_cast<int32_t>(v);
      std::shuffle(all.begin(), all.end(), random);
      ids.insert(ids.end(), all.begin(), all.begin() + this->top_k);
    }
  }
  bool needs_log_probs() const {
    return rule.support == DivergenceSupport::tail || rule.support == DivergenceSupport::truncated;
  }
  int64_t teacher_width() const { return ids.empty() ? vocab : top_k; }
};

struct Result {
  Array divergence, stats, gradient;
  FaultWord faults = no_faults();
};

template <class S, class T>
Result run(const Batch& b, const Array& above, bool in_place = false, int threads = 2) {
  AtTheEnd<S> student(b.student), out(in_place ? b.student : Array(b.student.size(), 7.0f));
  AtTheEnd<T> teacher(b.teacher);
  Padded divergence(1, b.tokens, b.tokens), stats(1, b.tokens * stats_width(b.top_k), 1);
  Result result;
  S* logits = in_place ? out.data() : student.data();
  DivergenceArgs a{};
  a.rule = b.rule;
  a.student = logits;
  a.teacher = teacher.data();
  a.student_dtype = dtype_of<S>();
  a.teacher_dtype = dtype_of<T>();
  a.tokens = b.tokens;
  a.vocab = b.vocab;
  a.top_k = b.top_k;
  a.top_ids = b.ids.empty() ? nullptr : b.ids.data();
  a.mask = b.mask.empty() ? nullptr : b.mask.data();
  a.inverse_temperature = b.inverse_temperature;
  a.inverse_teacher_temperature = b.inverse_teacher_temperature;
  a.divergence = divergence.data();
  a.stats = stats.data();
  a.faults = &result.faults;
  Threads cpu(threads);
  REQUIRE(divergence_forward(cpu, a).ok());

  const DivergenceBackwardArgs d{a.rule,
                                 a.student,
                                 b.ids.empty() ? a.teacher : nullptr,
                                 a.student_dtype,
                                 a.teacher_dtype,
                                 a.tokens,
                                 a.vocab,
                                 a.top_k,
                                 a.top_ids,
                                 a.mask,
                                 a.inverse_temperature,
                                 a.inverse_teacher_temperature,
                                 a.stats,
                                 above.data(),
                                 out.data()};
  REQUIRE(divergence_backward(cpu, d).ok());
  CHECK(student.intact());
  CHECK(teacher.intact());
  CHECK(out.intact());
  CHECK(divergence.intact());
  CHECK(stats.intact());
  result.divergence = divergence.values();
  result.stats = stats.values();
  result.gradient = out.values();
  return result;
}

template <class T>
Array rounded(const Array& values) {
  Array out;
  for (const float x : values) out.push_back(to_float(from_float<T>(x)));
  return out;
}

// Random logits of +-4: z is below 20, so 2^-21 (1 + z) of terms that sum to less than 100.
constexpr double kRelative = 1e-5, kAbsolute = 2e-6;

template <class S, class T>
void check(Batch b, double half_ulp) {
  b.student = rounded<S>(b.student);
  b.teacher = rounded<T>(b.teacher);
  const Array above = random_array(b.tokens, 9);
  const Result got = run<S, T>(b, above);
  for (int64_t t = 0; t < b.tokens; ++t) {
    const auto row = [&](const auto& values, int64_t width) {
      return std::decay_t<decltype(values)>(values.begin() + t * width,
                                            values.begin() + (t + 1) * width);
    };
    const PlainDivergence want =
        plain_divergence(b.rule, row(b.student, b.vocab), row(b.teacher, b.teacher_width()),
                         b.ids.empty() ? b.ids : row(b.ids, b.top_k), b.inverse_temperature,
                         b.inverse_teacher_temperature);
    CHECK(distance({got.divergence[size_t(t)]}, Array{static_cast<float>(want.value)}, kAbsolute,
                   kRelative) <= 1.0);
    std::vector<double> gradient = want.gradient;
    for (double& g : gradient) g *= static_cast<double>(above[size_t(t)]);
    CHECK(distance(row(got.gradient, b.vocab), gradient, kAbsolute, kRelative + half_ulp) <= 1.0);
  }
  CHECK(got.faults.count[0] + got.faults.count[1] + got.faults.count[2] == 0);
  CHECK(same_bits(run<S, T>(b, above, true, 1).gradient, got.gradient));
}

// One token with logits in units of log2, both of them relative to sums of 1.
struct Exp2 {
  static constexpr float least = kLeastExponent;
  float operator()(float x) const { return x <= kLeastExponent ? 0.0f : std::exp2(x); }
};
TokenPair<float, bool> pair_at(float log2_p, float log2_q) {
  return token_pair(DivergenceConstants{1.0f, 0.0f, 0.0f, 1.0f, 0.0f, 0.0f}, log2_p, log2_q,
                    Exp2());
}

TEST_CASE("a token's terms keep their relative error from equal to a million times apart") {
  constexpr double kLn2 = 0.693147180559945309417;
  // exp2 by 2 ULP, log2 into nats, three products and sums; a's own error counts twice in a^2.
  constexpr double kTerm = 0x1p-21;
  for (double apart = 1e-6; apart < 20.0; apart *= 1.01) {
    for (const bool teacher_higher : {false, true}) {
      const float low = static_cast<float>(-2.0 - apart), high = -2.0f;
      const TokenPair<float, bool> pair = teacher_higher ? pair_at(low, high) : pair_at(high, low);
      const double a = (double{high} - double{low}) * kLn2, p = teacher_higher ? std::exp(-a) : 1.0,
                   q = teacher_higher ? 1.0 : std::exp(-a), one = 0.25;  // 2^-2
      CAPTURE(a);
      // Relative to the higher one; long double, as these forms cancel.
      const long double log_ratio = teacher_higher ? a : -a;  // of q over p
      const auto excess = [](long double x) { return std::expm1(x) - x; };
      const double forward = static_cast<double>(q * excess(-log_ratio)) * one;
      const double reverse = static_cast<double>(p * excess(log_ratio)) * one;
      const Divergences<float> terms = kl_terms(pair);
      CHECK(distance({terms.forward}, std::vector<double>{forward}, 0.0, kTerm) <= 1.0);
      CHECK(distance({terms.reverse}, std::vector<double>{reverse}, 0.0, kTerm) <= 1.0);
      for (const double w : {0.5, 0.1, 0.9, 0.999}) {
        const DivergenceWeights weights = divergence_weights(DivergenceKind::jsd, w);
        const double t = static_cast<double>(weights.teacher),
                     s = static_cast<double>(weights.student);
        // log(q / m) and log(p / m) from the smaller side's distance, without cancellation.
        const long double log_q = -std::log1p(static_cast<long double>(s) * std::expm1(-log_ratio));
        const long double log_p = -std::log1p(static_cast<long double>(t) * std::expm1(log_ratio));
        const double jsd =
            static_cast<double>(t * q * excess(-log_q) + s * p * excess(-log_p)) * one;
        const MixtureTerms<float> mixed = jsd_terms(weights, pair);
        const double conditioned = kTerm / std::min(t, s);
        CHECK(distance({mixed.divergence}, std::vector<double>{jsd}, 0.0, conditioned) <= 1.0);
        CHECK(distance({mixed.student_kl}, std::vector<double>{p * double(log_p) * one}, 0.0,
                       conditioned) <= 1.0);
      }
    }
  }
}

TEST_CASE("every kind over every support, at every length around vectors and blocks") {
  for (const DivergenceChoice& choice : divergence_choices()) {
    CAPTURE(static_cast<int>(choice.kind));
    CAPTURE(static_cast<int>(choice.support));
    for (const int64_t vocab : {2, 3, 15, 16, 17, 33, 1023, 1024, 1025, 2049}) {
      CAPTURE(vocab);
      const uint32_t seed = static_cast<uint32_t>(vocab);
      // Two tokens or more stay outside of the k: a tail of mass 0 is another test's.
      const int64_t top_k = std::max<int64_t>(1, std::min<int64_t>(19, vocab - 2));
      check<float, bf16>(Batch(choice, 3, vocab, top_k, seed), 0x1p-24);
      check<bf16, f16>(Batch(choice, 2, vocab, top_k, seed), 0x1p-8);
      check<f16, float>(Batch(choice, 2, vocab, top_k, seed), 0x1p-11);
    }
  }
}

TEST_CASE("a vocabulary of one, and all tokens among the k, give 0 on every support") {
  for (const DivergenceChoice& choice : divergence_choices()) {
    Batch b(choice, 2, 1, 1, 3);
    if (b.needs_log_probs()) b.teacher = {0.0f, 0.0f};
    const Result got = run<float, float>(b, {1.0f, -1.0f});
    CHECK(same_bits(got.divergence, {0.0f, 0.0f}));
    CHECK(got.gradient[0] == 0.0f);
  }
}

TEST_CASE("logits at the ends of the float range neither trap nor turn into NaN") {
  constexpr float kLargest = 3.402823466e38f;
  for (const DivergenceChoice& choice : divergence_choices()) {
    Batch b(choice, 2, 20, 20, 4);
    std::fill(b.student.begin(), b.student.begin() + 20, -kLargest);  // a uniform row
    std::fill(b.student.begin() + 20, b.student.end(), -kLargest);
    b.student[27] = kLargest;  // a certain one
    const Result got = run<float, float>(b, {1.0f, 1.0f});
    CHECK(std::isfinite(got.divergence[0]));
    CHECK(got.divergence[1] >= 0.0f);  // finite, or infinite and a fault
    for (const float g : got.gradient) CHECK(std::isfinite(g));
  }
}

TEST_CASE("ids: the vocabulary's ends are legal; beyond them, or twice, the row alone is faulty") {
  constexpr int kKind = static_cast<int>(Fault::id_out_of_range);
  for (const DivergenceChoice& choice : divergence_choices()) {
    if (choice.support == DivergenceSupport::full) continue;
    Batch b(choice, 3, 100, 3, 5);
    b.ids = {0, 99, 50, /**/ 7, 8, 9, /**/ 1, 2, 3};
    const Result clean = run<float, float>(b, {1.0f, 1.0f, 1.0f});
    CHECK(clean.faults.count[kKind] == 0);
    for (const int32_t wrong : {-1, 100, INT32_MIN, INT32_MAX, 7}) {
      b.ids[5] = wrong;
      const Result got = run<float, float>(b, {1.0f, 1.0f, 1.0f});
      CHECK(got.faults.count[kKind] == 1);
      CHECK(got.faults.first_row[kKind] == 1);
      CHECK(std::isnan(got.divergence[1]));
      CHECK(got.divergence[0] == clean.divergence[0]);
      CHECK(got.divergence[2] == clean.divergence[2]);
      for (size_t v = 0; v < 300; ++v) {
        const bool faulty = v >= 100 && v < 200;
        CHECK(float_bits(got.gradient[v]) == (faulty ? 0u : float_bits(clean.gradient[v])));
      }
    }
  }
}

TEST_CASE("no rows, masked rows, and other dtypes") {
  for (const DivergenceChoice& choice : divergence_choices()) {
    Batch none(choice, 0, 40, 3, 6);
    CHECK(run<float, float>(none, {}).gradient.empty());
    Batch b(choice, 2, 40, 3, 6);
    std::fill(b.student.begin(), b.student.begin() + 40, kNaN);
    b.mask = {0, 1};
    const Result got = run<float, float>(b, {kNaN, 1.0f});
    CHECK(got.divergence[0] == 0.0f);
    for (size_t v = 0; v < 40; ++v) CHECK(float_bits(got.gradient[v]) == 0);
    CHECK(got.faults.count[1] == 0);
  }
  Threads cpu(1);
  DivergenceArgs a{};
  a.student_dtype = DType::i32;
  CHECK(divergence_forward(cpu, a).code == Code::dtype);
  DivergenceBackwardArgs d{};
  d.student_dtype = DType::f64;
  CHECK(divergence_backward(cpu, d).code == Code::dtype);
}

}  // namespace
}  // namespace firesteel
