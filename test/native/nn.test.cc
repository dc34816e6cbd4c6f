// The small operations of a network against double arithmetic, their gradients against central
// differences, and bits that do not depend on threads.
#include <functional>
#include <numeric>

#include "arrays.h"
#include "every_isa.h"
#include "nn/adamw/adamw.h"
#include "nn/elementwise/elementwise.h"
#include "nn/embed/embed.h"
#include "nn/rms_norm/rms_norm.h"
#include "nn/rope/rope.h"
#include "nn/swiglu/swiglu.h"

namespace firesteel {
namespace {

using Doubles = std::vector<double>;

Doubles doubles(const Array& x) { return Doubles(x.begin(), x.end()); }

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
  REQUIRE(rms_norm_forward(context, {rows, width, in.data(), scale.data(), 1e-5f, y.data(),
                                     inv_rms.data()})
              .ok());
  REQUIRE(rms_norm_backward(context, {rows, width, in.data(), scale.data(), inv_rms.data(),
                                      d_in.data(), d_x.data(), d_weight.data()})
              .ok());
  for (const Padded* p : {&y, &inv_rms, &d_x, &d_weight}) CHECK(p->intact());
  return {y.values(), inv_rms.values(), d_x.values(), d_weight.values()};
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
  REQUIRE(rope(threads, {4, 2, 32, positions.data(), 1e4, false, y.data(), 64, y.data()}).ok());
  CHECK(same_bits(y, expected));
}

// ---- embed ----

FaultWord clean() { return {{0, 0, 0}, {~0u, ~0u, ~0u}}; }

TEST_CASE("gather_rows copies rows and reports ids outside of the table") {
  Threads threads(2);
  const int64_t width = 33, rows = 5;
  const Array table = random_array(rows * width, 9);
  const std::vector<int32_t> ids = {4, 0, -1, 2, 5, 4};
  FaultWord faults = clean();
  Padded y(int64_t(ids.size()), width, width);
  REQUIRE(gather_rows(threads, {int64_t(ids.size()), width, rows, table.data(), ids.data(),
                                y.data(), &faults})
              .ok());
  CHECK(y.intact());
  const Array got = y.values();
  for (size_t t = 0; t < ids.size(); ++t) {
    for (size_t j = 0; j < size_t(width); ++j) {
      const float value = got[t * size_t(width) + j];
      if (ids[t] < 0 || ids[t] >= rows) {
        CHECK(std::isnan(value));
      } else {
        CHECK(value == table[size_t(ids[t]) * size_t(width) + j]);
      }
    }
  }
  CHECK(faults.count[int(Fault::id_out_of_range)] == 2);
  CHECK(faults.first_row[int(Fault::id_out_of_range)] == 2);
}

TEST_CASE("scatter_rows writes the rows named and no other") {
  Threads threads(2);
  const int64_t width = 7, rows = 5;
  const std::vector<int32_t> ids = {3, 9, 0};
  Padded x(3, width, width + 2, random_array(3 * width, 10));
  Padded table(rows, width, width, random_array(rows * width, 11));
  const Array before = table.values(), from = x.values();
  FaultWord faults = clean();
  REQUIRE(scatter_rows(threads, {3, width, rows, x.data(), x.stride, ids.data(), table.data(),
                                 &faults})
              .ok());
  CHECK(table.intact());
  const Array after = table.values();
  for (size_t r = 0; r < size_t(rows); ++r) {
    for (size_t j = 0; j < size_t(width); ++j) {
      const size_t at = r * size_t(width) + j;
      CHECK(after[at] == (r == 3 ? from[j] : r == 0 ? from[2 * size_t(width) + j] : before[at]));
    }
  }
  CHECK(faults.count[int(Fault::id_out_of_range)] == 1);
  CHECK(faults.first_row[int(Fault::id_out_of_range)] == 1);
}

TEST_CASE("scatter_add_rows adds in the order of tokens at any thread count") {
  const int64_t width = 130, rows = 3, count = 2000;
  const Array d_y = random_array(count * width, 12);
  std::vector<int32_t> ids;
  for (int64_t t = 0; t < count; ++t) ids.push_back(int32_t(t * 7 % 5) - 1);  // -1 .. 3
  Array expected = random_array(rows * width, 13);
  const Array before = expected;
  for (size_t t = 0; t < size_t(count); ++t) {
    if (ids[t] < 0 || ids[t] >= rows) continue;
    for (size_t j = 0; j < size_t(width); ++j) {
      expected[size_t(ids[t]) * size_t(width) + j] += d_y[t * size_t(width) + j];
    }
  }
  for (int count_of_threads : {1, 3}) {
    Threads threads(count_of_threads);
    Array table = before;
    REQUIRE(scatter_add_rows(threads, {count, width, rows, d_y.data(), ids.data(), table.data()})
                .ok());
    CHECK(same_bits(table, expected));
  }
}

// ---- swiglu ----

double silu(double x) { return x / (1 + std::exp(-x)); }

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
    REQUIRE(swiglu_forward(context, {count, gate.data(), up.data(), out[0].data()}).ok());
    REQUIRE(swiglu_backward(context, {count, gate.data(), up.data(), d_y.data(), out[1].data(),
                                      out[2].data()})
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
  REQUIRE(swiglu_backward(one, {20, few.data(), few_up.data(), weight.data(), got.data(),
                                unused.data()})
              .ok());
  const Doubles slope = slopes(doubles(few), weight, [&](const Doubles& at) {
    Doubles out;
    for (size_t i = 0; i < at.size(); ++i) out.push_back(silu(at[i]) * double{few_up[i]});
    return out;
  });
  CHECK(distance(got, slope, 2e-6, 1e-5) <= 1.0);
}

// ---- elementwise ----

TEST_CASE("elementwise operations are exact to one rounding per step, in place or not") {
  Threads threads(3);
  for (int64_t count : {0, 1, 15, 257, 200003}) {
    const Array a = random_array(count, 17), b = random_array(count, 18);
    Padded x(1, count, count, a), y(1, count, count, b), sum(1, count, count);
    REQUIRE(add(threads, {count, x.data(), y.data(), sum.data()}).ok());
    REQUIRE(add(threads, {count, x.data(), y.data(), x.data()}).ok());
    REQUIRE(scale(threads, {count, 0.7f, sum.data(), y.data(), true}).ok());
    CHECK(sum.intact());
    CHECK(x.intact());
    CHECK(y.intact());
    const Array added = sum.values(), in_place = x.values(), scaled = y.values();
    bool exact = true;
    double worst = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      exact = exact && added[i] == a[i] + b[i] && in_place[i] == added[i];
      const double expected = double{0.7f} * double{added[i]} + double{b[i]};
      worst = std::max(worst, std::fabs(double{scaled[i]} - expected));
    }
    CHECK(exact);
    CHECK(worst <= 4e-7);  // one rounding with fused multiply-add, two without, of values up to 2.4
    REQUIRE(scale(threads, {count, 0.5f, sum.data(), y.data(), false}).ok());
    const Array halves = y.values();
    for (size_t i = 0; i < halves.size(); ++i) exact = exact && halves[i] == 0.5f * added[i];
    REQUIRE(fill(threads, {count, 3.25f, y.data()}).ok());
    for (float v : y.values()) exact = exact && v == 3.25f;
    CHECK(exact);
    CHECK(y.intact());
  }
}

TEST_CASE("biases are added to rows and summed over rows in their order") {
  for (int count : {1, 3}) {
    Threads threads(count);
    const int64_t rows = 1001, width = 67;
    const Array x = random_array(rows * width, 19), bias = random_array(width, 20);
    Padded y(rows, width, width), total(1, width, width);
    REQUIRE(add_bias(threads, {rows, width, x.data(), bias.data(), y.data()}).ok());
    REQUIRE(sum_rows(threads, {rows, width, x.data(), total.data()}).ok());
    CHECK(y.intact());
    CHECK(total.intact());
    Array biased, expected(size_t(width), 0.0f);
    for (size_t i = 0; i < x.size(); ++i) {
      biased.push_back(x[i] + bias[i % size_t(width)]);
      expected[i % size_t(width)] += x[i];
    }
    CHECK(same_bits(y.values(), biased));
    CHECK(same_bits(total.values(), expected));
  }
}

TEST_CASE("casts round to nearest even and come back unchanged") {
  Threads threads(2);
  Array x = random_array(100003, 21, -300, 300);
  const float special[] = {1.00390625f, 1.01171875f, kInfinity, -0.0f, 1e-40f, 65520.0f};
  std::copy(std::begin(special), std::end(special), x.begin());
  const int64_t count = int64_t(x.size());
  for (DType half : {DType::bf16, DType::f16}) {
    std::vector<uint16_t> bits(x.size()), again(x.size());
    Array wide(x.size());
    REQUIRE(cast(threads, {count, x.data(), DType::f32, bits.data(), half}).ok());
    REQUIRE(cast(threads, {count, bits.data(), half, wide.data(), DType::f32}).ok());
    REQUIRE(cast(threads, {count, wide.data(), DType::f32, again.data(), half}).ok());
    CHECK(again == bits);
    const double ulp = half == DType::bf16 ? 0x1p-8 : 0x1p-11;
    double worst = 0;
    for (size_t i = 6; i < x.size(); ++i) {
      const double size = std::max(std::fabs(double{x[i]}), 0x1p-14);
      worst = std::max(worst, std::fabs(double{wide[i]} - double{x[i]}) / size);
    }
    CHECK(worst <= ulp);
    CHECK(wide[2] == kInfinity);
    CHECK(std::signbit(wide[3]));
    if (half == DType::bf16) {  // ties: 1 + 1/256 goes down to even, 1 + 3/256 up
      CHECK(wide[0] == 1.0f);
      CHECK(wide[1] == 1.015625f);
    } else {
      CHECK(wide[4] == 0.0f);
      CHECK(wide[5] == kInfinity);
    }
    const float nan[] = {kNaN};
    REQUIRE(cast(threads, {1, nan, DType::f32, bits.data(), half}).ok());
    REQUIRE(cast(threads, {1, bits.data(), half, wide.data(), DType::f32}).ok());
    CHECK(std::isnan(wide[0]));
  }
  CHECK(cast(threads, {0, nullptr, DType::f32, nullptr, DType::i32}).code == Code::dtype);
}

// ---- adamw ----

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
    AdamwArgs a{2, param.data(), grad.data(), m.data(), v.data(), 0.1f, 0.9f, 0.9f,
                1e-8f, 0.1f, 0.1f, 0.1f, &square, 1.0f};
    REQUIRE(adamw(threads, a).ok());
    CHECK(param == Array{1, 2});
    CHECK(m == Array{3, 4});
    CHECK(v == Array{5, 6});
  }
}

}  // namespace
}  // namespace firesteel
