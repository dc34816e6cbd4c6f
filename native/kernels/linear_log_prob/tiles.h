// Which part of the logits is held at a time, where in the workspace, and the three products of it.
#pragma once
#include <algorithm>

#include "gemm/gemm.h"
#include "kernels/linear_log_prob/linear_log_prob.h"

namespace firesteel {

// What a backend cuts [T, V] into: tiles have a multiple of `rows` and of `columns`, or end where T
// and V do.
struct TileRule {
  int64_t rows, columns;
  int64_t most_rows;      // a multiple of `rows`
  int64_t default_bytes;  // of logits
};

struct TileSize {
  int64_t rows, columns;
  int64_t stride;  // of its rows: some floats more than columns
};

inline int64_t least_bytes(const TileRule& rule, const LinearShape& s) {
  return std::min(s.tokens, rule.rows) * std::min(s.vocab, rule.columns) *
         static_cast<int64_t>(sizeof(float));
}

// As many rows as are allowed, since for each tile of rows the weight is read once, then columns.
inline TileSize tile_size(const TileRule& rule, const LinearShape& s) {
  if (s.tokens == 0) return {0, s.vocab, 0};
  const int64_t bytes = s.chunk_bytes == 0 ? rule.default_bytes : s.chunk_bytes;
  const int64_t floats = std::max(bytes, least_bytes(rule, s)) / int64_t{sizeof(float)};
  TileSize tile{};
  tile.rows = std::min({s.tokens, rule.most_rows, floats / std::min(s.vocab, rule.columns)});
  if (tile.rows < s.tokens) tile.rows -= tile.rows % rule.rows;
  tile.columns = std::min(s.vocab, floats / tile.rows);
  if (tile.columns < s.vocab) tile.columns -= tile.columns % rule.columns;
  // Rows a power of two apart would share cache sets; whole vectors keep rows aligned.
  tile.stride = (tile.columns + 15) / 16 * 16 + 16;
  return tile;
}

// Arrays one after the other in a workspace; without one only their total is of interest.
class Layout {
 public:
  explicit Layout(void* workspace) : base_(static_cast<char*>(workspace)) {}

  void* take(int64_t bytes) {
    void* at = base_ == nullptr ? nullptr : base_ + bytes_;
    bytes_ += (bytes + 255) / 256 * 256;
    return at;
  }
  template <class T>
  T* array(int64_t count) {
    return static_cast<T*>(take(count * static_cast<int64_t>(sizeof(T))));
  }
  int64_t bytes() const { return bytes_; }

 private:
  char* base_;
  int64_t bytes_ = 0;
};

// Some rows of hidden and some columns of the vocabulary.
struct HeadTile {
  int64_t rows, columns, hidden_size;
  const void* hidden;  // [rows, H] of dtype
  const void* weight;  // [columns, H] of dtype
  DType dtype;
  float* logits;  // [rows, columns], row stride `stride`; later their gradient
  int64_t stride;
  void* workspace;  // gemm_workspace of the largest product
};

inline const void* rows_from(const void* x, int64_t row, const LinearShape& s) {
  return static_cast<const char*>(x) + row * s.hidden_size * size_of(s.dtype);
}

// logits = hidden weight^T
inline GemmArgs logits_product(const HeadTile& t) {
  GemmArgs g{};
  g.m = t.rows;
  g.n = t.columns;
  g.k = t.hidden_size;
  g.a = t.hidden;
  g.a_row = t.hidden_size;
  g.a_col = 1;
  g.b = t.weight;
  g.b_row = 1;
  g.b_col = t.hidden_size;
  g.a_type = g.b_type = t.dtype;
  g.c = t.logits;
  g.c_row = t.stride;
  g.workspace = t.workspace;
  return g;
}

// d_hidden [rows, H] = d_logits weight; resumed from one tile of columns to the next
inline GemmArgs d_hidden_product(const HeadTile& t, float* d_hidden, bool resume) {
  GemmArgs g{};
  g.m = t.rows;
  g.n = t.hidden_size;
  g.k = t.columns;
  g.a = t.logits;
  g.a_row = t.stride;
  g.a_col = 1;
  g.b = t.weight;
  g.b_row = t.hidden_size;
  g.b_col = 1;
  g.b_type = t.dtype;
  g.c = d_hidden;
  g.c_row = t.hidden_size;
  g.resume = resume;
  g.split_in_two = true;
  g.workspace = t.workspace;
  return g;
}

// d_weight [columns, H] = d_logits^T hidden; resumed from one tile of rows to the next
inline GemmArgs d_weight_product(const HeadTile& t, float* d_weight, bool resume) {
  GemmArgs g{};
  g.m = t.columns;
  g.n = t.hidden_size;
  g.k = t.rows;
  g.a = t.logits;
  g.a_row = 1;
  g.a_col = t.stride;
  g.b = t.hidden;
  g.b_row = t.hidden_size;
  g.b_col = 1;
  g.b_type = t.dtype;
  g.c = d_weight;
  g.c_row = t.hidden_size;
  g.resume = resume;
  g.split_in_two = true;
  g.workspace = t.workspace;
  return g;
}

// Enough for the products of a pass, of whole tiles and of smaller ones.
inline int64_t products_workspace(LinearPass pass, const TileSize& tile, int64_t hidden_size) {
  const int64_t logits = gemm_workspace(tile.rows, tile.columns, hidden_size, false);
  if (pass == LinearPass::forward) return logits;
  return std::max({logits, gemm_workspace(tile.rows, hidden_size, tile.columns, false),
                   gemm_workspace(tile.columns, hidden_size, tile.rows, false)});
}

// What every pass holds.
struct TileSpace {
  TileSize tile;
  float* logits;
  void* products;

  TileSpace(LinearPass pass, const TileRule& rule, const LinearShape& s, Layout& layout)
      : tile(tile_size(rule, s)),
        logits(layout.array<float>(tile.rows * tile.stride)),
        products(layout.take(products_workspace(pass, tile, s.hidden_size))) {}

  // `rows` rows of hidden and as many ids from `first_id` on as there are.
  HeadTile at(const LinearShape& s, const void* hidden, int64_t rows, const void* weight,
              int64_t first_id) const {
    HeadTile t{};
    t.rows = rows;
    t.columns = std::min(tile.columns, s.vocab - first_id);
    t.hidden_size = s.hidden_size;
    t.hidden = hidden;
    t.weight = rows_from(weight, first_id, s);
    t.dtype = s.dtype;
    t.logits = logits;
    t.stride = tile.stride;
    t.workspace = products;
    return t;
  }
};

}  // namespace firesteel
