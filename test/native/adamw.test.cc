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
    SumSquaresArgs a{};
    a.tensors = 3;  // cut where the blocks are not, and one that is empty
    a.tensor[0] = {40001, x.data()};
    a.tensor[1] = {0, nullptr};
    a.tensor[2] = {60000, x.data() + 40001};
    std::vector<char> workspace(size_t(sum_squares_workspace(a)));
    double total = 7.0;
    a.total = &total;
    a.workspace = workspace.data();
    REQUIRE(sum_squares(threads, a).ok());
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
      args.tensors = 1;
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
        args.tensor[0] = {count,           state->param.data(), grad.data(),
                          state->m.data(), state->v.data(),     nullptr};
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

TEST_CASE("masters take the step of float32 parameters, over any cut into tensors") {
  Threads one(1), three(3);
  const int64_t counts[] = {1, 70003, 0, 33, 32768, 15, 16, 17, 7, 40000};
  for (DType dtype : {DType::bf16, DType::f16}) {
    AdamwArgs a{};
    a.lr = 1e-2f;
    a.beta1 = 0.9f;
    a.beta2 = 0.95f;
    a.eps = 1e-8f;
    a.weight_decay = 0.1f;
    a.correction1 = 0.1f;
    a.correction2 = 0.05f;
    int64_t all = 0;
    for (int64_t count : counts) all += count;
    const Array start = random_array(all, 1), grad = random_array(all, 2);
    Array plain = start, plain_m(start.size()), plain_v(start.size());
    Array master = start, m(start.size()), v(start.size());
    std::vector<uint16_t> rounded(start.size() + 1, 0x7fff);
    a.tensors = 1;
    a.tensor[0] = {all, plain.data(), grad.data(), plain_m.data(), plain_v.data(), nullptr};
    REQUIRE(adamw(one, a).ok());
    a.dtype = dtype;
    a.tensors = 0;
    for (int64_t at = 0; a.tensors < kAdamwTensors; at += counts[a.tensors++]) {
      a.tensor[a.tensors] = {counts[a.tensors], master.data() + at, grad.data() + at,
                             m.data() + at,     v.data() + at,      rounded.data() + at};
    }
    REQUIRE(adamw(three, a).ok());
    CHECK(same_bits(master, plain));
    CHECK(same_bits(m, plain_m));
    CHECK(same_bits(v, plain_v));
    bool right = rounded.back() == 0x7fff;
    for (size_t i = 0; i < plain.size(); ++i)
      right = right && rounded[i] == narrow(dtype, plain[i]);
    CHECK(right);
  }
  AdamwArgs wrong{};
  wrong.dtype = DType::f64;
  CHECK(adamw(one, wrong).code == Code::dtype);
}

TEST_CASE("adamw leaves everything as it is when the norm is not finite") {
  Threads threads(1);
  for (double square : {double{kInfinity}, double{kNaN}}) {
    Array param = {1, 2}, m = {3, 4}, v = {5, 6};
    const Array grad = {1, kNaN};
    std::vector<uint16_t> rounded = {7, 8};
    AdamwArgs a{};
    a.tensors = 1;
    a.tensor[0] = {2, param.data(), grad.data(), m.data(), v.data(), rounded.data()};
    a.dtype = DType::bf16;
    a.lr = 0.1f;
    a.beta1 = a.beta2 = 0.9f;
    a.eps = 1e-8f;
    a.weight_decay = a.correction1 = a.correction2 = 0.1f;
    a.grad_square = &square;
    a.max_grad_norm = 1.0f;
    REQUIRE(adamw(threads, a).ok());
    CHECK(rounded == std::vector<uint16_t>{7, 8});
    CHECK(param == Array{1, 2});
    CHECK(m == Array{3, 4});
    CHECK(v == Array{5, 6});
  }
}

}  // namespace
}  // namespace firesteel
