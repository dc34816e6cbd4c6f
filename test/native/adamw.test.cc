// adamw and sum_squares against double arithmetic, and bits that do not depend on threads.
#include "nn/adamw/adamw.h"

#include "arrays.h"
#include "every_isa.h"

namespace firesteel {
namespace {

using Doubles = std::vector<double>;

Doubles doubles(const Array& x) {
  return Doubles(x.begin(), x.end());
}

TEST_CASE("sum_squares adds in float64, the same at any thread count") {
  const Array x = random_array(100001, 22, -1e4f, 1e4f);
  double expected = 7.0;
  for (float v : x) expected += double{v} * double{v};
  double first = 0;
  for (int count : {1, 4}) {
    Threads threads(count);
    std::vector<char> workspace(size_t(sum_squares_workspace(int64_t(x.size()))));
    double total = 7.0;
    REQUIRE(sum_squares(threads, {int64_t(x.size()), x.data(), &total, workspace.data()}).ok());
    CHECK(total == doctest::Approx(expected).epsilon(1e-12));
    if (count == 1) first = total;
    CHECK(total == first);
  }
}

struct Adam {
  Array param, m, v;
};

TEST_CASE("adamw follows algorithm 2 with clipping by the global norm") {
  Threads one(1), three(3);
  const int64_t count = 70003;
  const double lr = 3e-2, beta1 = 0.9, beta2 = 0.95, eps = 1e-8, decay = 0.1;
  for (double norm : {0.0, 1.0, 50.0}) {  // none; not reached; clipped to a fiftieth
    const Array start = random_array(count, 23);
    Adam a{start, Array(size_t(count)), Array(size_t(count))}, b = a;
    Doubles param = doubles(start), m(start.size()), v(start.size());
    for (int step = 1; step <= 5; ++step) {
      const Array grad = random_array(count, 100 + uint32_t(step));
      const double square = norm * norm, clip = norm > 1 ? 1 / (norm + 1e-6) : 1;
      AdamwArgs args{};
      args.count = count;
      args.grad = grad.data();
      args.lr = float(lr);
      args.beta1 = float(beta1);
      args.beta2 = float(beta2);
      args.eps = float(eps);
      args.weight_decay = float(decay);
      args.correction1 = float(1 - std::pow(beta1, step));
      args.correction2 = float(1 - std::pow(beta2, step));
      args.grad_square = norm > 0 ? &square : nullptr;
      args.max_grad_norm = norm > 1 ? 1.0f : 2.0f;
      for (Adam* state : {&a, &b}) {
        args.param = state->param.data();
        args.m = state->m.data();
        args.v = state->v.data();
        REQUIRE(adamw(state == &a ? one : three, args).ok());
      }
      for (size_t i = 0; i < param.size(); ++i) {
        const double g = double{grad[i]} * clip;
        m[i] = beta1 * m[i] + (1 - beta1) * g;
        v[i] = beta2 * v[i] + (1 - beta2) * g * g;
        const double scaled = std::sqrt(v[i] / (1 - std::pow(beta2, step)));
        const double update = m[i] / (1 - std::pow(beta1, step)) / (scaled + eps);
        param[i] -= lr * (update + decay * param[i]);
      }
    }
    CHECK(distance(a.param, param, 2e-6, 1e-6) <= 1.0);
    CHECK(distance(a.m, m, 1e-7, 1e-5) <= 1.0);
    CHECK(distance(a.v, v, 1e-8, 1e-5) <= 1.0);
    CHECK(same_bits(a.param, b.param));
  }
}

TEST_CASE("adamw leaves everything as it is when the norm is not finite") {
  Threads threads(1);
  for (double square : {double{kInfinity}, double{kNaN}}) {
    Array param = {1, 2}, m = {3, 4}, v = {5, 6};
    const Array grad = {1, kNaN};
    AdamwArgs a{2,    param.data(), grad.data(), m.data(), v.data(), 0.1f,    0.9f,
                0.9f, 1e-8f,        0.1f,        0.1f,     0.1f,     &square, 1.0f};
    REQUIRE(adamw(threads, a).ok());
    CHECK(param == Array{1, 2});
    CHECK(m == Array{3, 4});
    CHECK(v == Array{5, 6});
  }
}

}  // namespace
}  // namespace firesteel
