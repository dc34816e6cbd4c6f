// divergence on CUDA: the kernels are in cuda_full.h and cuda_top_k.h.
#include "kernels/divergence/cuda_full.h"
#include "kernels/divergence/cuda_top_k.h"
#include "runtime/float_type.h"

namespace firesteel {
namespace {

template <class T>
bool is_wide(const void* rows, int64_t vocab) {
  return pack_aligned(static_cast<const T*>(rows), vocab);
}

template <class S, class T>
Status full_forward(Context& context, const DivergenceArgs& a) {
  LaunchShape shape;
  const Status fits = row_launch(a.tokens, 1, row_threads(a.vocab), &shape);
  if (!fits.ok()) return fits;
  return launch(context, "divergence", shape, full_kernel<S, T>, a,
                divergence_weights(a.rule.kind, a.rule.weight), is_wide<S>(a.student, a.vocab),
                is_wide<T>(a.teacher, a.vocab));
}

template <class S>
Status top_k_forward(Context& context, const DivergenceArgs& a) {
  LaunchShape shape;
  const Status fits = row_launch(a.tokens, 1, kTopThreads, &shape);
  if (!fits.ok()) return fits;
  const int64_t ids = a.vocab < kSeenIds ? a.vocab : kSeenIds;
  shape.dynamic_smem = static_cast<size_t>((ids + 31) / 32 * 4);
  return launch(context, "divergence", shape, top_k_kernel<S>, a, is_wide<S>(a.student, a.vocab));
}

template <class S, class T>
Status full_backward(Context& context, const DivergenceBackwardArgs& a) {
  const ChunkPlan plan = chunk_plan(a.vocab);
  LaunchShape shape;
  const Status fits = row_launch(a.tokens, plan.chunks, plan.threads, &shape);
  if (!fits.ok()) return fits;
  const bool wide = is_wide<S>(a.student, a.vocab) && is_wide<S>(a.d_student, a.vocab);
  return launch(context, "divergence_backward", shape, full_backward_kernel<S, T>, a,
                divergence_weights(a.rule.kind, a.rule.weight), static_cast<int>(plan.chunks), wide,
                is_wide<T>(a.teacher, a.vocab));
}

template <class S>
Status top_k_backward(Context& context, const DivergenceBackwardArgs& a) {
  const ChunkPlan plan = chunk_plan(a.vocab);
  LaunchShape shape;
  const Status fits = row_launch(a.tokens, plan.chunks, plan.threads, &shape);
  if (!fits.ok()) return fits;
  const bool wide = is_wide<S>(a.student, a.vocab) && is_wide<S>(a.d_student, a.vocab);
  const Status outside = launch(context, "divergence_backward", shape, outside_kernel<S>, a,
                                static_cast<int>(plan.chunks), wide);
  if (!outside.ok()) return outside;
  const int64_t chunks = (a.top_k + kTopThreads - 1) / kTopThreads;
  LaunchShape top;
  const Status top_fits = row_launch(a.tokens, chunks, kTopThreads, &top);
  if (!top_fits.ok()) return top_fits;
  return launch(context, "divergence_backward", top, top_k_gradient_kernel<S>, a,
                static_cast<int>(chunks));
}

}  // namespace

Status divergence_forward(Context& context, const DivergenceArgs& a) {
  if (a.teacher_dtype > DType::f16) return expected_float_type();
  return with_float_type(a.student_dtype, [&](auto s) {
    using S = decltype(s);
    if (a.rule.support != DivergenceSupport::full) return top_k_forward<S>(context, a);
    return with_float_type(a.teacher_dtype,
                           [&](auto t) { return full_forward<S, decltype(t)>(context, a); });
  });
}

Status divergence_backward(Context& context, const DivergenceBackwardArgs& a) {
  return with_float_type(a.student_dtype, [&](auto s) {
    using S = decltype(s);
    if (a.rule.support != DivergenceSupport::full) return top_k_backward<S>(context, a);
    return with_float_type(a.teacher_dtype,
                           [&](auto t) { return full_backward<S, decltype(t)>(context, a); });
  });
}

}  // namespace firesteel
