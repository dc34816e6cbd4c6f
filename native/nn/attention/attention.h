// attention: causal softmax attention over ragged rows with grouped key/value heads.
//
// Query q of the batch belongs to row r and stands at position pos in it; it sees the keys 0 .. pos
// of its row. Key j of row r lies at slot key_index[key_offsets[r] + j] of k and v, or, when
// key_index is null, at slot key_offsets[r] + j. In training the slots are the batch's own tokens;
// in decoding they are slots of a cache that rows of a group share for their common prompt. Keys
// are walked in fixed blocks from 0, so both give the same bits. A key that a query does not see
// has no part in it: NaN there changes nothing. Offsets and slots are trusted:
// src/engine/offsets.ts checks them.
#pragma once
#include <stdint.h>

#include "runtime/dtype.h"
#include "runtime/status.h"

namespace firesteel {

class Context;

struct AttentionArgs {
  DType dtype;                   // of q, k, v and out: f32, bf16 or f16
  int64_t queries, rows;         // Tq, R
  int64_t heads, kv_heads;       // heads % kv_heads == 0
  int64_t head_dim;              // D, 1 .. 256; 16-bit: 1 .. 128
  const int32_t* query_offsets;  // [R + 1]: row r's queries
  const int32_t* key_offsets;    // [R + 1]: row r's keys; its queries are its last positions:
                                 // pos of query i of row r = keys(r) - queries(r) + i
  const int32_t* key_index;      // [key_offsets[R]] slots, or null
  const void* q;                 // [Tq, heads, D]
  const void* k;                 // [slots, kv_heads, D]
  const void* v;                 // [slots, kv_heads, D]
  int64_t q_stride, kv_stride;   // elements between consecutive tokens (>= heads * D, kv_heads * D)
  float scale;                   // of q.k
  void* out;                     // [Tq, heads, D], contiguous
  float* stats;                  // [Tq, heads, 2] for backward, or null: max of scale * q.k,
                                 // sum of exp(scale * q.k - max)
};
Status attention_forward(Context&, const AttentionArgs&);

struct AttentionBackwardArgs {  // training only: keys are the batch's own tokens, Tq = Tk
  DType dtype;                  // of all but stats
  int64_t tokens, rows, heads, kv_heads, head_dim;
  const int32_t* row_offsets;  // [R + 1]
  const void *q, *k, *v;       // as forward
  int64_t q_stride, kv_stride;
  float scale;
  const void* out;        // [T, heads, D]
  const float* stats;     // [T, heads, 2]
  const void* d_out;      // [T, heads, D]
  void *d_q, *d_k, *d_v;  // contiguous out: [T, heads, D], [T, kv_heads, D] twice
  void* workspace;        // attention_backward_workspace bytes
};
int64_t attention_backward_workspace(DType, int64_t tokens, int64_t heads);
Status attention_backward(Context&, const AttentionBackwardArgs&);

}  // namespace firesteel
