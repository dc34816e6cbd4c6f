// attention of bf16 and f16 on the emulated card: block edges, odd widths and addresses, filth
// beside and beyond the tokens, heads that share a block, and that none of this changes a bit.
#include "cuda_arrays.h"
#include "nn/attention/attention.h"
#include "runtime/scalar.h"

namespace firesteel {
namespace {

using Halves = std::vector<uint16_t>;

uint16_t narrow(DType type, float x) {
  return type == DType::bf16 ? from_float<bf16>(x).bits : from_float<f16>(x).bits;
}
float widen(DType type, uint16_t x) {
  return type == DType::bf16 ? to_float(bf16{x}) : to_float(f16{x});
}
double rounding(DType type) {
  return type == DType::bf16 ? 0x1p-8 : 0x1p-11;
}

struct Shape {
  DType dtype;
  std::vector<int> lengths;
  int64_t heads, kv_heads, dim;
  int64_t gap = 0, offset = 0;  // elements between tokens, and before the first; all NaN

  std::vector<int32_t> offsets() const { return offsets_of(lengths); }
  int64_t tokens() const { return offsets().back(); }
  int64_t width() const { return heads * dim; }
  int64_t kv_width() const { return kv_heads * dim; }
};

// [tokens, width] in a larger array of NaN.
Halves spread(const Shape& s, const Array& x, int64_t width) {
  const int64_t rows = static_cast<int64_t>(x.size()) / width, stride = width + s.gap;
  Halves out(static_cast<size_t>(s.offset + rows * stride + 64), narrow(s.dtype, kNaN));
  for (int64_t i = 0; i < rows * width; ++i) {
    out[static_cast<size_t>(s.offset + i / width * stride + i % width)] =
        narrow(s.dtype, x[static_cast<size_t>(i)]);
  }
  return out;
}
Array numbers(const Shape& s, const Halves& x) {
  Array out;
  for (uint16_t bits : x) out.push_back(widen(s.dtype, bits));
  return out;
}

struct Inputs {
  Array q, k, v, d_out;
  explicit Inputs(const Shape& s)
      : q(rounded(s, s.width(), 1, 2.0f)),
        k(rounded(s, s.kv_width(), 2, 2.0f)),
        v(rounded(s, s.kv_width(), 3, 1.0f)),
        d_out(rounded(s, s.width(), 4, 1.0f)) {}

 private:
  static Array rounded(const Shape& s, int64_t width, uint32_t seed, float most) {
    Array x = random_array(s.tokens() * width, seed, -most, most);
    for (float& each : x) each = widen(s.dtype, narrow(s.dtype, each));
    return x;
  }
};

struct Outputs {
  Halves out;
  Array stats;
  bool operator==(const Outputs& b) const {
    return same_bits(out, b.out) && same_bits(stats, b.stats);
  }
};

Outputs forward(Context& context, const Shape& s, const Inputs& in) {
  const Halves q = spread(s, in.q, s.width()), k = spread(s, in.k, s.kv_width()),
               v = spread(s, in.v, s.kv_width());
  const std::vector<int32_t> offsets = s.offsets();
  Outputs o{Halves(in.q.size()), Array(static_cast<size_t>(2 * s.tokens() * s.heads), kNaN)};
  AttentionArgs a{};
  a.dtype = s.dtype;
  a.queries = s.tokens();
  a.rows = static_cast<int64_t>(s.lengths.size());
  a.heads = s.heads;
  a.kv_heads = s.kv_heads;
  a.head_dim = s.dim;
  a.query_offsets = a.key_offsets = offsets.data();
  a.q = q.data() + s.offset;
  a.k = k.data() + s.offset;
  a.v = v.data() + s.offset;
  a.q_stride = s.width() + s.gap;
  a.kv_stride = s.kv_width() + s.gap;
  a.scale = 1.0f / std::sqrt(static_cast<float>(s.dim));
  a.out = o.out.data();
  a.stats = o.stats.data();
  must(attention_forward(context, a));
  return o;
}

struct Gradients {
  Halves q, k, v;
  bool operator==(const Gradients& b) const {
    return same_bits(q, b.q) && same_bits(k, b.k) && same_bits(v, b.v);
  }
};

Gradients backward(Context& context, const Shape& s, const Inputs& in, const Outputs& o) {
  const Halves q = spread(s, in.q, s.width()), k = spread(s, in.k, s.kv_width()),
               v = spread(s, in.v, s.kv_width());
  Shape dense = s;
  dense.gap = dense.offset = 0;
  const Halves d_out = spread(dense, in.d_out, s.width());
  const std::vector<int32_t> offsets = s.offsets();
  Gradients g{Halves(in.q.size()), Halves(in.k.size()), Halves(in.v.size())};
  Array workspace(
      static_cast<size_t>(attention_backward_workspace(s.dtype, s.tokens(), s.heads)) / 4, kNaN);
  AttentionBackwardArgs a{};
  a.dtype = s.dtype;
  a.tokens = s.tokens();
  a.rows = static_cast<int64_t>(s.lengths.size());
  a.heads = s.heads;
  a.kv_heads = s.kv_heads;
  a.head_dim = s.dim;
  a.row_offsets = offsets.data();
  a.q = q.data() + s.offset;
  a.k = k.data() + s.offset;
  a.v = v.data() + s.offset;
  a.q_stride = s.width() + s.gap;
  a.kv_stride = s.kv_width() + s.gap;
  a.scale = 1.0f / std::sqrt(static_cast<float>(s.dim));
  a.out = o.out.data();
  a.stats = o.stats.data();
  a.d_out = d_out.data();
  a.d_q = g.q.data();
  a.d_k = g.k.data();
  a.d_v = g.v.data();
  a.workspace = workspace.data();
  must(attention_backward(context, a));
  return g;
}

struct Reference {
  Doubles out, q, k, v;
};

Reference reference(const Shape& s, const Inputs& in) {
  Reference r{Doubles(in.q.size()), Doubles(in.q.size()), Doubles(in.k.size()),
              Doubles(in.k.size())};
  const double scale = 1.0 / std::sqrt(static_cast<double>(s.dim));
  const auto at = [](int64_t i) { return static_cast<size_t>(i); };
  const auto dot = [&](const Array& x, int64_t i, const Array& y, int64_t j) {
    double sum = 0.0;
    for (int64_t d = 0; d < s.dim; ++d) sum += double{x[at(i + d)]} * double{y[at(j + d)]};
    return sum;
  };
  int64_t first = 0;
  for (int length : s.lengths) {
    for (int64_t i = first; i < first + length; ++i) {
      for (int64_t h = 0; h < s.heads; ++h) {
        const int64_t query = (i * s.heads + h) * s.dim;
        const auto key = [&](int64_t j) {
          return (j * s.kv_heads + h / (s.heads / s.kv_heads)) * s.dim;
        };
        Doubles p, d_p;
        double total = 0.0, delta = 0.0;
        for (int64_t j = first; j <= i; ++j) {
          p.push_back(std::exp(scale * dot(in.q, query, in.k, key(j))));
          d_p.push_back(dot(in.d_out, query, in.v, key(j)));
          total += p.back();
        }
        for (size_t j = 0; j < p.size(); ++j) delta += (p[j] /= total) * d_p[j];
        for (size_t j = 0; j < p.size(); ++j) {
          const double d_score = p[j] * (d_p[j] - delta) * scale;
          for (int64_t d = 0; d < s.dim; ++d) {
            const size_t k = at(key(first + static_cast<int64_t>(j)) + d), q = at(query + d);
            r.out[q] += p[j] * double{in.v[k]};
            r.q[q] += d_score * double{in.k[k]};
            r.k[k] += d_score * double{in.q[q]};
            r.v[k] += p[j] * double{in.d_out[q]};
          }
        }
      }
    }
    first += length;
  }
  return r;
}

// Block edges (16, 32, 64, 128), one and no token, heads of every padding, grouped heads.
const std::vector<Shape> kShapes = {
    {DType::bf16, {}, 2, 1, 64},        {DType::bf16, {0, 1, 0, 33, 15, 16, 17, 0}, 4, 2, 24},
    {DType::f16, {65, 129}, 1, 1, 64},  {DType::f16, {128, 31, 32}, 2, 1, 40, 8},
    {DType::bf16, {64, 70}, 2, 1, 128}, {DType::f16, {34, 1}, 3, 1, 100, 3, 1},
    {DType::bf16, {1, 1, 3}, 18, 1, 5},
};

TEST_CASE("16-bit attention and its gradients match double loops") {
  for (const Shape& s : kShapes) {
    CAPTURE(s.dim);
    const Inputs in(s);
    const Reference r = reference(s, in);
    // Weights, out and d score are rounded: a few units of the values around them, which are at
    // most 2 sqrt(D) of score and D / 3 of d out . v; d k and d v sum up to 130 queries of some
    // heads.
    const double u = rounding(s.dtype), size = static_cast<double>(s.dim);
    in_every_order([&](Context& context) {
      const Outputs o = forward(context, s, in);
      CHECK(distance(numbers(s, o.out), r.out, 3.0 * u, u) <= 1.0);
      const Gradients g = backward(context, s, in, o);
      const double slope = 6.0 * u * std::sqrt(size);
      CHECK(distance(numbers(s, g.q), r.q, slope, u) <= 1.0);
      CHECK(distance(numbers(s, g.k), r.k, 3.0 * slope, u) <= 1.0);
      CHECK(distance(numbers(s, g.v), r.v, 12.0 * u, u) <= 1.0);
    });
  }
}

TEST_CASE("addresses, gaps and neighbours change no bit") {
  Context context;
  for (DType type : {DType::bf16, DType::f16}) {
    for (int64_t dim : {64, 104}) {
      const Shape s{type, {40, 37}, 2, 1, dim};
      const Inputs in(s);
      const Outputs o = forward(context, s, in);
      const Gradients g = backward(context, s, in, o);
      for (int64_t gap : {8, 3}) {  // the second forbids accesses of 16 bytes
        Shape moved = s;
        moved.gap = moved.offset = gap;
        CHECK(forward(context, moved, in) == o);
        CHECK(backward(context, moved, in, o) == g);
      }
      const Shape alone{type, {37}, 2, 1, dim};
      Inputs part(alone);
      part.q.assign(in.q.begin() + 40 * s.width(), in.q.end());
      part.k.assign(in.k.begin() + 40 * s.kv_width(), in.k.end());
      part.v.assign(in.v.begin() + 40 * s.kv_width(), in.v.end());
      part.d_out.assign(in.d_out.begin() + 40 * s.width(), in.d_out.end());
      const Outputs one = forward(context, alone, part);
      CHECK(same_bits(one.out, Halves(o.out.begin() + 40 * s.width(), o.out.end())));
      const Gradients d = backward(context, alone, part, one);
      CHECK(same_bits(d.q, Halves(g.q.begin() + 40 * s.width(), g.q.end())));
      CHECK(same_bits(d.k, Halves(g.k.begin() + 40 * s.kv_width(), g.k.end())));
    }
  }
}

// Rows' last tokens over a cache whose slots are in reverse and hold NaN beside them. 20 heads of a
// key head are more than share a block.
TEST_CASE("decoding from a cache gives the bits of training") {
  for (const Shape& s :
       {Shape{DType::bf16, {1, 33, 5, 70}, 20, 1, 64}, Shape{DType::f16, {66, 2, 131}, 6, 2, 20},
        Shape{DType::bf16, {40, 97}, 4, 2, 128}}) {
    CAPTURE(s.dim);
    const Inputs in(s);
    Context plain_context;
    const Outputs whole = forward(plain_context, s, in);
    const std::vector<int32_t> key_offsets = s.offsets();
    const int64_t slots = s.tokens() + 3;
    Array k(static_cast<size_t>(slots * s.kv_width()), kNaN), v = k;
    std::vector<int32_t> index;
    for (int64_t t = 0; t < s.tokens(); ++t) {
      index.push_back(static_cast<int32_t>(slots - 1 - t));
      std::copy_n(in.k.begin() + t * s.kv_width(), s.kv_width(),
                  k.begin() + index.back() * s.kv_width());
      std::copy_n(in.v.begin() + t * s.kv_width(), s.kv_width(),
                  v.begin() + index.back() * s.kv_width());
    }
    const Halves keys = spread(s, k, s.kv_width()), values = spread(s, v, s.kv_width());
    in_every_order([&](Context& context) {
      for (int last : {1, 3, 20}) {  // queries of a row, where it has them; 20: tiles of training
        std::vector<int> lengths;
        Array q;
        Halves expected;
        for (size_t r = 0; r < s.lengths.size(); ++r) {
          lengths.push_back(std::min(last, s.lengths[r]));
          const auto from = (key_offsets[r + 1] - lengths[r]) * s.width();
          const auto to = key_offsets[r + 1] * s.width();
          q.insert(q.end(), in.q.begin() + from, in.q.begin() + to);
          expected.insert(expected.end(), whole.out.begin() + from, whole.out.begin() + to);
        }
        const std::vector<int32_t> query_offsets = offsets_of(lengths);
        const Halves queries = spread(s, q, s.width());
        Halves out(q.size());
        AttentionArgs a{};
        a.dtype = s.dtype;
        a.queries = query_offsets.back();
        a.rows = static_cast<int64_t>(lengths.size());
        a.heads = s.heads;
        a.kv_heads = s.kv_heads;
        a.head_dim = s.dim;
        a.query_offsets = query_offsets.data();
        a.key_offsets = key_offsets.data();
        a.key_index = index.data();
        a.q = queries.data();
        a.k = keys.data();
        a.v = values.data();
        a.q_stride = s.width();
        a.kv_stride = s.kv_width();
        a.scale = 1.0f / std::sqrt(static_cast<float>(s.dim));
        a.out = out.data();
        must(attention_forward(context, a));
        CHECK(same_bits(out, expected));
      }
    });
  }
}

TEST_CASE("what is not finite reaches those that see it and nobody else") {
  in_every_order([](Context& context) {
    const Shape s{DType::bf16, {20, 40}, 2, 1, 16};
    const Inputs in(s);
    const Outputs clean = forward(context, s, in);
    const Gradients g = backward(context, s, in, clean);
    for (float filth : {kNaN, kInfinity}) {
      const int64_t late = 45, width = s.width(), kv = s.kv_width();
      Inputs spoilt = in;
      spoilt.v[static_cast<size_t>(late * kv)] = filth;  // one element of one value
      const Outputs o = forward(context, s, spoilt);
      for (int64_t t = 0; t < s.tokens(); ++t) {
        for (int64_t i = t * width; i < (t + 1) * width; ++i) {
          const float x = widen(s.dtype, o.out[static_cast<size_t>(i)]);
          if (t < late || i % s.dim != 0) {
            CHECK(o.out[static_cast<size_t>(i)] == clean.out[static_cast<size_t>(i)]);
          } else {
            CHECK((std::isnan(filth) ? std::isnan(x) : x == kInfinity));
          }
        }
      }
      Inputs early = in;  // a query that later keys are not seen by
      std::fill_n(early.d_out.begin() + 25 * width, width, filth);
      const Gradients d = backward(context, s, early, clean);
      for (int64_t i = 0; i < s.tokens() * kv; ++i) {
        if (i >= 20 * kv && i < 26 * kv) {
          CHECK(!std::isfinite(widen(s.dtype, d.v[static_cast<size_t>(i)])));
        } else {
          CHECK(d.k[static_cast<size_t>(i)] == g.k[static_cast<size_t>(i)]);
          CHECK(d.v[static_cast<size_t>(i)] == g.v[static_cast<size_t>(i)]);
        }
      }
    }
  });
}

TEST_CASE("wider heads are refused") {
  Context context;
  AttentionArgs a{};
  a.dtype = DType::f16;
  a.queries = a.rows = a.heads = a.kv_heads = 1;
  a.head_dim = 129;
  CHECK(attention_forward(context, a).code == Code::range);
}

}  // namespace
}  // namespace firesteel
