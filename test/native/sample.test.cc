// sample: inversion of the cumulative distribution, greedy choice, what is never drawn, faults.
#include "nn/sample/sample.h"

#include <numeric>

#include "arrays.h"
#include "every_isa.h"

namespace firesteel {
namespace {

struct Sampled {
  std::vector<int32_t> tokens;
  FaultWord faults{{0, 0, 0}, {~0u, ~0u, ~0u}};
};

Sampled run(Context& context, int64_t vocab, const Array& logits, const Array& uniform,
            float temperature, bool greedy = false) {
  const int64_t rows = int64_t(logits.size()) / vocab;
  Padded in(rows, vocab, vocab + 3, logits);
  Sampled out;
  out.tokens.resize(size_t(rows), -7);
  SampleArgs a{};
  a.rows = rows;
  a.vocab = vocab;
  a.row_stride = in.stride;
  a.logits = in.data();
  a.inv_temperature = 1 / temperature;
  a.greedy = greedy;
  a.uniform = greedy ? nullptr : uniform.data();
  a.tokens = out.tokens.data();
  a.faults = &out.faults;
  REQUIRE(sample(context, a).ok());
  return out;
}

TEST_CASE("a token is drawn where the cumulative probability exceeds u") {
  Threads one(1), three(3);
  // Below and above a vector, a block of 1,024 and one more, several blocks.
  for (int64_t vocab : {1, 2, 31, 1024, 1025, 5000}) {
    CAPTURE(vocab);
    const int64_t rows = 200;
    const float temperature = 0.7f;
    const Array logits = random_array(rows * vocab, 1, -4, 4), u = random_array(rows, 2, 0, 1);
    const Sampled got = run(one, vocab, logits, u, temperature);
    CHECK(run(three, vocab, logits, u, temperature).tokens == got.tokens);
    for (size_t r = 0; r < size_t(rows); ++r) {
      std::vector<double> until;
      double sum = 0;
      for (size_t v = 0; v < size_t(vocab); ++v) {
        sum += std::exp(double{logits[r * size_t(vocab) + v]} / double{temperature});
        until.push_back(sum);
      }
      const size_t token = size_t(got.tokens[r]);
      REQUIRE(token < size_t(vocab));
      // The weights are float: u may lie that close to a bound.
      CHECK(until[token] / sum >= double{u[r]} - 1e-6);
      CHECK((token == 0 ? 0 : until[token - 1] / sum) <= double{u[r]} + 1e-6);
    }
  }
}

TEST_CASE("u = 0 takes the first and the largest u the last token that has any probability") {
  Threads threads(1);
  for (int64_t vocab : {20, 3000}) {
    Array logits(size_t(vocab), -kInfinity);
    logits[4] = 1.0f;
    logits[7] = 0.0f;
    logits[size_t(vocab) - 6] = 0.5f;
    logits[size_t(vocab) - 2] = -300.0f;  // underflows: no probability
    const float last = std::nextafter(1.0f, 0.0f);
    CHECK(run(threads, vocab, logits, {0.0f}, 1.0f).tokens[0] == 4);
    CHECK(run(threads, vocab, logits, {last}, 1.0f).tokens[0] == vocab - 6);
    // Outside of the contract, but never outside of the row.
    CHECK(run(threads, vocab, logits, {1.0f}, 1.0f).tokens[0] == vocab - 6);
    CHECK(run(threads, vocab, logits, {kNaN}, 1.0f).tokens[0] == vocab - 6);
  }
}

TEST_CASE("a bound belongs to the next token") {
  Threads threads(1);
  const Array equal(12, 0.25f);  // three rows of four equal tokens
  const Sampled got = run(threads, 4, equal, {0.25f, 0.5f, 0.75f}, 1.0f);
  CHECK(got.tokens == std::vector<int32_t>{1, 2, 3});
}

TEST_CASE("frequencies follow the distribution") {
  Threads threads(2);
  const int64_t vocab = 3, rows = 40000;
  Array logits;
  for (int64_t r = 0; r < rows; ++r)
    logits.insert(logits.end(), {0.0f, std::log(2.0f), -kInfinity});
  const Sampled got = run(threads, vocab, logits, random_array(rows, 3, 0, 1), 1.0f);
  const double ones = std::accumulate(got.tokens.begin(), got.tokens.end(), 0.0);
  CHECK(ones / double(rows) == doctest::Approx(2.0 / 3).epsilon(0.02));  // eight standard errors
}

TEST_CASE("greedy takes the first of equal maxima") {
  Threads threads(1);
  Array logits(2100, -2.0f);
  logits[1500] = logits[1999] = 3.0f;
  CHECK(run(threads, 2100, logits, {}, 1.0f, true).tokens[0] == 1500);
  CHECK(run(threads, 1, {-5.0f}, {}, 1.0f, true).tokens[0] == 0);
}

TEST_CASE("faulty rows give -1, are reported and leave the others alone") {
  Threads threads(2);
  const int64_t vocab = 37;
  Array logits = random_array(5 * vocab, 4);
  logits[1 * 37 + 36] = kNaN;
  logits[2 * 37 + 0] = kInfinity;
  std::fill_n(logits.begin() + 4 * 37, vocab, -kInfinity);
  for (bool greedy : {false, true}) {
    const Sampled got = run(threads, vocab, logits, Array(5, 0.5f), 1.0f, greedy);
    for (size_t r : {1, 2, 4}) CHECK(got.tokens[r] == -1);
    for (size_t r : {0, 3}) CHECK(got.tokens[r] >= 0);
    CHECK(got.faults.count[int(Fault::not_a_number)] == 2);
    CHECK(got.faults.first_row[int(Fault::not_a_number)] == 1);
    CHECK(got.faults.count[int(Fault::no_support)] == 1);
    CHECK(got.faults.first_row[int(Fault::no_support)] == 4);
  }
}

TEST_CASE("a vocabulary beyond 2^20 is refused") {
  Threads threads(1);
  SampleArgs a{};
  a.vocab = (1 << 20) + 1;
  CHECK(sample(threads, a).code == Code::range);
}

}  // namespace
}  // namespace firesteel
