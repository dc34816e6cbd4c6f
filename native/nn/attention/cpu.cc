// Work division: pieces are spans of consecutive tokens, cut where a row ends. Neither the spans
// nor the heads that share a piece change the order of any sum.
#include <algorithm>

#include "nn/attention/attention.h"
#include "nn/attention/table.h"
#include "runtime/cpu/context.h"
#include "runtime/simd/dispatch.h"

namespace firesteel {

FIRESTEEL_DISPATCH(AttentionTable, attention_table)

namespace {

constexpr int64_t kChunkFlops = 1 << 20;

// Calls body(row, first, end) for the parts of [begin, end) that lie in one row each.
template <class Body>
void each_row(const int32_t* offsets, int64_t rows, int64_t begin, int64_t end, const Body& body) {
  int64_t row = std::upper_bound(offsets, offsets + rows + 1, begin) - offsets - 1;
  for (; begin < end && row < rows; ++row) {
    const int64_t stop = std::min<int64_t>(end, offsets[row + 1]);
    if (begin < stop) body(row, begin, stop);
    begin = std::max(begin, stop);
  }
}

// Query heads of one piece: those of a key head, as many as may share a packed block.
struct HeadPart {
  int64_t kv_head, head, heads;
};

int64_t head_parts(int64_t kv_heads, int64_t group) {
  return kv_heads * ((group + kAttentionRows - 1) / kAttentionRows);
}

HeadPart head_part(int64_t i, int64_t kv_heads, int64_t group) {
  const int64_t first = i / kv_heads * kAttentionRows, kv_head = i % kv_heads;
  return {kv_head, kv_head * group + first, std::min<int64_t>(kAttentionRows, group - first)};
}

int64_t query_span(int64_t group) {
  return std::max<int64_t>(1, kAttentionRows / group);
}

int64_t flops(int64_t keys, int64_t rows, int64_t group, int64_t dim) {
  return 4 * std::max<int64_t>(1, keys / rows) * group * dim;
}

// Calls body(part, row, first token, end token) for spans of at most `span` tokens times `parts`.
template <class Body>
Status split(Context& context, const int32_t* offsets, int64_t rows, int64_t tokens, int64_t parts,
             int64_t span, int64_t flops_per_token, const Body& body) {
  const int64_t per_thread = tokens * parts / (4 * context.threads());
  if (context.threads() > 1) span = std::max<int64_t>(1, std::min(span, per_thread));
  const int64_t spans = (tokens + span - 1) / span;
  const int64_t grain = std::max<int64_t>(1, kChunkFlops / (span * flops_per_token));
  return context.parallel(spans * parts, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = i / parts * span;
      each_row(offsets, rows, first, std::min(first + span, tokens),
               [&](int64_t row, int64_t from, int64_t to) { body(i % parts, row, from, to); });
    }
  });
}

template <class T>
const T* at(const void* array, int64_t element) {
  return static_cast<const T*>(array) + element;
}
template <class T>
T* at(void* array, int64_t element) {
  return static_cast<T*>(array) + element;
}

template <class T>
Status forward(Context& context, const AttentionArgs& a, const AttentionSteps<T>& steps) {
  const int64_t group = a.heads / a.kv_heads;
  return split(context, a.query_offsets, a.rows, a.queries, head_parts(a.kv_heads, group),
               query_span(group), flops(a.key_offsets[a.rows], a.rows, group, a.head_dim),
               [&](int64_t i, int64_t row, int64_t begin, int64_t end) {
                 const HeadPart part = head_part(i, a.kv_heads, group);
                 const int64_t first_key = a.key_offsets[row], to = begin * a.heads + part.head;
                 const int64_t first_slot = a.key_index ? 0 : first_key;
                 AttentionQueries<T> piece{};
                 piece.count = static_cast<int>(end - begin);
                 piece.heads = static_cast<int>(part.heads);
                 piece.dim = static_cast<int>(a.head_dim);
                 piece.position =
                     a.key_offsets[row + 1] - first_key - (a.query_offsets[row + 1] - begin);
                 piece.key_index = a.key_index ? a.key_index + first_key : nullptr;
                 piece.q = at<T>(a.q, begin * a.q_stride + part.head * a.head_dim);
                 piece.q_stride = a.q_stride;
                 piece.k = at<T>(a.k, first_slot * a.kv_stride + part.kv_head * a.head_dim);
                 piece.v = at<T>(a.v, first_slot * a.kv_stride + part.kv_head * a.head_dim);
                 piece.kv_stride = a.kv_stride;
                 piece.scale = a.scale;
                 piece.token = a.heads;
                 piece.out = at<T>(a.out, to * a.head_dim);
                 piece.stats_out = a.stats ? a.stats + 2 * to : nullptr;
                 steps.forward(piece);
               });
}

template <class T>
Status backward(Context& context, const AttentionBackwardArgs& a, const AttentionSteps<T>& steps) {
  float* const delta = static_cast<float*>(a.workspace);
  const int64_t rows = a.tokens * a.heads, group = a.heads / a.kv_heads;
  Status status = context.parallel(rows, std::max<int64_t>(1, 65536 / a.head_dim),
                                   [&](int64_t begin, int64_t end) {
                                     const int64_t first = begin * a.head_dim;
                                     steps.delta(at<T>(a.out, first), at<T>(a.d_out, first),
                                                 end - begin, a.head_dim, delta + begin);
                                   });
  if (!status.ok()) return status;

  const int64_t cost = flops(a.tokens, a.rows, group, a.head_dim);
  status = split(context, a.row_offsets, a.rows, a.tokens, head_parts(a.kv_heads, group),
                 query_span(group), cost, [&](int64_t i, int64_t row, int64_t begin, int64_t end) {
                   const HeadPart part = head_part(i, a.kv_heads, group);
                   const int64_t first = a.row_offsets[row], to = begin * a.heads + part.head;
                   AttentionQueries<T> piece{};
                   piece.count = static_cast<int>(end - begin);
                   piece.heads = static_cast<int>(part.heads);
                   piece.dim = static_cast<int>(a.head_dim);
                   piece.position = begin - first;
                   piece.q = at<T>(a.q, begin * a.q_stride + part.head * a.head_dim);
                   piece.q_stride = a.q_stride;
                   piece.k = at<T>(a.k, first * a.kv_stride + part.kv_head * a.head_dim);
                   piece.v = at<T>(a.v, first * a.kv_stride + part.kv_head * a.head_dim);
                   piece.kv_stride = a.kv_stride;
                   piece.scale = a.scale;
                   piece.token = a.heads;
                   piece.stats = a.stats + 2 * to;
                   piece.d_out = at<T>(a.d_out, to * a.head_dim);
                   piece.delta = delta + to;
                   piece.d_q = at<T>(a.d_q, to * a.head_dim);
                   steps.backward_queries(piece);
                 });
  if (!status.ok()) return status;

  return split(context, a.row_offsets, a.rows, a.tokens, a.kv_heads, kAttentionKeys, cost,
               [&](int64_t kv_head, int64_t row, int64_t begin, int64_t end) {
                 const int64_t head = kv_head * group, to = begin * a.heads + head;
                 AttentionKeys<T> piece{};
                 piece.count = static_cast<int>(end - begin);
                 piece.heads = static_cast<int>(group);
                 piece.dim = static_cast<int>(a.head_dim);
                 piece.queries = a.row_offsets[row + 1] - begin;
                 piece.q = at<T>(a.q, begin * a.q_stride + head * a.head_dim);
                 piece.q_stride = a.q_stride;
                 piece.k = at<T>(a.k, begin * a.kv_stride + kv_head * a.head_dim);
                 piece.v = at<T>(a.v, begin * a.kv_stride + kv_head * a.head_dim);
                 piece.kv_stride = a.kv_stride;
                 piece.scale = a.scale;
                 piece.token = a.heads;
                 piece.kv_token = a.kv_heads;
                 piece.stats = a.stats + 2 * to;
                 piece.d_out = at<T>(a.d_out, to * a.head_dim);
                 piece.delta = delta + to;
                 const int64_t key = (begin * a.kv_heads + kv_head) * a.head_dim;
                 piece.d_k = at<T>(a.d_k, key);
                 piece.d_v = at<T>(a.d_v, key);
                 steps.backward_keys(piece);
               });
}

}  // namespace

Status attention_forward(Context& context, const AttentionArgs& a) {
  if (a.queries == 0 || a.rows == 0) return {};
  const AttentionTable& table = attention_table();
  switch (a.dtype) {
    case DType::bf16:
      return forward(context, a, table.of_bf16);
    case DType::f16:
      return forward(context, a, table.of_f16);
    default:
      return forward(context, a, table.of_f32);
  }
}

int64_t attention_backward_workspace(DType, int64_t tokens, int64_t heads) {
  return tokens * heads * static_cast<int64_t>(sizeof(float));
}

Status attention_backward(Context& context, const AttentionBackwardArgs& a) {
  if (a.tokens == 0 || a.rows == 0) return {};
  const AttentionTable& table = attention_table();
  switch (a.dtype) {
    case DType::bf16:
      return backward(context, a, table.of_bf16);
    case DType::f16:
      return backward(context, a, table.of_f16);
    default:
      return backward(context, a, table.of_f32);
  }
}

}  // namespace firesteel
