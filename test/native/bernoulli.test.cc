// The float64 maths of bernoulli against long double, and what only native code can look at.
#include "kernels/bernoulli/bernoulli.h"

#include "arrays.h"
#include "kernels/bernoulli/math.h"

namespace firesteel {
namespace {

using Long = long double;

Long log_sigmoid(Long z) {
  return (z < 0 ? z : 0) - log1pl(expl(-fabsl(z)));
}
// log E[exp(d X)] - d E[X] for X = 1 with probability p: the same KL by another way.
Long kl(Long z, Long r) {
  if (z > 0) return kl(-z, -r);
  const Long d = r - z, p = expl(log_sigmoid(z));
  return fabsl(d) < 1 ? log1pl(p * expm1l(d)) - p * d : log_sigmoid(-z) - log_sigmoid(-r) - p * d;
}
double off(double got, Long want) {
  return want == 0 ? std::fabs(got) : static_cast<double>(fabsl((got - want) / want));
}

TEST_CASE("log-prob, entropy and variance are right to 1e-14 wherever they are normal numbers") {
  double worst = 0.0;
  for (double z = -700.0; z <= 700.0; z += 0.37) {
    const Long log_p = log_sigmoid(z), log_rest = log_sigmoid(-Long(z));
    const Long p = expl(log_p), rest = expl(log_rest);
    worst = std::max(worst, off(bernoulli::log_prob_of(z, true), log_p));
    worst = std::max(worst, off(bernoulli::log_prob_of(z, false), log_rest));
    worst = std::max(worst, off(bernoulli::entropy_of(z), -p * log_p - rest * log_rest));
    worst = std::max(worst, off(bernoulli::variance_of(z), p * rest));
    worst = std::max(worst, off(bernoulli::sigmoid(z), p));
  }
  CHECK(worst < 1e-14);
}

// The bound of math.h: 2e-15 / d^2 above |d| = 2^-9, d^3 / 60 below. A float needs 6e-8.
TEST_CASE("KL is right to 1e-9 at every distance") {
  double worst = 0.0;
  for (double z = -60.0; z <= 60.0; z += 1.7) {
    for (double d = 1e-6; d < 100.0; d *= 1.3) {
      for (const double r : {z + d, z - d}) {
        worst = std::max(worst, off(bernoulli::kl_of(z, r), kl(z, r)));
      }
    }
    for (const double d : {0x1p-9, 0x1p-9 * (1 - 1e-15)}) {
      worst = std::max(worst, off(bernoulli::kl_of(z, z + d), kl(z, z + d)));
    }
  }
  CHECK(worst < 1e-9);
}

TEST_CASE("KL of certain and impossible edges") {
  const double inf = HUGE_VAL;
  CHECK(bernoulli::kl_of(inf, inf) == 0.0);
  CHECK(bernoulli::kl_of(-inf, -inf) == 0.0);
  CHECK(bernoulli::kl_of(inf, -inf) == inf);
  CHECK(bernoulli::kl_of(-inf, 0.0) == doctest::Approx(std::log(2.0)));
  CHECK(bernoulli::kl_of(0.0, inf) == inf);
  CHECK(bernoulli::kl_of(0.0, -inf) == inf);
  CHECK(std::isnan(bernoulli::kl_of(0.0, std::nan(""))));
  CHECK(std::isnan(bernoulli::kl_of(-inf, std::nan(""))));
}

TEST_CASE("reads and writes its own edges alone, with any number of threads") {
  const int64_t edges = 5003;
  const Array logit_values = random_array(edges, 1, -8.0f, 8.0f);
  const Array ref_values = random_array(edges, 2, -8.0f, 8.0f);
  std::vector<uint8_t> actions(edges), mask(edges);
  for (size_t e = 0; e < size_t(edges); ++e) {
    actions[e] = e % 3 == 0;
    mask[e] = e % 5 != 0;
  }
  const std::vector<int32_t> offsets{0, 0, 7, 5000, 5003};
  Array first;
  for (const int threads : {1, 2, 3}) {
    Threads cpu(threads);
    Padded logits(1, edges, edges, logit_values), ref(1, edges, edges, ref_values);
    Padded log_prob(1, edges, edges), entropy(1, edges, edges), divergence(1, edges, edges);
    std::vector<double> sums(12, 7.0);
    FaultWord faults{{0, 0, 0}, {~0u, ~0u, ~0u}};
    const BernoulliArgs a{edges,
                          4,
                          offsets.data(),
                          logits.data(),
                          ref.data(),
                          actions.data(),
                          mask.data(),
                          0.7,
                          log_prob.data(),
                          entropy.data(),
                          divergence.data(),
                          sums.data(),
                          sums.data() + 4,
                          sums.data() + 8,
                          &faults};
    CHECK(bernoulli_forward(cpu, a).ok());
    CHECK(log_prob.intact());
    CHECK(entropy.intact());
    CHECK(divergence.intact());
    CHECK(faults.count[0] + faults.count[1] + faults.count[2] == 0);
    CHECK(sums[0] == 0.0);
    Padded d_logits(1, edges, edges);
    CHECK(bernoulli_backward(cpu, {edges, logits.data(), ref.data(), actions.data(), mask.data(),
                                   0.7, logits.data(), ref.data(), logits.data(), d_logits.data()})
              .ok());
    CHECK(d_logits.intact());
    Array all = log_prob.values();
    for (const Padded* x : {&entropy, &divergence, &d_logits}) {
      const Array more = x->values();
      all.insert(all.end(), more.begin(), more.end());
    }
    if (first.empty()) first = all;
    CHECK(same_bits(all, first));
  }
}

}  // namespace
}  // namespace firesteel
