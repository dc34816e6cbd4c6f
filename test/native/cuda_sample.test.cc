// sample on the emulated card: the token at which the plain cumulative sum in double passes u.
#include "cuda_arrays.h"
#include "nn/sample/sample.h"

namespace firesteel {
namespace {

struct Rows {
  int64_t rows, vocab, stride;
  Array logits, uniform;
  float inv_temperature = 1.0f;
  bool greedy = false;

  Rows(int64_t rows, int64_t vocab, uint32_t seed)
      : rows(rows),
        vocab(vocab),
        stride(vocab + 3),
        logits(random_array(rows * stride, seed, -4.0f, 4.0f)),
        uniform(random_array(rows, seed + 1, 0.0f, 0.999f)) {
    for (int64_t r = 0; r < rows; ++r) {  // between rows, where nobody may look
      std::fill_n(logits.begin() + r * stride + vocab, stride - vocab, kNaN);
    }
  }
  float* row(int64_t r) { return logits.data() + r * stride; }
};

struct Result {
  std::vector<int32_t> tokens;
  Faults faults;
};

Result run(Context& context, const Rows& x) {
  Result out;
  out.tokens.assign(static_cast<size_t>(x.rows), -7);
  SampleArgs a{};
  a.rows = x.rows;
  a.vocab = x.vocab;
  a.row_stride = x.stride;
  a.logits = x.logits.data();
  a.inv_temperature = x.inv_temperature;
  a.greedy = x.greedy;
  a.uniform = x.greedy ? nullptr : x.uniform.data();
  a.tokens = out.tokens.data();
  a.faults = &out.faults;
  must(sample(context, a));
  return out;
}

// The token's share of the cumulative sum holds u, give or take the rounding of exp.
void check(Context& context, Rows& x) {
  const Result result = run(context, x);
  CHECK(result.faults.none());
  for (int64_t r = 0; r < x.rows; ++r) {
    const float* logits = x.row(r);
    const double top = double{*std::max_element(logits, logits + x.vocab)};
    const auto weight = [&](int64_t v) {
      return std::exp((double{logits[v]} - top) * double{x.inv_temperature});
    };
    double total = 0.0, before = 0.0;
    for (int64_t v = 0; v < x.vocab; ++v) total += weight(v);
    const int64_t token = result.tokens[static_cast<size_t>(r)];
    REQUIRE(token >= 0);
    REQUIRE(token < x.vocab);
    for (int64_t v = 0; v < token; ++v) before += weight(v);
    const double u = double{x.uniform[static_cast<size_t>(r)]};
    CHECK(before / total <= u + 1e-6);
    CHECK((before + weight(token)) / total > u - 1e-6);
    CHECK(weight(token) > 0.0);
  }
}

TEST_CASE("tokens of small, odd and many-chunk vocabularies") {
  in_every_order([](Context& context) {
    for (int64_t vocab : {1, 31, 33, 257, 1024, 1025, 5000}) {
      Rows x(3, vocab, static_cast<uint32_t>(vocab));
      CAPTURE(vocab);
      check(context, x);
      x.inv_temperature = 8.0f;
      check(context, x);
      x.row(1)[0] = -kInfinity;
      x.row(1)[vocab - 1] = 1.0f;
      x.uniform = {0.0f, 0.0f, 0.99999994f};
      check(context, x);
    }
    Rows none(0, 5, 1);
    CHECK(run(context, none).tokens.empty());
  });
}

TEST_CASE("every token gets its share") {
  Context context;
  Rows x(1000, 8, 5);
  for (int64_t r = 0; r < x.rows; ++r) {
    x.uniform[static_cast<size_t>(r)] = (static_cast<float>(r) + 0.5f) / 1000.0f;
    std::copy_n(x.row(0), 8, x.row(r));
  }
  std::vector<double> count(8), share(8);
  for (int32_t token : run(context, x).tokens) count[static_cast<size_t>(token)] += 1.0;
  double total = 0.0;
  for (int v = 0; v < 8; ++v)
    total += share[static_cast<size_t>(v)] = std::exp(double{x.row(0)[v]});
  for (size_t v = 0; v < 8; ++v) CHECK(std::fabs(count[v] - 1000.0 * share[v] / total) <= 1.5);
}

TEST_CASE("logits of -inf are never drawn, not even where u is at their edge") {
  Context context;
  Rows x(4, 100, 3);
  std::fill(x.logits.begin(), x.logits.end(), -kInfinity);
  for (int64_t r = 0; r < 4; ++r) x.row(r)[40] = x.row(r)[60] = 2.0f;
  x.uniform = {0.0f, 0.5f, 0.49999997f, 0.99999994f};
  CHECK(run(context, x).tokens == std::vector<int32_t>{40, 60, 40, 60});
  x.uniform[0] = 1.0f;  // a uniform number rounded up: nothing passes it, the last weight takes it
  CHECK(run(context, x).tokens[0] == 60);
}

TEST_CASE("greedy takes the first maximum") {
  in_every_order([](Context& context) {
    Rows x(2, 3000, 4);
    x.greedy = true;
    x.row(0)[2900] = x.row(0)[701] = x.row(0)[700] = 9.0f;
    x.row(1)[3] = x.row(1)[3 + 512] = x.row(1)[3 + 1024] = 9.0f;  // all seen by one thread
    CHECK(run(context, x).tokens == std::vector<int32_t>{700, 3});
  });
}

TEST_CASE("a row that has no distribution is a fault, its neighbours are not") {
  in_every_order([](Context& context) {
    for (bool greedy : {false, true}) {
      Rows x(5, 70, 6);
      x.greedy = greedy;
      const std::vector<int32_t> clean = run(context, x).tokens;
      x.row(1)[69] = kNaN;
      x.row(2)[3] = kInfinity;
      std::fill_n(x.row(4), 70, -kInfinity);
      const Result result = run(context, x);
      CHECK(result.tokens == std::vector<int32_t>{clean[0], -1, -1, clean[3], -1});
      const int nan = static_cast<int>(Fault::not_a_number),
                none = static_cast<int>(Fault::no_support);
      CHECK(result.faults.count[nan] == 2);
      CHECK(result.faults.first_row[nan] == 1);
      CHECK(result.faults.count[none] == 1);
      CHECK(result.faults.first_row[none] == 4);
    }
  });
}

TEST_CASE("very large and very small logits overflow nothing") {
  Context context;
  Rows x(2, 3, 7);
  std::copy_n(Array{3e38f, -3e38f, 3e38f}.begin(), 3, x.row(0));
  std::copy_n(Array{-3e38f, -3.1e38f, -3e38f}.begin(), 3, x.row(1));
  x.inv_temperature = 100.0f;
  x.uniform = {0.7f, 0.2f};
  CHECK(run(context, x).tokens == std::vector<int32_t>{2, 0});
}

}  // namespace
}  // namespace firesteel
