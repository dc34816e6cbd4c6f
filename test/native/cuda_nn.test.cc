// The row and element operations of nn/ on the emulated card: forward against the formula in
// double, backward against central differences of it.
#include "cuda_arrays.h"
#include "nn/rms_norm/rms_norm.h"
#include "nn/rope/rope.h"
#include "nn/swiglu/swiglu.h"

namespace firesteel {
namespace {

double weighted(const Doubles& y, const Array& d_y) {
  double sum = 0.0;
  for (size_t i = 0; i < y.size(); ++i) sum += y[i] * double{d_y[i]};
  return sum;
}

// ---- rms_norm

struct Norm {
  int64_t rows, width;
  Array x, weight;
  Norm(int64_t rows, int64_t width)
      : rows(rows),
        width(width),
        x(random_array(rows * width, 1, -3.0f, 3.0f)),
        weight(random_array(width, 2, 0.5f, 2.0f)) {}
};

Doubles plain(const Norm& n, const Doubles& x_and_weight) {
  const size_t width = static_cast<size_t>(n.width), rows = static_cast<size_t>(n.rows);
  Doubles y(rows * width);
  for (size_t r = 0; r < rows; ++r) {
    double square = 0.0;
    for (size_t j = 0; j < width; ++j) square += std::pow(x_and_weight[r * width + j], 2);
    const double rms = std::sqrt(square / static_cast<double>(width) + double{1e-5f});
    for (size_t j = 0; j < width; ++j) {
      y[r * width + j] = x_and_weight[r * width + j] / rms * x_and_weight[rows * width + j];
    }
  }
  return y;
}

// `shift` floats off a 16-byte boundary.
void forward(Context& context, const Norm& n, size_t shift, Array* y, Array* inv_rms) {
  Array x(shift, kNaN), out(shift + n.x.size(), kNaN);
  x.insert(x.end(), n.x.begin(), n.x.end());
  inv_rms->assign(static_cast<size_t>(n.rows), kNaN);
  must(rms_norm_forward(context, {n.rows, n.width, x.data() + shift, n.weight.data(), 1e-5f,
                                  out.data() + shift, inv_rms->data()}));
  y->assign(out.begin() + static_cast<long>(shift), out.end());
}

TEST_CASE("rms_norm and its gradients") {
  for (int64_t width : {1, 31, 33, 128, 257}) {
    const Norm n(width == 33 ? 19 : 3, width);
    Doubles all = widened(n.x);
    all.insert(all.end(), n.weight.begin(), n.weight.end());
    const Array d_y = random_array(n.rows * width, 3);
    const Doubles expected =
        slopes(all, [&](const Doubles& at) { return weighted(plain(n, at), d_y); });
    in_every_order([&](Context& context) {
      CAPTURE(width);
      Array y, inv_rms, shifted, same;
      forward(context, n, 0, &y, &inv_rms);
      CHECK(distance(y, plain(n, all), 1e-6, 1e-6) <= 1.0);
      forward(context, n, 1, &shifted, &same);
      CHECK(same_bits(shifted, y));
      CHECK(same_bits(same, inv_rms));
      Array d_x(n.x.size(), kNaN), d_weight(n.weight.size(), kNaN);
      must(rms_norm_backward(context, {n.rows, width, n.x.data(), n.weight.data(), inv_rms.data(),
                                       d_y.data(), d_x.data(), d_weight.data()}));
      d_x.insert(d_x.end(), d_weight.begin(), d_weight.end());
      CHECK(distance(d_x, expected, 5e-6, 5e-6) <= 1.0);
    });
  }
  Context context;
  Array d_weight(5, kNaN);
  const Norm none(0, 5);
  must(rms_norm_backward(
      context, {0, 5, nullptr, none.weight.data(), nullptr, nullptr, nullptr, d_weight.data()}));
  CHECK(same_bits(d_weight, Array(5, 0.0f)));
}

// ---- rope

TEST_CASE("rope turns pairs, exactly at large positions, and its inverse turns them back") {
  in_every_order([](Context& context) {
    const int64_t tokens = 5, heads = 3, dim = 34, width = heads * dim, stride = width + 7;
    const std::vector<int32_t> positions{0, 1, 77, 1000000, 2147483647};
    const Array x = random_array(tokens * stride, 1);
    Array y(static_cast<size_t>(tokens * width), kNaN), back = y;
    RopeArgs a{};
    a.tokens = tokens;
    a.heads = heads;
    a.head_dim = dim;
    a.positions = positions.data();
    a.base = 10000.0;
    a.x = x.data();
    a.x_stride = stride;
    a.y = y.data();
    must(rope(context, a));
    Doubles expected(y.size()), original(y.size());
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t i = 0; i < width; ++i) {
        const int64_t h = i / dim * dim, j = i % dim % (dim / 2);
        const double angle =
            positions[static_cast<size_t>(t)] *
            std::pow(10000.0, -2.0 * static_cast<double>(j) / static_cast<double>(dim));
        const double low = double{x[static_cast<size_t>(t * stride + h + j)]};
        const double high = double{x[static_cast<size_t>(t * stride + h + j + dim / 2)]};
        expected[static_cast<size_t>(t * width + i)] =
            i % dim < dim / 2 ? low * std::cos(angle) - high * std::sin(angle)
                              : high * std::cos(angle) + low * std::sin(angle);
        original[static_cast<size_t>(t * width + i)] =
            double{x[static_cast<size_t>(t * stride + i)]};
      }
    }
    CHECK(distance(y, expected, 2e-7, 0.0) <= 1.0);
    a.inverse = true;
    a.x = y.data();
    a.x_stride = width;
    a.y = back.data();
    must(rope(context, a));
    CHECK(distance(back, original, 4e-7, 0.0) <= 1.0);
    a.y = y.data();  // in place
    must(rope(context, a));
    CHECK(same_bits(y, back));
    a.tokens = 0;
    must(rope(context, a));
  });
}

// ---- swiglu

TEST_CASE("swiglu and its gradients") {
  const auto silu = [](double x) { return x / (1.0 + std::exp(-x)); };
  for (size_t count : {size_t{0}, size_t{1}, size_t{31}, size_t{33}, size_t{257}, size_t{6000}}) {
    Array gate = random_array(static_cast<int64_t>(count), 1, -8.0f, 8.0f);
    Array up = random_array(static_cast<int64_t>(count), 2), d_y = up;
    if (count > 3) {
      gate[1] = 200.0f;
      gate[2] = -200.0f;
    }
    std::reverse(d_y.begin(), d_y.end());
    Doubles expected, expected_gate, expected_up;
    for (size_t i = 0; i < count; ++i) {
      const double g = double{gate[i]}, u = double{up[i]}, d = double{d_y[i]};
      expected.push_back(silu(g) * u);
      expected_gate.push_back(d * u * (silu(g + 1e-5) - silu(g - 1e-5)) / 2e-5);
      expected_up.push_back(d * silu(g));
    }
    in_every_order([&](Context& context) {
      CAPTURE(count);
      Array y(count + 1, kNaN), d_gate = y, d_up = y;
      for (size_t shift : {size_t{0}, size_t{1}}) {  // an output off the 16-byte boundary
        must(swiglu_forward(
            context, {static_cast<int64_t>(count), gate.data(), up.data(), y.data() + shift}));
        must(swiglu_backward(context, {static_cast<int64_t>(count), gate.data(), up.data(),
                                       d_y.data(), d_gate.data() + shift, d_up.data()}));
        const auto part = [&](const Array& a, size_t from) {
          return Array(a.begin() + static_cast<long>(from),
                       a.begin() + static_cast<long>(from + count));
        };
        CHECK(distance(part(y, shift), expected, 1e-30, 1e-6) <= 1.0);
        CHECK(distance(part(d_gate, shift), expected_gate, 1e-6, 1e-6) <= 1.0);
        CHECK(distance(part(d_up, 0), expected_up, 1e-30, 1e-6) <= 1.0);
      }
      CHECK(std::isnan(d_up[count]));
    });
  }
}

}  // namespace
}  // namespace firesteel
