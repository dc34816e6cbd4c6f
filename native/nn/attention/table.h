// What attention's per-ISA object offers to cpu.cc.
#pragma once
#include <stdint.h>

#include "runtime/dtype.h"

namespace firesteel {

// Keys are walked in blocks of this many from a row's first: part of the result's definition.
constexpr int kAttentionBlock = 64;
// (query, head) rows that share one packed block of keys.
constexpr int kAttentionRows = 64;
// Keys, and queries in turn, of one piece of the pass over keys.
constexpr int kAttentionKeys = 32;
constexpr int kAttentionMaxDim = 256;

// Consecutive queries of one row, for heads that share a key head. Pointers are at the first query
// and head; a token's heads lie head_dim apart. T: float, bf16 or f16.
template <class T>
struct AttentionQueries {
  int count, heads;  // count * heads <= kAttentionRows
  int dim;
  int64_t position;          // of the first query in its row
  const int32_t* key_index;  // slots of the row's keys, or null: key j at slot j
  const T* q;
  int64_t q_stride;
  const T *k, *v;  // slot 0, this key head
  int64_t kv_stride;
  float scale;
  int64_t token;       // heads of a token, all of them: strides of what follows
  T* out;              // [queries, token, dim]; forward only
  float* stats_out;    // [queries, token, 2]; null in decoding
  const float* stats;  // backward only, from here on
  const T* d_out;      // as out
  const float* delta;  // [queries, token]
  T* d_q;              // as out
};

// Consecutive keys of one row in training, for one key head and its `heads` query heads.
template <class T>
struct AttentionKeys {
  int count;  // <= kAttentionKeys
  int heads, dim;
  int64_t queries;  // of the row from the first key's position on; all pointers are at it
  const T* q;
  int64_t q_stride;
  const T *k, *v;
  int64_t kv_stride;
  float scale;
  int64_t token, kv_token;  // query heads and key heads of a token
  const float* stats;       // [queries, token, 2]
  const T* d_out;           // [queries, token, dim]
  const float* delta;       // [queries, token]
  T *d_k, *d_v;             // [keys, kv_token, dim]
};

template <class T>
struct AttentionSteps {
  void (*forward)(const AttentionQueries<T>& piece);
  // delta[i] = sum over dim of out[i] * d_out[i], for `rows` contiguous rows.
  void (*delta)(const T* out, const T* d_out, int64_t rows, int64_t dim, float* delta);
  void (*backward_queries)(const AttentionQueries<T>& piece);
  void (*backward_keys)(const AttentionKeys<T>& piece);
};

struct AttentionTable {
  AttentionSteps<float> of_f32;
  AttentionSteps<bf16> of_bf16;
  AttentionSteps<f16> of_f16;
};

}  // namespace firesteel
