// Arrays of more than 2^31 elements, where a 32-bit index would wrap: gemm, log_prob and
// linear_log_prob against float64, on rows and columns at both ends and where 2^31 is crossed.
// Needs 5 GB and half a minute, so it runs only with FIRESTEEL_LARGE=1.
#include <stdlib.h>

#include "arrays.h"
#include "gemm/gemm.h"
#include "kernels/linear_log_prob/linear_log_prob.h"

namespace firesteel {
namespace {

constexpr int64_t kBorder = int64_t{1} << 31;
constexpr int64_t kTokens = 14200, kVocab = 151936;  // Qwen2.5's vocabulary
constexpr int64_t kElements = kTokens * kVocab;
static_assert(kElements > kBorder);

// Pages that are never touched cost nothing.
template <class T>
class Pages {
 public:
  explicit Pages(int64_t count) : bytes_(size_t(count) * sizeof(T)) {
    void* pages = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    REQUIRE(pages != MAP_FAILED);
    data_ = static_cast<T*>(pages);
  }
  Pages(const Pages&) = delete;
  ~Pages() { munmap(data_, bytes_); }

  T* data() { return data_; }
  T& operator[](int64_t i) { return data_[i]; }

 private:
  size_t bytes_;
  T* data_;
};

// -1 to 7/8 in steps of 1/8: exact in bf16, and so are sums of 2^18 products in f32.
float value(int64_t i) {
  return float(int((uint64_t(i) * 0x9e3779b97f4a7c15u) >> 60) - 8) / 8.0f;
}
bf16 stored(int64_t i) {
  return from_float<bf16>(value(i));
}

void fill(Context& context, bf16* x) {
  const auto part = [x](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) x[i] = stored(i);
  };
  REQUIRE(context.parallel(kElements, 1 << 20, part).ok());
}

bool asked_for() {
  static const bool asked = getenv("FIRESTEEL_LARGE") != nullptr;
  if (!asked) MESSAGE("skipped: needs FIRESTEEL_LARGE=1, 5 GB and half a minute");
  return asked;
}

struct Sums {
  double log_sum, entropy;
};
Sums sums_of(const std::vector<double>& z) {
  const double max = *std::max_element(z.begin(), z.end());
  double sum = 0.0, weighted = 0.0;
  for (double x : z) {
    sum += std::exp(x - max);
    weighted += std::exp(x - max) * (x - max);
  }
  return {max + std::log(sum), std::log(sum) - weighted / sum};
}
double bound_of(const std::vector<double>& z) {  // log_prob.h
  double most = 0.0;
  for (double x : z) most = std::max(most, std::fabs(x));
  return 2e-6 + 2e-7 * most;
}

// One term of gemm's long dimension: [16, kLong] and [kLong, 16] hold all elements.
constexpr int64_t kDepth = 16, kLong = kElements / kDepth;
static_assert(kLong * kDepth == kElements);

template <class Index>
void check_products(const float* c, const float* weights, const Index& index) {
  const auto exact = [&](int64_t j) {
    float sum = 0.0f;
    for (int64_t p = 0; p < kDepth; ++p) sum += weights[p] * value(index(p, j));
    return sum;
  };
  int64_t wrong = 0;
  for (int64_t j = 0; j < kLong; j += 9973) wrong += c[j] != exact(j);
  for (int64_t i = 0; i < 5000; ++i) {
    const int64_t crossing = kBorder / kDepth - 2500, last_row = kBorder - (kDepth - 1) * kLong;
    for (int64_t j : {i, kLong - 1 - i, crossing + i, last_row - 2500 + i}) {
      wrong += c[j] != exact(j);
    }
  }
  CHECK(wrong == 0);
}

void check_gemm(Context& context, const bf16* x) {
  float weights[kDepth];
  bf16 narrow_weights[kDepth];
  for (int64_t p = 0; p < kDepth; ++p) weights[p] = value(p + 77);
  for (int64_t p = 0; p < kDepth; ++p) narrow_weights[p] = stored(p + 77);
  Pages<float> c(kLong);
  const auto workspace = [](int64_t m, int64_t n) {
    return std::vector<char>(size_t(gemm_workspace(m, n, kDepth, false)));
  };
  GemmArgs g{};
  g.k = kDepth;
  g.b_type = DType::bf16;
  g.c = c.data();
  {
    g.m = 1;
    g.n = kLong;
    g.a = weights;
    g.a_row = kDepth;
    g.a_col = 1;
    g.b = x;
    g.b_row = kLong;
    g.b_col = 1;
    g.c_row = kLong;
    std::vector<char> room = workspace(g.m, g.n);
    g.workspace = room.data();
    REQUIRE(gemm(context, g).ok());
    check_products(c.data(), weights, [](int64_t p, int64_t j) { return p * kLong + j; });
  }
  {
    g.m = kLong;
    g.n = 1;
    g.a = x;
    g.a_type = DType::bf16;
    g.b = narrow_weights;
    g.b_row = g.b_col = 1;
    g.c_row = 1;
    std::vector<char> room = workspace(g.m, g.n);
    g.workspace = room.data();
    REQUIRE(gemm(context, g).ok());
    check_products(c.data(), weights, [](int64_t p, int64_t j) { return j * kDepth + p; });
  }
}

// C's last row starts beyond 2^31 elements; what lies between its rows is never touched.
void check_far_rows(Context& context) {
  constexpr int64_t m = 3, n = 40, k = 300, stride = kBorder / 2 + 5;
  Array a(size_t(m * k)), b(size_t(k * n));
  for (size_t i = 0; i < a.size(); ++i) a[i] = value(int64_t(i));
  for (size_t i = 0; i < b.size(); ++i) b[i] = value(int64_t(i) + 1000);
  Pages<float> c((m - 1) * stride + n);
  std::vector<char> room(size_t(gemm_workspace(m, n, k, true)));
  for (bool accumulate : {false, true}) {
    GemmArgs g{};
    g.m = m;
    g.n = n;
    g.k = k;
    g.a = a.data();
    g.a_row = k;
    g.a_col = 1;
    g.b = b.data();
    g.b_row = n;
    g.b_col = 1;
    g.c = c.data();
    g.c_row = stride;
    g.accumulate = accumulate;
    g.workspace = room.data();
    REQUIRE(gemm(context, g).ok());
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        float sum = 0.0f;
        for (int64_t p = 0; p < k; ++p) sum += a[size_t(i * k + p)] * b[size_t(p * n + j)];
        CHECK(c[i * stride + j] == (accumulate ? 2.0f * sum : sum));
      }
    }
  }
}

// The weight has more than 2^31 elements.
void check_linear_log_prob(Context& context, const bf16* weight) {
  constexpr int64_t tokens = 2, vocab = 131072, width = 16460;
  static_assert(vocab * width > kBorder && vocab * width <= kElements);
  constexpr float temperature = 16.0f;
  std::vector<bf16> hidden(size_t(tokens * width));
  for (size_t i = 0; i < hidden.size(); ++i) hidden[i] = stored(int64_t(i) + 5);
  const std::vector<int32_t> targets{0, int32_t(vocab - 1)};
  const Array d_log_prob{1.0f, -0.5f};
  Array log_prob(tokens), entropy(tokens), stats(2 * tokens), d_hidden(size_t(tokens * width));
  FaultWord faults{};
  const LinearShape shape{tokens, vocab, width, DType::bf16, 0};
  std::vector<char> room(size_t(std::max(linear_log_prob_workspace(LinearPass::forward, shape),
                                         linear_log_prob_workspace(LinearPass::backward, shape))));
  LinearLogProbArgs a{};
  a.shape = shape;
  a.hidden = hidden.data();
  a.weight = weight;
  a.targets = targets.data();
  a.temperature = temperature;
  a.log_prob = log_prob.data();
  a.entropy = entropy.data();
  a.stats = stats.data();
  a.faults = &faults;
  a.workspace = room.data();
  REQUIRE(linear_log_prob(context, a).ok());
  LinearLogProbBackwardArgs b{};
  b.shape = shape;
  b.hidden = hidden.data();
  b.weight = weight;
  b.targets = targets.data();
  b.temperature = temperature;
  b.stats = stats.data();
  b.d_log_prob = d_log_prob.data();
  b.d_hidden = d_hidden.data();
  b.faults = &faults;
  b.workspace = room.data();
  REQUIRE(linear_log_prob_backward(context, b).ok());

  for (int64_t t = 0; t < tokens; ++t) {
    Array row(static_cast<size_t>(width));
    for (int64_t p = 0; p < width; ++p) row[size_t(p)] = value(t * width + p + 5);
    std::vector<double> z(static_cast<size_t>(vocab));
    const auto logits = [&](int64_t begin, int64_t end) {
      for (int64_t v = begin; v < end; ++v) {
        double sum = 0.0;
        for (int64_t p = 0; p < width; ++p) sum += double{row[size_t(p)] * value(v * width + p)};
        z[size_t(v)] = sum / double{temperature};
      }
    };
    REQUIRE(context.parallel(vocab, 64, logits).ok());
    const Sums sums = sums_of(z);
    const double bound = bound_of(z);
    const double expected = z[size_t(targets[size_t(t)])] - sums.log_sum;
    CHECK(std::fabs(double{log_prob[size_t(t)]} - expected) <= bound);
    CHECK(std::fabs(double{entropy[size_t(t)]} - sums.entropy) <= bound);
    // Of each element of d_hidden: a sum over the vocabulary, rounded once a term of a block, once
    // a block, and in every d_logit.
    const double d = double{d_log_prob[size_t(t)]} / double{temperature};
    for (int64_t p : {int64_t{0}, int64_t{1}, width / 2, width - 1}) {
      double sum = 0.0, magnitude = 0.0;
      for (int64_t v = 0; v < vocab; ++v) {
        const double hit = v == targets[size_t(t)] ? 1.0 : 0.0;
        const double term =
            (hit - std::exp(z[size_t(v)] - sums.log_sum)) * d * double{value(v * width + p)};
        sum += term;
        magnitude += std::fabs(term);
      }
      const double roundings = double(kGemmBlock + vocab / kGemmBlock);
      const double off = std::fabs(double{d_hidden[size_t(t * width + p)]} - sum);
      CHECK(off <= (roundings * 0x1p-24 + bound) * magnitude);
    }
  }
}

// Changes the logits into their gradient.
void check_log_prob(Context& context, bf16* logits) {
  constexpr float temperature = 0.25f;
  std::vector<int32_t> targets(kTokens);
  for (int64_t t = 0; t < kTokens; ++t) targets[size_t(t)] = int32_t(t * 7919 % kVocab);
  const Array d_log_prob(kTokens, -0.5f);
  Array log_prob(kTokens), entropy(kTokens), stats(2 * kTokens);
  FaultWord faults{};
  LogProbArgs a{};
  a.logits = logits;
  a.dtype = DType::bf16;
  a.tokens = kTokens;
  a.vocab = a.row_stride = kVocab;
  a.targets = targets.data();
  a.temperature = temperature;
  a.log_prob = log_prob.data();
  a.entropy = entropy.data();
  a.stats = stats.data();
  a.faults = &faults;
  REQUIRE(log_prob_forward(context, a).ok());
  LogProbBackwardArgs b{};
  static_cast<LogProbRows&>(b) = a;
  b.whole_vocab = kVocab;
  b.stats = stats.data();
  b.d_log_prob = d_log_prob.data();
  b.d_logits = logits;
  b.d_row_stride = kVocab;
  b.faults = &faults;
  REQUIRE(log_prob_backward(context, b).ok());

  for (int64_t t : {int64_t{0}, kBorder / kVocab, kTokens - 1}) {
    CAPTURE(t);
    std::vector<double> z(kVocab);
    for (int64_t v = 0; v < kVocab; ++v) {
      z[size_t(v)] = double{value(t * kVocab + v)} / double{temperature};
    }
    const Sums sums = sums_of(z);
    const double bound = bound_of(z);
    const int32_t target = targets[size_t(t)];
    CHECK(std::fabs(double{log_prob[size_t(t)]} - (z[size_t(target)] - sums.log_sum)) <= bound);
    CHECK(std::fabs(double{entropy[size_t(t)]} - sums.entropy) <= bound);
    const double d = -0.5 / double{temperature};
    int64_t wrong = 0;
    for (int64_t v = 0; v < kVocab; ++v) {
      const double hit = v == target ? 1.0 : 0.0;
      const double p = std::exp(z[size_t(v)] - sums.log_sum);
      const double expected = (hit - p) * d;
      const double off = std::fabs(double{to_float(logits[t * kVocab + v])} - expected);
      // Half a step of bf16, and p's own error.
      wrong += off > 0x1p-8 * std::fabs(expected) + 2.0 * bound * p * std::fabs(d);
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("more than 2^31 elements") {
  if (!asked_for()) return;
  Threads threads(2);
  Pages<bf16> x(kElements);
  madvise(x.data(), size_t(kElements) * sizeof(bf16), MADV_HUGEPAGE);
  fill(threads, x.data());
  check_gemm(threads, x.data());
  check_far_rows(threads);
  check_linear_log_prob(threads, x.data());
  check_log_prob(threads, x.data());  // last: it overwrites x
}

}  // namespace
}  // namespace firesteel
