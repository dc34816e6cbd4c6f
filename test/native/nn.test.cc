// rms_norm, rope and swiglu against double arithmetic, their gradients against central differences,
// and bits that do not depend on threads.
#include <functional>

#include "arrays.h"
#include "every_isa.h"
#include "nn/rms_norm/rms_norm.h"
#include "nn/rope/rope.h"
#include "nn/swiglu/swiglu.h"

namespace firesteel {
namespace {

using Doubles = std::vector<double>;

Doubles doubles(const Array& x) {
  return Doubles(x.begin(), x.end());
}

// Central differences of sum(weight * f(x)).
Doubles slopes(const Doubles& x, const Array& weight,
               const std::function<Doubles(const Doubles&)>& f) {
  const auto objective = [&](const Doubles& at) {
    const Doubles y = f(at);
    double sum = 0;
    for (size_t i = 0; i < y.size(); ++i) sum += y[i] * double{weight[i]};
    return sum;
  };
  Doubles slope;
  for (size_t i = 0; i < x.size(); ++i) {
    Doubles moved = x;
    moved[i] += 1e-5;
    const double up = objective(moved);
    moved[i] -= 2e-5;
    slope.push_back((up - objective(moved)) / 2e-5);
  }
  return slope;
}

// ---- rms_norm ----

Doubles rms_norm_reference(const Doubles& x, const Doubles& weight, double eps) {
  Doubles y(x.size());
  const size_t width = weight.size();
  for (size_t r = 0; r < x.size(); r += width) {
    double squares = 0;
    for (size_t j = 0; j < width; ++j) squares += x[r + j] * x[r + j];
    const double inverse = 1 / std::sqrt(squares / double(width) + eps);
    for (size_t j = 0; j < width; ++j) y[r + j] = x[r + j] * inverse * weight[j];
  }
  return y;
}

struct Norm {
  Array y, inv_rms, d_x, d_weight;
};

Norm rms_norm(Context& context, int64_t rows, const Array& x, const Array& weight,
              const Array& d_y) {
  const int64_t width = int64_t(weight.size());
  Padded in(rows, width, width, x), d_in(rows, width, width, d_y), scale(1, width, width, weight);
  Padded y(rows, width, width), inv_rms(1, rows, rows), d_x(rows, width, width);
  Padded d_weight(1, width, width);
  REQUIRE(rms_norm_forward(context, {DType::f32, rows, width, in.data(), nullptr, scale.data(),
                                     1e-5f, nullptr, y.data(), inv_rms.data()})
              .ok());
  std::vector<char> workspace(size_t(rms_norm_backward_workspace(rows, width)));
  REQUIRE(rms_norm_backward(context,
                            {DType::f32, rows, width, in.data(), scale.data(), inv_rms.data(),
                             d_in.data(), nullptr, d_x.data(), d_weight.data(), workspace.data()})
              .ok());
  for (const Padded* p : {&y, &inv_rms, &d_x, &d_weight}) CHECK(p->intact());
  return {y.values(), inv_rms.values(), d_x.values(), d_weight.values()};
}

using Halves = std::vector<uint16_t>;

Halves halves(DType type, const Array& x) {
  Halves bits;
  for (float v : x) bits.push_back(narrow(type, v));
  return bits;
}
Array floats(DType type, const Halves& x) {
  Array values;
  for (uint16_t v : x) values.push_back(widen(type, v));
  return values;
}

TEST_CASE("the residual is added, and its gradient, as by calls of their own; 16 bits round once") {
  Threads threads(2);
  for (int64_t width : {1, 17, 64, 200}) {
    CAPTURE(width);
    const int64_t rows = 37, count = rows * width;
    const Array x = random_array(count, 1), residual = random_array(count, 2);
    const Array weight = random_array(width, 3), d_y = random_array(count, 4);
    const Array d_sum = random_array(count, 5);
    std::vector<char> workspace(size_t(rms_norm_backward_workspace(rows, width)));
    Array added;
    for (size_t i = 0; i < x.size(); ++i) added.push_back(x[i] + residual[i]);
    const Norm apart = rms_norm(threads, rows, added, weight, d_y);
    Padded sum(rows, width, width), y(rows, width, width), d_x(rows, width, width);
    Array inv_rms(size_t(rows), kNaN), d_weight(size_t(width), kNaN);
    REQUIRE(rms_norm_forward(threads, {DType::f32, rows, width, x.data(), residual.data(),
                                       weight.data(), 1e-5f, sum.data(), y.data(), inv_rms.data()})
                .ok());
    REQUIRE(rms_norm_backward(
                threads, {DType::f32, rows, width, sum.data(), weight.data(), inv_rms.data(),
                          d_y.data(), d_sum.data(), d_x.data(), d_weight.data(), workspace.data()})
                .ok());
    Array joined = apart.d_x;
    for (size_t i = 0; i < joined.size(); ++i) joined[i] += d_sum[i];
    for (const Padded* p : {&sum, &y, &d_x}) CHECK(p->intact());
    CHECK(same_bits(sum.values(), added));
    CHECK(same_bits(y.values(), apart.y));
    CHECK(same_bits(d_x.values(), joined));
    CHECK(same_bits(d_weight, apart.d_weight));

    for (DType type : {DType::bf16, DType::f16}) {
      const Halves hx = halves(type, x), hr = halves(type, residual), hw = halves(type, weight);
      const Halves hd = halves(type, d_y), hs = halves(type, d_sum);
      Halves h_sum(hx.size()), h_y(hx.size()), h_d_x(hx.size());
      REQUIRE(rms_norm_forward(threads, {type, rows, width, hx.data(), hr.data(), hw.data(), 1e-5f,
                                         h_sum.data(), h_y.data(), inv_rms.data()})
                  .ok());
      REQUIRE(rms_norm_backward(
                  threads, {type, rows, width, h_sum.data(), hw.data(), inv_rms.data(), hd.data(),
                            hs.data(), h_d_x.data(), d_weight.data(), workspace.data()})
                  .ok());
      Array wide_sum;
      for (size_t i = 0; i < hx.size(); ++i) {
        wide_sum.push_back(widen(type, hx[i]) + widen(type, hr[i]));
      }
      CHECK(h_sum == halves(type, wide_sum));
      const Norm wide =
          rms_norm(threads, rows, floats(type, h_sum), floats(type, hw), floats(type, hd));
      CHECK(h_y == halves(type, wide.y));
      CHECK(same_bits(inv_rms, wide.inv_rms));
      CHECK(same_bits(d_weight, wide.d_weight));
      Array wide_d_x = wide.d_x;
      for (size_t i = 0; i < hs.size(); ++i) wide_d_x[i] += widen(type, hs[i]);
      CHECK(h_d_x == halves(type, wide_d_x));
    }
  }
}

TEST_CASE("rms_norm matches double arithmetic, its gradients central differences") {
  Threads one(1), three(3);
  for (int64_t width : {1, 15, 64, 65, 257}) {
    CAPTURE(width);
    const int64_t rows = 7;
    const Array x = random_array(rows * width, 1, -3, 3), weight = random_array(width, 2, 0.5, 2);
    const Array d_y = random_array(rows * width, 3);
    const Norm n = rms_norm(one, rows, x, weight, d_y);
    const double eps = double{1e-5f};
    CHECK(distance(n.y, rms_norm_reference(doubles(x), doubles(weight), eps), 1e-7, 1e-6) <= 1.0);
    const auto of_x = [&](const Doubles& at) {
      return rms_norm_reference(at, doubles(weight), eps);
    };
    const auto of_weight = [&](const Doubles& at) {
      return rms_norm_reference(doubles(x), at, eps);
    };
    CHECK(distance(n.d_x, slopes(doubles(x), d_y, of_x), 2e-6, 1e-5) <= 1.0);
    CHECK(distance(n.d_weight, slopes(doubles(weight), d_y, of_weight), 2e-6, 1e-5) <= 1.0);
  }
  CHECK(rms_norm_run(1) == 4);
  CHECK(rms_norm_run(4096) == 8);
  CHECK(rms_norm_run(8192) == 16);
  CHECK(rms_norm_run(100000) == 49);
  CHECK(rms_norm_runs(0) == 0);
  const Array x = random_array(3000 * 65, 4), d_y = random_array(3000 * 65, 5);
  const Array weight = random_array(65, 6);
  const Norm a = rms_norm(one, 3000, x, weight, d_y), b = rms_norm(three, 3000, x, weight, d_y);
  CHECK(same_bits(a.y, b.y));
  CHECK(same_bits(a.d_x, b.d_x));
  CHECK(same_bits(a.d_weight, b.d_weight));
}

// ---- rope ----

Array rope(Context& context, const Array& x, const std::vector<int32_t>& positions, int64_t heads,
           int64_t dim, double base, bool inverse, int64_t gap = 0) {
  const int64_t tokens = int64_t(positions.size()), width = heads * dim;
  Padded in(tokens, width, width + gap, x), out(tokens, width, width);
  RopeArgs a{};
  a.dtype = DType::f32;
  a.tokens = tokens;
  a.heads = heads;
  a.head_dim = dim;
  a.positions = positions.data();
  a.base = base;
  a.inverse = inverse;
  a.x = in.data();
  a.x_stride = in.stride;
  a.y = out.data();
  REQUIRE(rope(context, a).ok());
  CHECK(out.intact());
  return out.values();
}

TEST_CASE("rope turns by exact angles at any position, and back") {
  Threads threads(2);
  const std::vector<int32_t> positions = {0, 1, 2, 77, 4095, 1000000, 2147483647, -3};
  for (int64_t dim : {2, 6, 32, 66, 512}) {
    for (double base : {1.0, 10000.0, 1e6}) {
      const int64_t heads = 3, tokens = int64_t(positions.size());
      const Array x = random_array(tokens * heads * dim, 7);
      Doubles expected(x.size());
      for (int64_t t = 0; t < tokens; ++t) {
        for (int64_t h = 0; h < heads; ++h) {
          for (int64_t i = 0; i < dim / 2; ++i) {
            const double theta = std::pow(base, -2.0 * double(i) / double(dim));
            const double angle = positions[size_t(t)] * theta;
            const double c = std::cos(angle), s = std::sin(angle);
            const size_t low = size_t((t * heads + h) * dim + i), high = low + size_t(dim / 2);
            expected[low] = double{x[low]} * c - double{x[high]} * s;
            expected[high] = double{x[high]} * c + double{x[low]} * s;
          }
        }
      }
      const Array y = rope(threads, x, positions, heads, dim, base, false, 5);
      CHECK(distance(y, expected, 2e-7, 0) <= 1.0);  // three roundings of values up to 1.4
      CHECK(distance(rope(threads, y, positions, heads, dim, base, true), x, 4e-7, 0) <= 1.0);
    }
  }
}

TEST_CASE("rope may work in place") {
  Threads threads(1);
  const Array x = random_array(4 * 2 * 32, 8);
  const std::vector<int32_t> positions = {3, 9, 1, 4};
  const Array expected = rope(threads, x, positions, 2, 32, 1e4, false);
  Array y = x;
  REQUIRE(
      rope(threads, {DType::f32, 4, 2, 32, positions.data(), 1e4, false, y.data(), 64, y.data()})
          .ok());
  CHECK(same_bits(y, expected));
}

// ---- swiglu ----

double silu(double x) {
  return x / (1 + std::exp(-x));
}

TEST_CASE("swiglu and its gradients match double arithmetic") {
  Threads one(1), three(3);
  const int64_t count = 70001;
  Array gate = random_array(count, 14, -20, 20);
  const Array up = random_array(count, 15, -3, 3), d_y = random_array(count, 16);
  const float extremes[] = {0.0f, -0.0f, 100.0f, -100.0f, 1e30f, -1e30f};
  std::copy(std::begin(extremes), std::end(extremes), gate.begin() + 3);
  Doubles y, d_gate, d_up;
  for (size_t i = 0; i < size_t(count); ++i) {
    const double g = double{gate[i]}, s = 1 / (1 + std::exp(-g));
    y.push_back(silu(g) * double{up[i]});
    d_up.push_back(silu(g) * double{d_y[i]});
    d_gate.push_back(double{d_y[i]} * double{up[i]} * (s + (g < -700 ? 0.0 : silu(g) * (1 - s))));
  }
  Array results[2][3];
  for (int i = 0; i < 2; ++i) {
    Context& context = i == 0 ? static_cast<Context&>(one) : three;
    Padded out[3] = {{1, count, count}, {1, count, count}, {1, count, count}};
    REQUIRE(
        swiglu_forward(context, {DType::f32, count, gate.data(), up.data(), out[0].data()}).ok());
    REQUIRE(swiglu_backward(context, {DType::f32, count, gate.data(), up.data(), d_y.data(),
                                      out[1].data(), out[2].data()})
                .ok());
    for (int j = 0; j < 3; ++j) {
      CHECK(out[j].intact());
      results[i][j] = out[j].values();
    }
  }
  // exp, three roundings and a division; below 1e-30 exp(-x) has overflowed to inf and y is 0.
  CHECK(distance(results[0][0], y, 1e-30, 5e-7) <= 1.0);
  CHECK(distance(results[0][1], d_gate, 1e-6, 1e-6) <= 1.0);
  CHECK(distance(results[0][2], d_up, 1e-30, 5e-7) <= 1.0);
  for (int j = 0; j < 3; ++j) CHECK(same_bits(results[0][j], results[1][j]));

  const Array few(gate.begin() + 100, gate.begin() + 120), few_up(up.begin(), up.begin() + 20);
  const Array weight(d_y.begin(), d_y.begin() + 20);
  Array got(20), unused(20);
  REQUIRE(swiglu_backward(one, {DType::f32, 20, few.data(), few_up.data(), weight.data(),
                                got.data(), unused.data()})
              .ok());
  const Doubles slope = slopes(doubles(few), weight, [&](const Doubles& at) {
    Doubles out;
    for (size_t i = 0; i < at.size(); ++i) out.push_back(silu(at[i]) * double{few_up[i]});
    return out;
  });
  CHECK(distance(got, slope, 2e-6, 1e-5) <= 1.0);
}

// ---- 16 bits ----

TEST_CASE("rope and swiglu of 16-bit tensors are those of floats, rounded once") {
  Threads threads(2);
  const int64_t tokens = 5, heads = 3, dim = 26, count = tokens * heads * dim;
  const std::vector<int32_t> positions = {0, 1, 77, 4095, 1000000};
  const Array x = random_array(count, 1, -3, 3), other = random_array(count, 2, -3, 3);
  for (DType type : {DType::bf16, DType::f16}) {
    const Halves a = halves(type, x), b = halves(type, other);
    const Array wide_a = floats(type, a), wide_b = floats(type, b);
    Halves y(a.size()), second(a.size());
    Array wide(a.size()), wide_second(a.size());
    REQUIRE(rope(threads, {type, tokens, heads, dim, positions.data(), 1e4, false, a.data(),
                           heads * dim, y.data()})
                .ok());
    CHECK(y == halves(type, rope(threads, wide_a, positions, heads, dim, 1e4, false)));
    REQUIRE(swiglu_forward(threads, {type, count, a.data(), b.data(), y.data()}).ok());
    REQUIRE(swiglu_forward(threads, {DType::f32, count, wide_a.data(), wide_b.data(), wide.data()})
                .ok());
    CHECK(y == halves(type, wide));
    REQUIRE(swiglu_backward(threads,
                            {type, count, a.data(), b.data(), a.data(), y.data(), second.data()})
                .ok());
    REQUIRE(swiglu_backward(threads, {DType::f32, count, wide_a.data(), wide_b.data(),
                                      wide_a.data(), wide.data(), wide_second.data()})
                .ok());
    CHECK(y == halves(type, wide));
    CHECK(second == halves(type, wide_second));
  }
}

}  // namespace
}  // namespace firesteel
