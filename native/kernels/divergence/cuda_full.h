// Both sides over the whole vocabulary. Forward: one block per row reads both sides twice, first
// for maximum and sum, then for the divergence's terms. Backward: no sums, so a row is cut into
// chunks.
#pragma once
#include "kernels/divergence/cuda_group.h"
#include "kernels/divergence/row.h"

namespace firesteel {

struct Exp2Approx {
  static constexpr float least = kLeastExponent;
  __host__ __device__ __forceinline__ float operator()(float x) const { return exp2_approx(x); }
};

// Of the tokens seen: the maximum, and the sum of 2^((x - maximum) scale); around 0 while only -inf
// was seen. NaN and +inf make the sum NaN, and nothing here removes it.
struct LogitPart {
  float max;
  double sum;
};
__device__ __forceinline__ float part_factor(float from, float to, float scale) {
  return from == -INFINITY ? 0.0f : exp2_approx((from - to) * scale);
}

template <class T>
__device__ __forceinline__ LogitPart logit_sums(const T* row, int vocab, bool wide, float scale) {
  LogitPart part = {-INFINITY, 0.0};
  each_group(vocab, [&](int first) {
    float x[kGroup];
    load_group(row, first, vocab, wide, x);
    float max = part.max, sum = 0.0f;
#pragma unroll
    for (int i = 0; i < kGroup; ++i) max = fmaxf(max, x[i]);
    const float base = max == -INFINITY ? 0.0f : max;
#pragma unroll
    for (int i = 0; i < kGroup; ++i) sum += exp2_approx((x[i] - base) * scale);
    if (max > part.max) part.sum *= static_cast<double>(part_factor(part.max, max, scale));
    part.max = max;
    part.sum += static_cast<double>(sum);
  });
  const float max = block_max(part.max);
  const float factor = part.max == max ? 1.0f : part_factor(part.max, max, scale);
  return {max, block_sum(part.sum * static_cast<double>(factor))};
}

// Thread 0 of the block.
__device__ __forceinline__ void finish_row(const DivergenceArgs& a, int64_t row, float divergence,
                                           int fault) {
  if (threadIdx.x != 0) return;
  a.divergence[row] = divergence;
  if (fault >= 0) record_fault(a.faults, static_cast<Fault>(fault), row);
}
__device__ __forceinline__ void fill_stats(const DivergenceArgs& a, int64_t row, float value) {
  const int64_t width = kDivergenceStats + a.top_k;
  for (int64_t i = threadIdx.x; i < width; i += blockDim.x) a.stats[row * width + i] = value;
}
__device__ __forceinline__ void finish_without_stats(const DivergenceArgs& a, int64_t row,
                                                     float divergence, int fault) {
  fill_stats(a, row, fault < 0 ? 0.0f : NAN);
  finish_row(a, row, divergence, fault);
}

template <class S, class T>
__global__ void __launch_bounds__(1024)
    full_kernel(DivergenceArgs a, DivergenceWeights weights, bool wide_student, bool wide_teacher) {
  const int64_t row = blockIdx.x;
  if (a.mask != nullptr && a.mask[row] == 0) return finish_without_stats(a, row, 0.0f, -1);
  const int vocab = static_cast<int>(a.vocab);
  const S* student = static_cast<const S*>(a.student) + row * a.vocab;
  const T* teacher = static_cast<const T*>(a.teacher) + row * a.vocab;
  const float student_scale = exponent_scale(a.inverse_temperature);
  const float teacher_scale = exponent_scale(a.inverse_teacher_temperature);
  const LogitPart p = logit_sums(student, vocab, wide_student, student_scale);
  const LogitPart q = logit_sums(teacher, vocab, wide_teacher, teacher_scale);
  if (!(p.sum + q.sum < static_cast<double>(INFINITY))) {
    return finish_without_stats(a, row, NAN, static_cast<int>(Fault::not_a_number));
  }
  if (p.max == -INFINITY || q.max == -INFINITY) {
    return finish_without_stats(a, row, NAN, static_cast<int>(Fault::no_support));
  }

  const float ratio = log2_ratio(p.sum, q.sum);
  const DivergenceConstants constants =
      divergence_constants(student_scale, p.max, teacher_scale, q.max, ratio);
  double first_sum = 0.0, second_sum = 0.0;
  each_group(vocab, [&](int first) {
    float x[kGroup], y[kGroup];
    load_group(student, first, vocab, wide_student, x);
    load_group(teacher, first, vocab, wide_teacher, y);
    float group_first = 0.0f, group_second = 0.0f;
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      const auto pair = token_pair(constants, x[i], y[i], Exp2Approx());
      if (weights.mixture) {
        const MixtureTerms<float> terms = jsd_terms(weights, pair);
        group_first += terms.divergence;
        group_second += terms.student_kl;
      } else {
        const Divergences<float> terms = kl_terms(pair);
        group_first += terms.forward;
        group_second += terms.reverse;
      }
    }
    first_sum += static_cast<double>(group_first);
    second_sum += static_cast<double>(group_second);
  });
  first_sum = block_sum(first_sum);
  second_sum = block_sum(second_sum);
  const RowDivergence result =
      row_divergence(weights, p.sum < q.sum ? p.sum : q.sum, first_sum, second_sum);
  if (!(result.divergence < static_cast<double>(INFINITY))) {
    return finish_without_stats(a, row, INFINITY, static_cast<int>(Fault::no_support));
  }
  if (threadIdx.x == 0) {
    write_stats(constants, ratio, result, a.stats + row * kDivergenceStats);
  }
  finish_row(a, row, static_cast<float>(result.divergence), -1);
}

// What a row's tokens are multiplied by, 0 where the row has no gradient.
__device__ __forceinline__ float gradient_factor(const DivergenceBackwardArgs& a, int64_t row,
                                                 const float* stats) {
  const bool trained = (a.mask == nullptr || a.mask[row] != 0) && stats[0] == stats[0];
  return trained ? a.d_divergence[row] * static_cast<float>(a.inverse_temperature) : 0.0f;
}

template <class S, class T>
__global__ void __launch_bounds__(kChunkThreads)
    full_backward_kernel(DivergenceBackwardArgs a, DivergenceWeights weights, int chunks,
                         bool wide_student, bool wide_teacher) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) / chunks;
  const int chunk = static_cast<int>(static_cast<int64_t>(blockIdx.x) % chunks);
  const int vocab = static_cast<int>(a.vocab);
  const S* student = static_cast<const S*>(a.student) + row * a.vocab;
  const T* teacher = static_cast<const T*>(a.teacher) + row * a.vocab;
  S* out = static_cast<S*>(a.d_student) + row * a.vocab;
  const float* stats = a.stats + row * kDivergenceStats;
  const float above = gradient_factor(a, row, stats);
  const float factor = above * stats[3], kl = stats[4];
  const DivergenceConstants constants =
      divergence_constants(exponent_scale(a.inverse_temperature), stats[0],
                           exponent_scale(a.inverse_teacher_temperature), stats[1], stats[2]);
  each_group_of_chunk(chunk, vocab, [&](int first) {
    float x[kGroup] = {};
    if (above != 0.0f) {
      float y[kGroup];
      load_group(student, first, vocab, wide_student, x);
      load_group(teacher, first, vocab, wide_teacher, y);
#pragma unroll
      for (int i = 0; i < kGroup; ++i) {
        const auto pair = token_pair(constants, x[i], y[i], Exp2Approx());
        const float slope =
            weights.mixture ? jsd_gradient(weights, kl, pair) : kl_gradient(weights, kl, pair);
        x[i] = fmaf(factor, slope, 0.0f);  // + 0: never -0
      }
    }
    store_group(out, first, vocab, wide_student, x);
  });
}

}  // namespace firesteel
