// The row and element operations of nn/ on the emulated card: forward against the formula in
// double, backward against central differences of it.
#include "cuda_arrays.h"
#include "nn/rms_norm/rms_norm.h"
#include "nn/rope/rope.h"
#include "nn/swiglu/swiglu.h"
#include "runtime/scalar.h"

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
  must(rms_norm_forward(
      context, {DType::f32, n.rows, n.width, x.data() + shift, nullptr, n.weight.data(), 1e-5f,
                nullptr, out.data() + shift, inv_rms->data()}));
  y->assign(out.begin() + static_cast<long>(shift), out.end());
}

TEST_CASE("rms_norm and its gradients") {
  for (int64_t width : {1, 31, 33, 128, 257, 600}) {
    const Norm n(width == 33 ? 19 : width == 600 ? 2 : 3, width);
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
      Array workspace(static_cast<size_t>(rms_norm_backward_workspace(n.rows, width) / 4), kNaN);
      must(rms_norm_backward(
          context, {DType::f32, n.rows, width, n.x.data(), n.weight.data(), inv_rms.data(),
                    d_y.data(), nullptr, d_x.data(), d_weight.data(), workspace.data()}));
      d_x.insert(d_x.end(), d_weight.begin(), d_weight.end());
      CHECK(distance(d_x, expected, 5e-6, 5e-6) <= 1.0);
    });
  }
  Context context;
  Array d_weight(5, kNaN);
  const Norm none(0, 5);
  must(rms_norm_backward(context, {DType::f32, 0, 5, nullptr, none.weight.data(), nullptr, nullptr,
                                   nullptr, nullptr, d_weight.data(), nullptr}));
  CHECK(same_bits(d_weight, Array(5, 0.0f)));
}

using Halves = std::vector<uint16_t>;

Halves halves(DType type, const Array& x) {
  Halves bits;
  for (float v : x) {
    bits.push_back(type == DType::bf16 ? from_float<bf16>(v).bits : from_float<f16>(v).bits);
  }
  return bits;
}
Array floats(DType type, const Halves& x) {
  Array values;
  for (uint16_t v : x) values.push_back(type == DType::bf16 ? to_float(bf16{v}) : to_float(f16{v}));
  return values;
}

// Everything that a norm with a residual gives; data in float32 or, rounded, in 16 bits.
struct Fused {
  Array sum, y, inv_rms, d_x, d_weight;
};

template <class Cell>
Fused fused(Context& context, DType type, const Norm& n, size_t shift,
            std::vector<Cell> (*cells)(DType, const Array&),
            Array (*values)(DType, const std::vector<Cell>&)) {
  const auto in = [&](uint32_t seed) {
    std::vector<Cell> data = cells(type, random_array(n.rows * n.width, seed, -3.0f, 3.0f));
    data.insert(data.begin(), shift, Cell{});
    return data;
  };
  const std::vector<Cell> x = in(1), residual = in(2), d_y = in(3), d_sum = in(4);
  const std::vector<Cell> weight = cells(type, n.weight);
  std::vector<Cell> sum(x.size()), y(x.size()), d_x(x.size());
  Array inv_rms(static_cast<size_t>(n.rows), kNaN), d_weight(n.weight.size(), kNaN);
  Array workspace(static_cast<size_t>(rms_norm_backward_workspace(n.rows, n.width) / 4), kNaN);
  must(rms_norm_forward(
      context, {type, n.rows, n.width, x.data() + shift, residual.data() + shift, weight.data(),
                1e-5f, sum.data() + shift, y.data() + shift, inv_rms.data()}));
  must(rms_norm_backward(context, {type, n.rows, n.width, sum.data() + shift, weight.data(),
                                   inv_rms.data(), d_y.data() + shift, d_sum.data() + shift,
                                   d_x.data() + shift, d_weight.data(), workspace.data()}));
  const auto out = [&](const std::vector<Cell>& data) {
    return values(type, std::vector<Cell>(data.begin() + static_cast<long>(shift), data.end()));
  };
  return {out(sum), out(y), inv_rms, out(d_x), d_weight};
}

Array same(DType, const Array& x) {
  return x;
}

TEST_CASE("rms_norm with a residual: in one warp, one block, wider than a block holds, any type") {
  for (int64_t width : {72, 520, 8200}) {
    const Norm n(width == 72 ? 40 : 2, width);
    const size_t count = static_cast<size_t>(n.rows * n.width);
    in_every_order([&](Context& context) {
      CAPTURE(width);
      for (DType type : {DType::f32, DType::bf16, DType::f16}) {
        const bool wide = type == DType::f32;
        if (width == 8200 && type == DType::f16) continue;
        const auto run = [&](size_t shift) {
          return wide ? fused<float>(context, type, n, shift, same, same)
                      : fused<uint16_t>(context, type, n, shift, halves, floats);
        };
        const auto typed = [&](const Array& x) { return wide ? x : floats(type, halves(type, x)); };
        const auto in = [&](uint32_t seed) {
          return typed(random_array(n.rows * width, seed, -3.0f, 3.0f));
        };
        const Array x = in(1), residual = in(2), d_y = in(3), d_sum = in(4);
        const Array weight = typed(n.weight);
        const Fused got = run(0);
        Array sum;
        for (size_t i = 0; i < count; ++i) sum.push_back(x[i] + residual[i]);
        CHECK(same_bits(got.sum, typed(sum)));
        Doubles y(count), d_x(count), d_weight(weight.size());
        for (size_t r = 0; r < static_cast<size_t>(n.rows); ++r) {
          const size_t at = r * weight.size();
          double square = 0.0, along = 0.0;
          for (size_t j = 0; j < weight.size(); ++j) {
            square += std::pow(double{got.sum[at + j]}, 2);
            along += double{weight[j]} * double{d_y[at + j]} * double{got.sum[at + j]};
          }
          const double size = static_cast<double>(width);
          const double inverse = 1.0 / std::sqrt(square / size + double{1e-5f});
          for (size_t j = 0; j < weight.size(); ++j) {
            const double v = double{got.sum[at + j]}, d = double{d_y[at + j]};
            y[at + j] = v * inverse * double{weight[j]};
            d_x[at + j] = inverse * (double{weight[j]} * d - v * inverse * inverse * along / size) +
                          double{d_sum[at + j]};
            d_weight[j] += d * v * inverse;
          }
        }
        const double rounding = wide ? 0.0 : type == DType::bf16 ? 0x1p-8 : 0x1p-11;
        CHECK(distance(got.y, y, 1e-6, 1e-6 + rounding) <= 1.0);
        CHECK(distance(got.d_x, d_x, 5e-6, 2e-6 + rounding) <= 1.0);
        CHECK(distance(got.d_weight, d_weight, 2e-5, 2e-6) <= 1.0);
        if (width == 8200) continue;
        const Fused off = run(1);  // off the 16-byte boundary
        CHECK(same_bits(off.y, got.y));
        CHECK(same_bits(off.d_x, got.d_x));
        CHECK(same_bits(off.d_weight, got.d_weight));
      }
    });
  }
}

// ---- rope

TEST_CASE("rope turns pairs, exactly at large positions, and its inverse turns them back") {
  in_every_order([](Context& context) {
    const int64_t tokens = 5, heads = 3, dim = 34, width = heads * dim, stride = width + 7;
    const std::vector<int32_t> positions{0, 1, 77, 1000000, 2147483647};
    const Array x = random_array(tokens * stride, 1);
    Array y(static_cast<size_t>(tokens * width), kNaN), back = y;
    RopeArgs a{};
    a.dtype = DType::f32;
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
        must(swiglu_forward(context, {DType::f32, static_cast<int64_t>(count), gate.data(),
                                      up.data(), y.data() + shift}));
        must(swiglu_backward(context, {DType::f32, static_cast<int64_t>(count), gate.data(),
                                       up.data(), d_y.data(), d_gate.data() + shift, d_up.data()}));
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

// ---- 16 bits

TEST_CASE("rope and swiglu of 16-bit tensors are those of floats, rounded once") {
  in_every_order([](Context& context) {
    const int64_t tokens = 3, heads = 2, dim = 34, count = tokens * heads * dim;
    const std::vector<int32_t> positions{0, 77, 1000000};
    for (DType type : {DType::bf16, DType::f16}) {
      const Halves a = halves(type, random_array(count, 1, -3.0f, 3.0f));
      const Halves b = halves(type, random_array(count, 2, -3.0f, 3.0f));
      const Array wide_a = floats(type, a), wide_b = floats(type, b);
      Halves y(a.size()), second(a.size());
      Array wide(a.size()), wide_second(a.size());
      const auto turn = [&](DType dtype, const void* x, void* to) {
        must(rope(context,
                  {dtype, tokens, heads, dim, positions.data(), 1e4, false, x, heads * dim, to}));
      };
      turn(type, a.data(), y.data());
      turn(DType::f32, wide_a.data(), wide.data());
      CHECK(same_bits(y, halves(type, wide)));
      must(swiglu_forward(context, {type, count, a.data(), b.data(), y.data()}));
      must(swiglu_forward(context, {DType::f32, count, wide_a.data(), wide_b.data(), wide.data()}));
      CHECK(same_bits(y, halves(type, wide)));
      must(swiglu_backward(context,
                           {type, count, a.data(), b.data(), a.data(), y.data(), second.data()}));
      must(swiglu_backward(context, {DType::f32, count, wide_a.data(), wide_b.data(), wide_a.data(),
                                     wide.data(), wide_second.data()}));
      CHECK(same_bits(y, halves(type, wide)));
      CHECK(same_bits(second, halves(type, wide_second)));
    }
  });
}

}  // namespace
}  // namespace firesteel
