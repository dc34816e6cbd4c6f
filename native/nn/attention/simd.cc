#include "gemm/pack.h"
#include "nn/attention/rows.h"

namespace firesteel {
namespace FIRESTEEL_ISA {
namespace {

// ---- forward ----

struct Running {
  float max, sum;
};

// Scores of one row over `wide` keys, whole vectors, become exp(scale * score - max), 0 where
// unseen; returns what the row's earlier sums are to be multiplied by.
__attribute__((noinline)) float soften(float* score, int wide, int64_t seen, float scale,
                                       Running& row) {
  F32 top = -kInfinity;
  for (int j = 0; j < wide; j += F32::lanes) {
    const F32 x = select(first_lanes(clamp_lanes(seen - j)), load(score + j) * scale, -kInfinity);
    store(score + j, x);
    top = max(top, x);
  }
  const float block_max = reduce_max(top);
  const float new_max = block_max > row.max ? block_max : row.max;
  F32 sum = 0.0f;
  for (int j = 0; j < wide; j += F32::lanes) {
    const Mask live = first_lanes(clamp_lanes(seen - j));
    const F32 p = select(live, exp(load(score + j) - new_max), 0.0f);
    store(score + j, p);
    sum = sum + p;
  }
  float old[F32::lanes];
  store(old, exp(splat(row.max - new_max)));
  row.sum = row.sum * old[0] + reduce_add(sum);
  row.max = new_max;
  return old[0];
}

// The scores of one query for `n` keys, 0 up to `wide`: the chains of `product`, one key after the
// other in groups whose sums stay in registers. Decoding has one query a row, for which packing the
// keys would cost more than their use: 250 -> 160 ns for 8 keys of 32 numbers.
constexpr int kChains = 8;

FIRESTEEL_INLINE float chain(float a, float b, float c) {
  return kFusedMultiplyAdd ? __builtin_fmaf(a, b, c) : a * b + c;
}

template <class Key>
FIRESTEEL_INLINE void one_query(float* score, const float* q, const Key& key, int n, int wide,
                                int dim) {
  for (int first = 0; first < wide; first += kChains) {
    float sum[kChains] = {};
    if (first < n) {
      decltype(key(0)) k[kChains];
      for (int j = 0; j < kChains; ++j) k[j] = key(first + j < n ? first + j : n - 1);
      for (int d = 0; d < dim; ++d) {
        for (int j = 0; j < kChains; ++j) sum[j] = chain(q[d], to_float(k[j][d]), sum[j]);
      }
    }
    for (int j = 0; j < kChains; ++j) score[first + j] = sum[j];
  }
}

// sums += p * values over `n` keys, in their order.
template <class Value>
FIRESTEEL_INLINE void add_values(float* sums, const float* p, const Value& value, int n, int dim) {
  for (int d = 0; d < dim; d += F32::lanes) {
    const int have = clamp_lanes(dim - d);
    F32 sum = load(sums + d);
    for (int j = 0; j < n; ++j) {
      const F32 v =
          have == F32::lanes ? load(value(j) + d) : load_partial(value(j) + d, have, 0.0f);
      sum = fma(splat(p[j]), v, sum);
    }
    store(sums + d, sum);
  }
}

template <class T>
struct ForwardBlock {
  const AttentionQueries<T>& a;
  Operand q;
  const float *keys, *values;  // [dim][wide], [kBlock][width]
  int wide, width;
  int64_t first_key;
  int head;
  int64_t first_query;
  float* out;        // [heads * count][width]
  Running* running;  // [heads * count]

  template <int ROWS>
  FIRESTEEL_MEMBER void run(int64_t tile_row) const {
    const int64_t i = first_query + tile_row, row = head * a.count + i;
    alignas(64) float score[ROWS * kBlock];
    product<ROWS, true>(score, kBlock, q.x + i * q.token + head * q.head, q.token, 1, keys, wide,
                        wide, a.dim);
    const int64_t seen = a.position + i - first_key + 1;
    for (int r = 0; r < ROWS; ++r) {
      const float rescale = soften(score + r * kBlock, wide, seen + r, a.scale, running[row + r]);
      if (rescale == 1.0f) continue;
      float* sums = out + (row + r) * width;
      for (int d = 0; d < width; d += F32::lanes) store(sums + d, load(sums + d) * rescale);
    }
    causal_product<ROWS>(out + row * width, score, values, width, seen);
  }
};

template <class T>
void forward(const AttentionQueries<T>& a) {
  alignas(64) float keys[kMaxDim * kBlock], values[kBlock * kMaxDim], out[kAttentionRows * kMaxDim],
      room[operand_room<T>(kAttentionRows)];
  Running running[kAttentionRows];
  const int width = whole_vectors(a.dim);
  const Operand q = operand(a.q, a.q_stride, a.count, a.heads, a.dim, room);
  clear_rows(out, int64_t{a.count} * a.heads * width);
  for (int r = 0; r < a.count * a.heads; ++r) running[r] = {-kInfinity, 0.0f};

  const int64_t all = a.position + a.count;
  for (int64_t key = 0; key < all; key += kBlock) {
    const int n = all - key < kBlock ? static_cast<int>(all - key) : kBlock;
    const int wide = whole_vectors(n);
    const auto slot = [&](int64_t j) {
      return (a.key_index ? a.key_index[key + j] : key + j) * a.kv_stride;
    };
    if (a.count * a.heads == 1) {
      alignas(64) float score[kBlock];
      one_query(
          score, q.x, [&](int64_t j) { return a.k + slot(j); }, n, wide, a.dim);
      const float rescale = soften(score, wide, n, a.scale, running[0]);
      for (int d = 0; d < width; d += F32::lanes) store(out + d, load(out + d) * rescale);
      add_values(
          out, score, [&](int64_t j) { return a.v + slot(j); }, n, a.dim);
      continue;
    }
    pack_rows(
        keys, wide, [&](int j) { return a.k + slot(j); }, n, a.dim);
    copy_rows(
        values, width, [&](int64_t j) { return a.v + slot(j); }, n, a.dim);
    const int64_t first = key > a.position ? key - a.position : 0;
    for (int h = 0; h < a.heads; ++h) {
      each_tile(a.count - first,
                ForwardBlock<T>{a, q, keys, values, wide, width, key, h, first, out, running});
    }
  }

  for (int64_t i = 0; i < a.count; ++i) {
    for (int h = 0; h < a.heads; ++h) {
      const Running& state = running[h * a.count + i];
      float* row = out + (h * a.count + i) * width;
      for (int d = 0; d < width; d += F32::lanes) store(row + d, load(row + d) / state.sum);
      copy_out(a.out + (i * a.token + h) * a.dim, row, a.dim);
      if (a.stats_out) {
        a.stats_out[(i * a.token + h) * 2] = state.max;
        a.stats_out[(i * a.token + h) * 2 + 1] = state.sum;
      }
    }
  }
}

// ---- backward ----

template <class T>
void delta(const T* out, const T* d_out, int64_t rows, int64_t dim, float* delta) {
  for (int64_t i = 0; i < rows; ++i) {
    F32 sum = 0.0f;
    for (int64_t d = 0; d < dim; d += F32::lanes) {
      const int n = clamp_lanes(dim - d);
      sum = fma(load_partial(out + i * dim + d, n, 0.0f),
                load_partial(d_out + i * dim + d, n, 0.0f), sum);
    }
    delta[i] = reduce_add(sum);
  }
}

// A query's scores over `width` keys become probabilities and, of d p, d score; both 0 outside of
// [0, seen).
__attribute__((noinline)) void soften_backward(float* score, float* d_score, int width,
                                               int64_t seen, float scale, const float* stats,
                                               float delta) {
  const F32 top = stats[0], inverse = splat(1.0f) / stats[1];
  for (int j = 0; j < width; j += F32::lanes) {
    const Mask live = first_lanes(clamp_lanes(seen - j));
    const F32 p = select(live, exp(load(score + j) * scale - top) * inverse, 0.0f);
    const F32 d = select(live, p * (load(d_score + j) - delta) * scale, 0.0f);
    store(score + j, p);
    store(d_score + j, d);
  }
}

template <class T>
struct BackwardQueriesBlock {
  const AttentionQueries<T>& a;
  Operand q, d_out;
  const float *keys, *values;  // [dim][wide]
  const float* key_rows;       // [kBlock][width]
  int wide, width;
  int64_t first_key;
  int head;
  int64_t first_query;
  float* d_q;  // [heads * count][width]

  template <int ROWS>
  FIRESTEEL_MEMBER void run(int64_t tile_row) const {
    const int64_t i = first_query + tile_row;
    alignas(64) float score[ROWS * kBlock], d_score[ROWS * kBlock];
    product<ROWS, true>(score, kBlock, q.x + i * q.token + head * q.head, q.token, 1, keys, wide,
                        wide, a.dim);
    product<ROWS, true>(d_score, kBlock, d_out.x + i * d_out.token + head * d_out.head, d_out.token,
                        1, values, wide, wide, a.dim);
    const int64_t seen = a.position + i - first_key + 1;
    for (int r = 0; r < ROWS; ++r) {
      const int64_t at = (i + r) * a.token + head;
      soften_backward(score + r * kBlock, d_score + r * kBlock, wide, seen + r, a.scale,
                      a.stats + 2 * at, a.delta[at]);
    }
    causal_product<ROWS>(d_q + (head * a.count + i) * width, d_score, key_rows, width, seen);
  }
};

template <class T>
void backward_queries(const AttentionQueries<T>& a) {
  alignas(64) float keys[kMaxDim * kBlock], values[kMaxDim * kBlock], key_rows[kBlock * kMaxDim],
      d_q[kAttentionRows * kMaxDim], q_room[operand_room<T>(kAttentionRows)],
      d_out_room[operand_room<T>(kAttentionRows)];
  const int width = whole_vectors(a.dim);
  const Operand q = operand(a.q, a.q_stride, a.count, a.heads, a.dim, q_room);
  const Operand d_out = operand(a.d_out, a.token * a.dim, a.count, a.heads, a.dim, d_out_room);
  clear_rows(d_q, int64_t{a.count} * a.heads * width);
  const int64_t all = a.position + a.count;
  for (int64_t key = 0; key < all; key += kBlock) {
    const int n = all - key < kBlock ? static_cast<int>(all - key) : kBlock;
    const int wide = whole_vectors(n);
    const T *k = a.k + key * a.kv_stride, *v = a.v + key * a.kv_stride;
    pack_rows(
        keys, wide, [&](int j) { return k + j * a.kv_stride; }, n, a.dim);
    pack_rows(
        values, wide, [&](int j) { return v + j * a.kv_stride; }, n, a.dim);
    copy_rows(
        key_rows, width, [&](int64_t j) { return k + j * a.kv_stride; }, n, a.dim);
    const int64_t first = key > a.position ? key - a.position : 0;
    for (int h = 0; h < a.heads; ++h) {
      each_tile(a.count - first, BackwardQueriesBlock<T>{a, q, d_out, keys, values, key_rows, wide,
                                                         width, key, h, first, d_q});
    }
  }
  for (int64_t i = 0; i < a.count; ++i) {
    for (int h = 0; h < a.heads; ++h) {
      copy_out(a.d_q + (i * a.token + h) * a.dim, d_q + (h * a.count + i) * width, a.dim);
    }
  }
}

// Scores of a chunk of queries against the piece's keys.
template <class T>
struct BackwardScores {
  const AttentionKeys<T>& a;
  const float *keys, *values;       // [dim][wide]
  const float *query_rows, *d_out;  // [queries][width]
  int wide, width;
  int head;
  int64_t first_query;  // counted from the piece's first key
  float *p, *d_score;   // [queries][kAttentionKeys]

  template <int ROWS>
  FIRESTEEL_MEMBER void run(int64_t row) const {
    constexpr int kKeys = kAttentionKeys;
    const int64_t i = first_query + row;
    product<ROWS, true>(p + row * kKeys, kKeys, query_rows + row * width, width, 1, keys, wide,
                        wide, a.dim);
    product<ROWS, true>(d_score + row * kKeys, kKeys, d_out + row * width, width, 1, values, wide,
                        wide, a.dim);
    for (int r = 0; r < ROWS; ++r) {
      const int64_t at = (i + r) * a.token + head, sees = i + r + 1;
      soften_backward(p + (row + r) * kKeys, d_score + (row + r) * kKeys, wide,
                      sees < a.count ? sees : a.count, a.scale, a.stats + 2 * at, a.delta[at]);
    }
  }
};

// Adds what a chunk of queries gives to d_k and d_v. Key j takes queries from j on, in their order.
struct BackwardKeys {
  const float *p, *d_score;         // [queries][kAttentionKeys]
  const float *query_rows, *d_out;  // [queries][width]
  int width;
  int64_t first_query, queries;
  float *d_k, *d_v;  // [keys][width]

  template <int ROWS>
  FIRESTEEL_MEMBER void run(int64_t key) const {
    constexpr int kKeys = kAttentionKeys;
    int64_t common = key + ROWS - 1 - first_query;  // the first query that sees all of the tile
    common = common < 0 ? 0 : common < queries ? common : queries;
    for (int r = 0; r < ROWS; ++r) {
      const int64_t own = key + r - first_query < 0 ? 0 : key + r - first_query;
      if (own >= common) break;
      const int64_t at = own * kKeys + key + r, to = (key + r) * width;
      product<1, false>(d_v + to, width, p + at, 1, kKeys, d_out + own * width, width, width,
                        common - own);
      product<1, false>(d_k + to, width, d_score + at, 1, kKeys, query_rows + own * width, width,
                        width, common - own);
    }
    const int64_t at = common * kKeys + key;
    product<ROWS, false>(d_v + key * width, width, p + at, 1, kKeys, d_out + common * width, width,
                         width, queries - common);
    product<ROWS, false>(d_k + key * width, width, d_score + at, 1, kKeys,
                         query_rows + common * width, width, width, queries - common);
  }
};

template <class T>
void backward_keys(const AttentionKeys<T>& a) {
  constexpr int kKeys = kAttentionKeys;
  alignas(64) float keys[kMaxDim * kKeys], values[kMaxDim * kKeys], d_k[kKeys * kMaxDim],
      d_v[kKeys * kMaxDim], query_rows[kKeys * kMaxDim], d_out_rows[kKeys * kMaxDim],
      p[kKeys * kKeys], d_score[kKeys * kKeys];
  const int wide = whole_vectors(a.count), width = whole_vectors(a.dim);
  clear_rows(d_k, int64_t{a.count} * width);
  clear_rows(d_v, int64_t{a.count} * width);
  pack_rows(
      keys, wide, [&](int j) { return a.k + j * a.kv_stride; }, a.count, a.dim);
  pack_rows(
      values, wide, [&](int j) { return a.v + j * a.kv_stride; }, a.count, a.dim);
  for (int h = 0; h < a.heads; ++h) {
    for (int64_t first = 0; first < a.queries; first += kKeys) {
      const int64_t n = a.queries - first < kKeys ? a.queries - first : kKeys;
      const T* q = a.q + first * a.q_stride + h * a.dim;
      const T* d_out = a.d_out + (first * a.token + h) * a.dim;
      copy_rows(
          query_rows, width, [&](int64_t i) { return q + i * a.q_stride; }, n, a.dim);
      copy_rows(
          d_out_rows, width, [&](int64_t i) { return d_out + i * a.token * a.dim; }, n, a.dim);
      each_tile(n, BackwardScores<T>{a, keys, values, query_rows, d_out_rows, wide, width, h, first,
                                     p, d_score});
      each_tile(a.count,
                BackwardKeys{p, d_score, query_rows, d_out_rows, width, first, n, d_k, d_v});
    }
  }
  for (int64_t j = 0; j < a.count; ++j) {
    copy_out(a.d_k + j * a.kv_token * a.dim, d_k + j * width, a.dim);
    copy_out(a.d_v + j * a.kv_token * a.dim, d_v + j * width, a.dim);
  }
}

}  // namespace

template <class T>
constexpr AttentionSteps<T> kSteps = {forward<T>, delta<T>, backward_queries<T>, backward_keys<T>};

extern const AttentionTable attention_table;
const AttentionTable attention_table = {kSteps<float>, kSteps<bf16>, kSteps<f16>};

}  // namespace FIRESTEEL_ISA
}  // namespace firesteel
