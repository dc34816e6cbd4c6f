// gaussian on the CPU where only native code can look: reads and writes at the edges of arrays,
// sizes around a vector and a part, indices beyond 2^31, the plan of the sums.
#include "kernels/gaussian/gaussian.h"

#include "arrays.h"
#include "every_isa.h"

namespace firesteel {
namespace {

constexpr double kHalfLogTwoPi = 0.91893853320467274178;

struct Scores {
  Array out;
  std::vector<double> slope;
  FaultWord faults{{0, 0, 0}, {~0u, ~0u, ~0u}};
};

// Runs `call` with a workspace of exactly the bytes that it asked for, before a page that may not
// be touched.
template <class Call>
Scores scores(int64_t samples, int64_t width, GaussianTerm term, const Array& std, Call call) {
  Scores s{Array(size_t(samples), 7.0f), std::vector<double>(size_t(samples), 7.0)};
  const int64_t words = gaussian_workspace(samples, width) / 4;
  Padded workspace(1, words, words);
  call(GaussianScore{std.data(), term, GaussianReduction::mean, s.out.data(), s.slope.data(),
                     workspace.data(), &s.faults});
  CHECK(workspace.intact());
  return s;
}

// Vectors of 4, 8 and 16 floats, and parts of 16,384 elements.
constexpr int64_t kWidths[] = {0,  1,  3,  4,   7,     8,     9,     15,
                               16, 17, 33, 100, 16383, 16384, 16385, 40000};

TEST_CASE("log-probs and gradients at every width touch their own elements alone") {
  for (const int64_t width : kWidths) {
    CAPTURE(width);
    const int64_t samples = 3, elements = samples * width;
    const Array values = random_array(elements, 1, -2.0f, 2.0f),
                means = random_array(elements, 2, -2.0f, 2.0f);
    Padded value(1, elements, elements, values), mean(1, elements, elements, means);
    Padded d_input(1, elements, elements);
    std::vector<uint8_t> mask(static_cast<size_t>(elements));
    for (size_t i = 0; i < mask.size(); ++i) mask[i] = i % 3 == 1 ? 0 : i % 3 == 2 ? 1 : 255;
    const Array std{0.5f, 1.0f, 2.0f}, d_out{1.0f, -2.0f, 0.5f};
    Threads cpu(2);
    const Scores got = scores(samples, width, GaussianTerm::log_prob, std, [&](GaussianScore s) {
      CHECK(
          gaussian_forward(cpu, {samples, width, value.data(), mean.data(), mask.data(), s}).ok());
    });
    CHECK(gaussian_backward(cpu, {samples, width, value.data(), mean.data(), mask.data(),
                                  got.slope.data(), d_out.data(), nullptr, nullptr, d_input.data()})
              .ok());
    CHECK(d_input.intact());
    const Array gradient = d_input.values();
    int wrong = 0;
    for (int64_t b = 0; b < samples; ++b) {
      const double s = double{std[size_t(b)]};
      double squares = 0.0, count = 0.0;
      for (int64_t i = b * width; i < (b + 1) * width; ++i) {
        if (mask[size_t(i)] == 0) continue;
        const double e = double{values[size_t(i)]} - double{means[size_t(i)]};
        squares += e * e;
        count += 1.0;
      }
      const double want =
          count == 0.0 ? 0.0 : -squares / (2 * s * s * count) - std::log(s) - kHalfLogTwoPi;
      const double size = count == 0.0 ? 0.0 : squares / (s * s * count) + 2.0;
      CHECK(std::fabs(double{got.out[size_t(b)]} - want) <= 2e-7 * size);
      for (int64_t i = b * width; i < (b + 1) * width; ++i) {
        const double e = double{values[size_t(i)]} - double{means[size_t(i)]};
        const double exact =
            mask[size_t(i)] == 0 ? 0.0 : double{d_out[size_t(b)]} * e / (s * s * count);
        wrong += !(std::fabs(double{gradient[size_t(i)]} - exact) <= 3e-7 * std::fabs(exact));
      }
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("a flow step at every width: drawn, given and deterministic") {
  for (const int64_t width : kWidths) {
    CAPTURE(width);
    const int64_t samples = 2, elements = samples * width;
    const Array xs = random_array(elements, 1), vs = random_array(elements, 2),
                noises = random_array(elements, 3, -2.0f, 2.0f);
    Padded x(1, elements, elements, xs), v(1, elements, elements, vs);
    Padded noise(1, elements, elements, noises);
    const Array x_scale{0.9f, 1.0f}, v_scale{-0.1f, -0.25f}, std{0.3f, 0.0f};
    Threads cpu(2);
    Padded mean(1, elements, elements), next(1, elements, elements);
    FlowStepArgs a{
        samples, width,       x.data(),    v.data(), x_scale.data(), v_scale.data(), noise.data(),
        nullptr, mean.data(), next.data(), {}};
    const Scores drawn = scores(samples, width, GaussianTerm::log_prob, std, [&](GaussianScore s) {
      a.score = s;
      CHECK(flow_step(cpu, a).ok());
    });
    CHECK(mean.intact());
    CHECK(next.intact());
    int wrong = 0;
    const Array means = mean.values(), nexts = next.values();
    for (size_t i = 0; i < xs.size(); ++i) {
      const size_t b = i / size_t(width);
      const double m = double{x_scale[b]} * double{xs[i]} + double{v_scale[b]} * double{vs[i]};
      const double size = std::fabs(double{xs[i]}) + std::fabs(double{vs[i]});
      wrong += !(std::fabs(double{means[i]} - m) <= 2e-7 * size);
      const double n = double{means[i]} + double{std[b]} * double{noises[i]};
      wrong += !(std::fabs(double{nexts[i]} - n) <= 2e-7 * (size + std::fabs(double{noises[i]})));
    }
    CHECK(wrong == 0);
    if (width > 0) {
      CHECK(drawn.out[1] == 0.0f);
      CHECK(drawn.slope[1] == 0.0);
    }

    Padded again(1, elements, elements);
    a.noise = nullptr;
    a.given = next.data();
    a.next = nullptr;
    a.mean = again.data();
    const Scores given = scores(samples, width, GaussianTerm::log_prob, std, [&](GaussianScore s) {
      a.score = s;
      CHECK(flow_step(cpu, a).ok());
    });
    CHECK(again.intact());
    CHECK(same_bits(again.values(), means));
    CHECK(given.out == drawn.out);
    CHECK(given.slope == drawn.slope);

    Padded plain(1, elements, elements);
    a.given = nullptr;
    a.next = plain.data();
    const Array zeros{0.0f, 0.0f};
    const Scores ode = scores(samples, width, GaussianTerm::log_prob, zeros, [&](GaussianScore s) {
      a.score = s;
      CHECK(flow_step(cpu, a).ok());
    });
    CHECK(same_bits(plain.values(), means));
    CHECK(ode.out == zeros);
  }
}

TEST_CASE("the sum of a sample does not depend on threads or on the other samples") {
  const int64_t width = 100003;
  const Array value = random_array(2 * width, 5), mean = random_array(2 * width, 6);
  const auto run = [&](int64_t first, int64_t samples, int threads) {
    Threads cpu(threads);
    const Array std(size_t(samples), 0.7f);
    return scores(samples, width, GaussianTerm::kl, std, [&](GaussianScore s) {
      const GaussianArgs a{
          samples, width, value.data() + first * width, mean.data() + first * width, nullptr, s};
      CHECK(gaussian_forward(cpu, a).ok());
    });
  };
  const Scores one = run(0, 2, 1), three = run(0, 2, 3), alone = run(1, 1, 2);
  CHECK(one.out == three.out);
  CHECK(one.slope == three.slope);
  CHECK(alone.out[0] == one.out[1]);
}

TEST_CASE("more than 2^31 elements") {
  if (getenv("FIRESTEEL_ISA") != nullptr) return;  // once, not on every instruction set
  // One array of zeros that takes no memory; the means lie 16 elements further on.
  const int64_t width = int64_t{1} << 16, samples = (int64_t{1} << 15) + 2;
  const int64_t elements = samples * width;
  const size_t bytes = size_t(elements + 16) * sizeof(float);
  void* pages = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  REQUIRE(pages != MAP_FAILED);
  float* value = static_cast<float*>(pages);
  value[elements - 1] = 256.0f;  // value[last] and mean[last - 16]
  const Array std(size_t(samples), 1.0f);
  Threads cpu(2);
  const Scores got = scores(samples, width, GaussianTerm::kl, std, [&](GaussianScore s) {
    CHECK(gaussian_forward(cpu, {samples, width, value, value + 16, nullptr, s}).ok());
  });
  CHECK(got.out.back() == 1.0f);
  CHECK(std::count(got.out.begin(), got.out.end(), 0.0f) == samples - 1);
  munmap(pages, bytes);
}

TEST_CASE("samples without elements, and no samples") {
  Threads cpu(2);
  const Scores empty =
      scores(3, 0, GaussianTerm::log_prob, {1.0f, kNaN, 0.0f}, [&](GaussianScore s) {
        CHECK(gaussian_forward(cpu, {3, 0, nullptr, nullptr, nullptr, s}).ok());
      });
  CHECK(empty.out == Array{0.0f, 0.0f, 0.0f});
  CHECK(empty.faults.count[int(Fault::not_a_number)] == 0);
  const Scores none = scores(0, 5, GaussianTerm::log_prob, {}, [&](GaussianScore s) {
    CHECK(gaussian_forward(cpu, {0, 5, nullptr, nullptr, nullptr, s}).ok());
  });
  CHECK(none.out.empty());
}

}  // namespace
}  // namespace firesteel
