// log_prob on CUDA: the kernels are in cuda_forward.h and cuda_backward.h, here is how they are
// launched, and the merge of shards.
#include "kernels/log_prob/cuda_backward.h"
#include "kernels/log_prob/cuda_forward.h"
#include "kernels/log_prob/log_prob.h"
#include "runtime/float_type.h"

namespace firesteel {
namespace {

template <class T>
Status read_rows(Context& context, const char* name, const LogProbRows& a, const RowTarget& to,
                 bool with_total) {
  const Plan plan = forward_plan<T>(context, a.tokens, a.vocab);
  if (a.tokens > kMaxGridX / plan.cluster) return too_many_rows(a.tokens, plan.cluster);
  return launch(context, name, row_shape(plan, a.tokens), row_kernel<T>, a, to, plan, with_total);
}

Status read_rows(Context& context, const char* name, const LogProbRows& a, const RowTarget& to,
                 bool with_total) {
  return with_float_type(
      a.dtype, [&](auto x) { return read_rows<decltype(x)>(context, name, a, to, with_total); });
}

// One thread a row: 48 bytes of every shard.
__global__ void merge_kernel(LogProbMergeArgs a) {
  for (int64_t t = grid_thread(); t < a.tokens; t += grid_threads()) {
    LogProbPartial row = a.shards[0][t];
    for (int i = 1; i < a.shard_count; ++i) row = merged_shards(row, a.shards[i][t]);
    conclude({nullptr, 0, a}, t, row, a.vocab);
  }
}

template <class T>
Status backward(Context& context, const LogProbBackwardArgs& a) {
  constexpr int size = Pack<T>::size;
  // A gradient that does not start at a chunk has one more.
  const int64_t ahead = pack_aligned(static_cast<const T*>(a.d_logits), a.d_row_stride) ? 0 : size;
  const int64_t chunks = (a.vocab + ahead + size - 1) / size;
  int64_t threads = kWarp;
  while (threads < kBackwardThreads && threads * kTilePacks < chunks) threads *= 2;
  const int64_t blocks = (chunks + threads * kTilePacks - 1) / (threads * kTilePacks);
  if (a.tokens > kMaxGridX / blocks) return too_many_rows(a.tokens, blocks);
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(a.tokens * blocks));
  shape.block = dim3(static_cast<unsigned>(threads));
  return launch(context, "log_prob_backward", shape, backward_kernel<T>, a,
                static_cast<int>(blocks));
}

}  // namespace

Status log_prob_forward(Context& context, const LogProbArgs& a) {
  return read_rows(context, "log_prob_forward", a, {nullptr, 0, a}, a.vocab_mean != nullptr);
}

Status log_prob_partial(Context& context, const LogProbPartialArgs& a) {
  return read_rows(context, "log_prob_partial", a, {a.partials, a.vocab_start, {}}, true);
}

Status log_prob_merge(Context& context, const LogProbMergeArgs& a) {
  return launch(context, "log_prob_merge", elementwise_shape(context, a.tokens), merge_kernel, a);
}

Status log_prob_backward(Context& context, const LogProbBackwardArgs& a) {
  return with_float_type(a.dtype, [&](auto x) { return backward<decltype(x)>(context, a); });
}

}  // namespace firesteel
