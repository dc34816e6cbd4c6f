// attention on the emulated card against double loops, its gradients against central differences of
// those, and the promise that training and decoding give the same bits.
#include "cuda_arrays.h"
#include "nn/attention/attention.h"

namespace firesteel {
namespace {

struct Shape {
  std::vector<int> lengths;  // tokens of the rows
  int64_t heads, kv_heads, dim;

  int64_t tokens() const { return offsets_of(lengths).back(); }
  int64_t q_width() const { return heads * dim; }
  int64_t kv_width() const { return kv_heads * dim; }
  float scale() const { return 1.0f / std::sqrt(static_cast<float>(dim)); }
};

struct Inputs {
  Array q, k, v;
  explicit Inputs(const Shape& s)
      : q(random_array(s.tokens() * s.q_width(), 1, -2.0f, 2.0f)),
        k(random_array(s.tokens() * s.kv_width(), 2, -2.0f, 2.0f)),
        v(random_array(s.tokens() * s.kv_width(), 3)) {}
};

struct Outputs {
  Array out, stats;
};

Outputs forward(Context& context, const Shape& s, const Inputs& in) {
  const std::vector<int32_t> offsets = offsets_of(s.lengths);
  Outputs o{Array(in.q.size(), kNaN), Array(static_cast<size_t>(2 * s.tokens() * s.heads), kNaN)};
  AttentionArgs a{};
  a.queries = s.tokens();
  a.rows = static_cast<int64_t>(s.lengths.size());
  a.heads = s.heads;
  a.kv_heads = s.kv_heads;
  a.head_dim = s.dim;
  a.query_offsets = a.key_offsets = offsets.data();
  a.q = in.q.data();
  a.k = in.k.data();
  a.v = in.v.data();
  a.q_stride = s.q_width();
  a.kv_stride = s.kv_width();
  a.scale = s.scale();
  a.out = o.out.data();
  a.stats = o.stats.data();
  must(attention_forward(context, a));
  return o;
}

// q, k and v one after the other in x.
Doubles plain(const Shape& s, const Doubles& x) {
  const double* const q = x.data();
  const double* const k = q + s.tokens() * s.q_width();
  const double* const v = k + s.tokens() * s.kv_width();
  Doubles out(static_cast<size_t>(s.tokens() * s.q_width()));
  int64_t first = 0;
  for (int length : s.lengths) {
    for (int64_t i = 0; i < length; ++i) {
      for (int64_t h = 0; h < s.heads; ++h) {
        const int64_t kv = h / (s.heads / s.kv_heads) * s.dim;
        Doubles weight(static_cast<size_t>(i + 1));
        double total = 0.0;
        for (int64_t j = 0; j <= i; ++j) {
          double dot = 0.0;
          for (int64_t d = 0; d < s.dim; ++d) {
            dot += q[(first + i) * s.q_width() + h * s.dim + d] *
                   k[(first + j) * s.kv_width() + kv + d];
          }
          total += weight[static_cast<size_t>(j)] = std::exp(double{s.scale()} * dot);
        }
        for (int64_t j = 0; j <= i; ++j) {
          for (int64_t d = 0; d < s.dim; ++d) {
            out[static_cast<size_t>((first + i) * s.q_width() + h * s.dim + d)] +=
                weight[static_cast<size_t>(j)] / total * v[(first + j) * s.kv_width() + kv + d];
          }
        }
      }
    }
    first += length;
  }
  return out;
}

Doubles joined(const Inputs& in) {
  Doubles x = widened(in.q);
  x.insert(x.end(), in.k.begin(), in.k.end());
  x.insert(x.end(), in.v.begin(), in.v.end());
  return x;
}

TEST_CASE("forward matches double loops for ragged rows, grouped heads and every head width") {
  in_every_order([](Context& context) {
    for (const Shape& s :
         {Shape{{}, 2, 1, 8}, Shape{{0, 1, 0, 33, 5, 70, 0}, 4, 2, 5}, Shape{{65, 31}, 2, 2, 64},
          Shape{{34}, 3, 1, 100}, Shape{{2, 40}, 2, 1, 256}, Shape{{1, 1, 3}, 2, 1, 33}}) {
      CAPTURE(s.dim);
      const Inputs in(s);
      CHECK(distance(forward(context, s, in).out, plain(s, joined(in)), 2e-6, 2e-6) <= 1.0);
    }
  });
}

// A decoding step for the last token of every row, over a cache whose slots are in reverse.
TEST_CASE("decoding from a cache gives the bits of training") {
  in_every_order([](Context& context) {
    const Shape s{{1, 33, 5, 70}, 4, 2, 20};
    const Inputs in(s);
    const Array whole = forward(context, s, in).out;
    const int64_t slots = s.tokens() + 3;
    Inputs cache = in;
    cache.k.assign(static_cast<size_t>(slots * s.kv_width()), kNaN);
    cache.v = cache.k;
    std::vector<int32_t> key_index, key_offsets = offsets_of(s.lengths);
    for (int64_t t = 0; t < s.tokens(); ++t) {
      const int64_t slot = slots - 1 - t;
      key_index.push_back(static_cast<int32_t>(slot));
      std::copy_n(in.k.begin() + t * s.kv_width(), s.kv_width(),
                  cache.k.begin() + slot * s.kv_width());
      std::copy_n(in.v.begin() + t * s.kv_width(), s.kv_width(),
                  cache.v.begin() + slot * s.kv_width());
    }
    for (int last : {1, 5}) {  // queries per row, where the row has them
      std::vector<int> lengths;
      Array q, expected;
      for (size_t r = 0; r < s.lengths.size(); ++r) {
        lengths.push_back(std::min(last, s.lengths[r]));
        const auto from = (key_offsets[r + 1] - lengths[r]) * s.q_width();
        const auto to = key_offsets[r + 1] * s.q_width();
        q.insert(q.end(), in.q.begin() + from, in.q.begin() + to);
        expected.insert(expected.end(), whole.begin() + from, whole.begin() + to);
      }
      const std::vector<int32_t> query_offsets = offsets_of(lengths);
      Array out(q.size(), kNaN);
      AttentionArgs a{};
      a.queries = query_offsets.back();
      a.rows = static_cast<int64_t>(lengths.size());
      a.heads = s.heads;
      a.kv_heads = s.kv_heads;
      a.head_dim = s.dim;
      a.query_offsets = query_offsets.data();
      a.key_offsets = key_offsets.data();
      a.key_index = key_index.data();
      a.q = q.data();
      a.k = cache.k.data();
      a.v = cache.v.data();
      a.q_stride = s.q_width();
      a.kv_stride = s.kv_width();
      a.scale = s.scale();
      a.out = out.data();
      must(attention_forward(context, a));
      CHECK(same_bits(out, expected));
    }
  });
}

TEST_CASE("a row's bits do not depend on the rows around it") {
  Context context;
  const Shape both{{37, 50}, 2, 1, 24}, alone{{50}, 2, 1, 24};
  Inputs in(both), part(alone);
  part.q.assign(in.q.begin() + 37 * both.q_width(), in.q.end());
  part.k.assign(in.k.begin() + 37 * both.kv_width(), in.k.end());
  part.v.assign(in.v.begin() + 37 * both.kv_width(), in.v.end());
  const Array whole = forward(context, both, in).out;
  CHECK(same_bits(Array(whole.begin() + 37 * both.q_width(), whole.end()),
                  forward(context, alone, part).out));
}

struct Gradients {
  Array q, k, v;
};

Gradients backward(Context& context, const Shape& s, const Inputs& in, const Array& d_out) {
  const std::vector<int32_t> offsets = offsets_of(s.lengths);
  const Outputs o = forward(context, s, in);
  Gradients g{Array(in.q.size(), kNaN), Array(in.k.size(), kNaN), Array(in.v.size(), kNaN)};
  Array workspace(
      static_cast<size_t>(attention_backward_workspace(DType::f32, s.tokens(), s.heads)) / 4, kNaN);
  AttentionBackwardArgs a{};
  a.tokens = s.tokens();
  a.rows = static_cast<int64_t>(s.lengths.size());
  a.heads = s.heads;
  a.kv_heads = s.kv_heads;
  a.head_dim = s.dim;
  a.row_offsets = offsets.data();
  a.q = in.q.data();
  a.k = in.k.data();
  a.v = in.v.data();
  a.q_stride = s.q_width();
  a.kv_stride = s.kv_width();
  a.scale = s.scale();
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

TEST_CASE("gradients agree with central differences") {
  for (const Shape& s : {Shape{{}, 2, 1, 8}, Shape{{1, 0, 3, 35}, 4, 2, 3}, Shape{{5}, 2, 1, 65},
                         Shape{{3, 2}, 1, 1, 130}}) {
    const Inputs in(s);
    const Array d_out = random_array(s.tokens() * s.q_width(), 4);
    const Doubles expected = slopes(joined(in), [&](const Doubles& x) {
      const Doubles out = plain(s, x);
      double loss = 0.0;
      for (size_t i = 0; i < out.size(); ++i) loss += out[i] * static_cast<double>(d_out[i]);
      return loss;
    });
    in_every_order([&](Context& context) {
      CAPTURE(s.dim);
      const Gradients g = backward(context, s, in, d_out);
      Array all = g.q;
      all.insert(all.end(), g.k.begin(), g.k.end());
      all.insert(all.end(), g.v.begin(), g.v.end());
      CHECK(distance(all, expected, 1e-5, 1e-5) <= 1.0);
    });
  }
}

TEST_CASE("a later token and another row have no part, even if NaN") {
  Context context;
  const Shape s{{20, 40}, 2, 1, 16};
  const Inputs in(s);
  const Array d_out = random_array(s.tokens() * s.q_width(), 4);
  const Array clean = forward(context, s, in).out;
  const Gradients clean_gradients = backward(context, s, in, d_out);
  Inputs spoilt = in;
  for (Array* x : {&spoilt.k, &spoilt.v}) {
    std::fill_n(x->begin() + 30 * s.kv_width(), s.kv_width(), kNaN);
  }
  const Array out = forward(context, s, spoilt).out;
  CHECK(std::equal(clean.begin(), clean.begin() + 30 * s.q_width(), out.begin()));
  CHECK(std::isnan(out[static_cast<size_t>(30 * s.q_width())]));
  const Gradients g = backward(context, s, spoilt, d_out);
  CHECK(std::equal(g.q.begin(), g.q.begin() + 30 * s.q_width(), clean_gradients.q.begin()));
  CHECK(std::equal(g.k.begin(), g.k.begin() + 20 * s.kv_width(), clean_gradients.k.begin()));
  CHECK(std::equal(g.v.begin(), g.v.begin() + 20 * s.kv_width(), clean_gradients.v.begin()));
}

}  // namespace
}  // namespace firesteel
