// attention against double loops and differences, and its promises: decoding from a shared cache
// gives the bits of training, threads and neighbours change nothing, unseen keys have no part.
#include "nn/attention/attention.h"

#include <algorithm>
#include <numeric>

#include "arrays.h"
#include "every_isa.h"

namespace firesteel {
namespace {

using Doubles = std::vector<double>;

struct Batch {
  std::vector<int64_t> lengths;
  int64_t heads, kv_heads, dim;
  Array q, k, v, d_out;

  Batch(std::vector<int64_t> row_lengths, int64_t heads, int64_t kv_heads, int64_t dim)
      : lengths(std::move(row_lengths)),
        heads(heads),
        kv_heads(kv_heads),
        dim(dim),
        q(random_array(tokens() * heads * dim, 1, -2, 2)),
        k(random_array(tokens() * kv_heads * dim, 2, -2, 2)),
        v(random_array(tokens() * kv_heads * dim, 3)),
        d_out(random_array(tokens() * heads * dim, 4)) {}

  int64_t tokens() const { return std::accumulate(lengths.begin(), lengths.end(), int64_t{0}); }
  std::vector<int32_t> offsets() const {
    std::vector<int32_t> bounds{0};
    for (int64_t n : lengths) bounds.push_back(bounds.back() + int32_t(n));
    return bounds;
  }
  float scale() const { return 1.0f / std::sqrt(float(dim)); }
};

struct Forward {
  Array out, stats;
};

// Tokens of q, k and v lie `gap` further apart than they must.
Forward forward(Context& context, const Batch& b, int64_t gap = 0) {
  const int64_t tokens = b.tokens(), width = b.heads * b.dim, kv_width = b.kv_heads * b.dim;
  Padded q(tokens, width, width + gap, b.q), k(tokens, kv_width, kv_width + gap, b.k);
  Padded v(tokens, kv_width, kv_width + gap, b.v), out(tokens, width, width);
  Padded stats(tokens, 2 * b.heads, 2 * b.heads);
  const std::vector<int32_t> offsets = b.offsets();
  AttentionArgs a{};
  a.queries = tokens;
  a.rows = int64_t(b.lengths.size());
  a.heads = b.heads;
  a.kv_heads = b.kv_heads;
  a.head_dim = b.dim;
  a.query_offsets = a.key_offsets = offsets.data();
  a.q = q.data();
  a.k = k.data();
  a.v = v.data();
  a.q_stride = q.stride;
  a.kv_stride = k.stride;
  a.scale = b.scale();
  a.out = out.data();
  a.stats = stats.data();
  REQUIRE(attention_forward(context, a).ok());
  CHECK(out.intact());
  CHECK(stats.intact());
  return {out.values(), stats.values()};
}

struct Gradients {
  Array q, k, v;
};

Gradients backward(Context& context, const Batch& b, const Forward& f, int64_t gap = 0) {
  const int64_t tokens = b.tokens(), width = b.heads * b.dim, kv_width = b.kv_heads * b.dim;
  Padded q(tokens, width, width + gap, b.q), k(tokens, kv_width, kv_width + gap, b.k);
  Padded v(tokens, kv_width, kv_width + gap, b.v), d_out(tokens, width, width, b.d_out);
  Padded d_q(tokens, width, width), d_k(tokens, kv_width, kv_width),
      d_v(tokens, kv_width, kv_width);
  const std::vector<int32_t> offsets = b.offsets();
  std::vector<char> workspace(size_t(attention_backward_workspace(DType::f32, tokens, b.heads)));
  AttentionBackwardArgs a{};
  a.tokens = tokens;
  a.rows = int64_t(b.lengths.size());
  a.heads = b.heads;
  a.kv_heads = b.kv_heads;
  a.head_dim = b.dim;
  a.row_offsets = offsets.data();
  a.q = q.data();
  a.k = k.data();
  a.v = v.data();
  a.q_stride = q.stride;
  a.kv_stride = k.stride;
  a.scale = b.scale();
  a.out = f.out.data();
  a.stats = f.stats.data();
  a.d_out = d_out.data();
  a.d_q = d_q.data();
  a.d_k = d_k.data();
  a.d_v = d_v.data();
  a.workspace = workspace.data();
  REQUIRE(attention_backward(context, a).ok());
  CHECK(d_q.intact());
  CHECK(d_k.intact());
  CHECK(d_v.intact());
  return {d_q.values(), d_k.values(), d_v.values()};
}

struct Reference {
  Doubles out, d_q, d_k, d_v;
};

Reference reference(const Batch& b, const Doubles& q, const Doubles& k, const Doubles& v) {
  const int64_t group = b.heads / b.kv_heads, dim = b.dim;
  Reference r{Doubles(q.size()), Doubles(q.size()), Doubles(k.size()), Doubles(v.size())};
  const std::vector<int32_t> offsets = b.offsets();
  for (size_t row = 0; row + 1 < offsets.size(); ++row) {
    for (int64_t i = offsets[row]; i < offsets[row + 1]; ++i) {
      for (int64_t h = 0; h < b.heads; ++h) {
        const auto key = [&](int64_t j) { return size_t((j * b.kv_heads + h / group) * dim); };
        const size_t at = size_t((i * b.heads + h) * dim);
        Doubles p;
        for (int64_t j = offsets[row]; j <= i; ++j) {
          double dot = 0;
          for (size_t d = 0; d < size_t(dim); ++d) dot += q[at + d] * k[key(j) + d];
          p.push_back(dot * double{b.scale()});
        }
        const double top = *std::max_element(p.begin(), p.end());
        double sum = 0;
        for (double& x : p) sum += x = std::exp(x - top);
        double delta = 0;
        Doubles d_p(p.size());
        for (size_t j = 0; j < p.size(); ++j) {
          p[j] /= sum;
          for (size_t d = 0; d < size_t(dim); ++d) {
            const double d_o = double{b.d_out[at + d]},
                         value = v[key(offsets[row] + int64_t(j)) + d];
            r.out[at + d] += p[j] * value;
            r.d_v[key(offsets[row] + int64_t(j)) + d] += p[j] * d_o;
            d_p[j] += d_o * value;
          }
          delta += p[j] * d_p[j];
        }
        for (size_t j = 0; j < p.size(); ++j) {
          const double d_score = p[j] * (d_p[j] - delta) * double{b.scale()};
          for (size_t d = 0; d < size_t(dim); ++d) {
            r.d_q[at + d] += d_score * k[key(offsets[row] + int64_t(j)) + d];
            r.d_k[key(offsets[row] + int64_t(j)) + d] += d_score * q[at + d];
          }
        }
      }
    }
  }
  return r;
}

Doubles doubles(const Array& x) {
  return Doubles(x.begin(), x.end());
}

Reference reference(const Batch& b) {
  return reference(b, doubles(b.q), doubles(b.k), doubles(b.v));
}

// A row of 0 and 1, around 32 and 64 (the blocks), several blocks.
const std::vector<int64_t> kLengths = {0, 1, 31, 64, 0, 65, 130, 33};

TEST_CASE("attention and its gradients match double loops") {
  Threads threads(2);
  struct Heads {
    int64_t heads, kv_heads, dim;
  };
  for (Heads h : {Heads{1, 1, 1}, Heads{4, 2, 31}, Heads{2, 2, 32}, Heads{6, 1, 64},
                  Heads{3, 3, 128}, Heads{70, 1, 5}, Heads{2, 1, 256}}) {
    CAPTURE(h.dim);
    Batch b(kLengths, h.heads, h.kv_heads, h.dim);
    const Reference expected = reference(b);
    const Forward f = forward(threads, b, 3);
    // Scores of up to 4 sqrt(D) carry float rounding into exp; gradients sum up to 130 queries.
    CHECK(distance(f.out, expected.out, 2e-6, 2e-5) <= 1.0);
    const Gradients g = backward(threads, b, f, 3);
    CHECK(distance(g.q, expected.d_q, 1e-5, 2e-5) <= 1.0);
    CHECK(distance(g.k, expected.d_k, 3e-5, 2e-5) <= 1.0);
    CHECK(distance(g.v, expected.d_v, 3e-5, 2e-5) <= 1.0);
  }
}

TEST_CASE("gradients agree with central differences") {
  Threads threads(1);
  Batch b({5, 1, 7}, 4, 2, 3);
  const Gradients g = backward(threads, b, forward(threads, b));
  const Doubles inputs[] = {doubles(b.q), doubles(b.k), doubles(b.v)};
  const Array* gradients[] = {&g.q, &g.k, &g.v};
  const auto objective = [&](const Doubles* x) {
    const Reference r = reference(b, x[0], x[1], x[2]);
    double sum = 0;
    for (size_t i = 0; i < r.out.size(); ++i) sum += r.out[i] * double{b.d_out[i]};
    return sum;
  };
  for (int which = 0; which < 3; ++which) {
    Doubles slope;
    for (size_t i = 0; i < inputs[which].size(); ++i) {
      Doubles moved[] = {inputs[0], inputs[1], inputs[2]};
      moved[which][i] += 1e-5;
      const double up = objective(moved);
      moved[which][i] -= 2e-5;
      slope.push_back((up - objective(moved)) / 2e-5);
    }
    CHECK(distance(*gradients[which], slope, 3e-6, 1e-5) <= 1.0);
  }
}

TEST_CASE("threads, strides and other rows change no bit") {
  Batch b(kLengths, 4, 2, 31);
  Threads one(1);
  const Forward whole = forward(one, b);
  const Gradients g = backward(one, b, whole);
  for (int count : {2, 5}) {
    Threads several(count);
    const Forward f = forward(several, b, count);
    CHECK(same_bits(f.out, whole.out));
    CHECK(same_bits(f.stats, whole.stats));
    const Gradients other = backward(several, b, whole, count);
    CHECK(same_bits(other.q, g.q));
    CHECK(same_bits(other.k, g.k));
    CHECK(same_bits(other.v, g.v));
  }
  int64_t begin = 0;
  for (int64_t n : kLengths) {
    Batch row({n}, b.heads, b.kv_heads, b.dim);
    const auto part = [&](const Array& x, int64_t width) {
      return Array(x.begin() + begin * width, x.begin() + (begin + n) * width);
    };
    const int64_t width = b.heads * b.dim, kv_width = b.kv_heads * b.dim;
    row.q = part(b.q, width);
    row.k = part(b.k, kv_width);
    row.v = part(b.v, kv_width);
    row.d_out = part(b.d_out, width);
    const Forward f = forward(one, row);
    CHECK(same_bits(f.out, part(whole.out, width)));
    CHECK(same_bits(backward(one, row, f).k, part(g.k, kv_width)));
    begin += n;
  }
}

TEST_CASE("decoding from a cache with a shared prefix gives the bits of training") {
  // Two rows with the same first `shared` tokens; lengths cross blocks of 64 keys.
  for (int64_t shared : {1, 63, 64, 70}) {
    const int64_t tails[] = {20, 75}, heads = 6, kv_heads = 2, dim = 31;
    Batch b({shared + tails[0], shared + tails[1]}, heads, kv_heads, dim);
    const int64_t second = shared + tails[0], kv_width = kv_heads * dim, width = heads * dim;
    std::copy_n(b.k.begin(), shared * kv_width, b.k.begin() + second * kv_width);
    std::copy_n(b.v.begin(), shared * kv_width, b.v.begin() + second * kv_width);
    Threads one(1), three(3);
    const Forward training = forward(one, b);

    // Slots in an order of their own; those that no row uses hold NaN.
    const int64_t slots = b.tokens() + 9;
    std::vector<int32_t> place(static_cast<size_t>(slots));
    std::iota(place.begin(), place.end(), 0);
    std::shuffle(place.begin(), place.end(), std::mt19937(5));
    Array k(size_t(slots * kv_width), kNaN), v = k;
    std::vector<int32_t> slot_of;
    for (int64_t t = 0; t < b.tokens(); ++t) {
      const bool copy = t >= second && t < second + shared;
      slot_of.push_back(copy ? slot_of[size_t(t - second)] : place[size_t(t)]);
      std::copy_n(b.k.begin() + t * kv_width, kv_width, k.begin() + slot_of.back() * kv_width);
      std::copy_n(b.v.begin() + t * kv_width, kv_width, v.begin() + slot_of.back() * kv_width);
    }

    for (int64_t step = 0; step < tails[1]; ++step) {
      // One query a row; the first row is finished after its tail.
      std::vector<int32_t> query_offsets{0}, key_offsets{0}, index;
      Array q, expected;
      for (int64_t row = 0; row < 2; ++row) {
        const int64_t first = row * second, at = first + shared + step;
        if (step < tails[row]) {
          for (int64_t t = first; t <= at; ++t) index.push_back(slot_of[size_t(t)]);
          q.insert(q.end(), b.q.begin() + at * width, b.q.begin() + (at + 1) * width);
          expected.insert(expected.end(), training.out.begin() + at * width,
                          training.out.begin() + (at + 1) * width);
          query_offsets.push_back(query_offsets.back() + 1);
        } else {
          query_offsets.push_back(query_offsets.back());
        }
        key_offsets.push_back(int32_t(index.size()));
      }
      Array out(q.size());
      AttentionArgs a{};
      a.queries = query_offsets.back();
      a.rows = 2;
      a.heads = heads;
      a.kv_heads = kv_heads;
      a.head_dim = dim;
      a.query_offsets = query_offsets.data();
      a.key_offsets = key_offsets.data();
      a.key_index = index.data();
      a.q = q.data();
      a.k = k.data();
      a.v = v.data();
      a.q_stride = width;
      a.kv_stride = kv_width;
      a.scale = b.scale();
      a.out = out.data();
      REQUIRE(attention_forward(step % 2 == 0 ? one : three, a).ok());
      CHECK(same_bits(out, expected));
    }
  }
}

TEST_CASE("what a query does not see has no part in it, whatever it holds") {
  Threads threads(2);
  Batch b({70, 90}, 2, 1, 16);
  const int64_t width = b.heads * b.dim, kv_width = b.kv_heads * b.dim;
  const Forward clean = forward(threads, b);
  const Gradients g = backward(threads, b, clean);

  Batch late = b;  // NaN in the first row's last token: only that query sees it
  std::fill_n(late.k.begin() + 69 * kv_width, kv_width, kNaN);
  std::fill_n(late.v.begin() + 69 * kv_width, kv_width, kNaN);
  const Forward f = forward(threads, late);
  const Gradients d = backward(threads, late, f);
  for (int64_t t = 0; t < b.tokens(); ++t) {
    for (int64_t j = t * width; j < (t + 1) * width; ++j) {
      if (t == 69) {
        CHECK(std::isnan(f.out[size_t(j)]));
      } else {
        CHECK(f.out[size_t(j)] == clean.out[size_t(j)]);
        CHECK(d.q[size_t(j)] == g.q[size_t(j)]);
      }
    }
  }

  Batch early = b;  // NaN in the first query: only the first key is seen by it
  std::fill_n(early.q.begin(), width, kNaN);
  std::fill_n(early.d_out.begin(), width, kNaN);
  const Gradients e = backward(threads, early, forward(threads, early));
  for (int64_t t = 0; t < b.tokens(); ++t) {
    for (int64_t j = t * kv_width; j < (t + 1) * kv_width; ++j) {
      if (t == 0) {
        CHECK(std::isnan(e.v[size_t(j)]));
      } else {
        CHECK(e.k[size_t(j)] == g.k[size_t(j)]);
        CHECK(e.v[size_t(j)] == g.v[size_t(j)]);
      }
    }
  }
}

}  // namespace
}  // namespace firesteel
