// The teacher's k tokens. Forward: one block per row checks the ids, streams the student's row
// twice where p is normalised over the vocabulary (maximum, then sums), and then works on the k
// tokens. Backward: what lies outside of them in chunks of a row, then the k tokens over it.
#pragma once
#include "kernels/divergence/cuda_full.h"
#include "kernels/divergence/top_k.h"

namespace firesteel {

constexpr int kTopThreads = 256;

struct BlockTeam {
  template <class Body>
  __device__ __forceinline__ void each(int64_t count, const Body& body) const {
    for (int64_t j = threadIdx.x; j < count; j += blockDim.x) body(j);
  }
  __device__ __forceinline__ double sum(double x) const { return block_sum(x); }
  __device__ __forceinline__ double max(double x) const { return block_max(x); }
};

__device__ __forceinline__ double value_at(const void* values, DType dtype, int64_t i) {
  switch (dtype) {
    case DType::bf16:
      return static_cast<double>(widen(static_cast<const bf16*>(values)[i]));
    case DType::f16:
      return static_cast<double>(widen(static_cast<const f16*>(values)[i]));
    default:
      return static_cast<double>(static_cast<const float*>(values)[i]);
  }
}

template <class S>
struct DeviceTopLogits {
  const S* student_row;
  const int32_t* ids;
  const void* teacher_values;
  DType teacher_dtype;
  int64_t teacher_row;  // its first value
  __device__ __forceinline__ double student(int64_t j) const {
    return static_cast<double>(widen(student_row[ids[j]]));
  }
  __device__ __forceinline__ double teacher(int64_t j) const {
    return value_at(teacher_values, teacher_dtype, teacher_row + j);
  }
};

// Ids whose bits a block keeps in shared memory at a time: 32 KiB of them, as 48 KiB is what every
// card gives unasked, the reductions' scratch included.
constexpr int kSeenIds = 32 * 1024 * 8;

// Whether all are in [0, vocab) and none is there twice: a bit for every id.
__device__ __forceinline__ bool are_distinct(const int32_t* ids, int64_t count, int vocab) {
  const SharedPtr<unsigned> seen = dynamic_smem<unsigned>();
  int wrong = 0;
  for (int begin = 0; begin < vocab; begin += kSeenIds) {
    const int end = vocab - begin < kSeenIds ? vocab : begin + kSeenIds;
    for (int i = threadIdx.x; i * 32 < end - begin; i += blockDim.x) seen[i] = 0u;
    __syncthreads();
    for (int64_t j = threadIdx.x; j < count; j += blockDim.x) {
      const int id = ids[j];
      wrong |= id < 0 || id >= vocab;
      if (id < begin || id >= end) continue;
      const unsigned bit = 1u << ((id - begin) % 32);
      wrong |= (atomicOr(seen + (id - begin) / 32, bit) & bit) != 0u;
    }
    __syncthreads();
  }
  return block_max(wrong) == 0;
}

// The student's 2^t and t 2^t at one token, as floats: sums of them in double subtract exactly.
struct Exponent {
  float power, weighted;
};
__device__ __forceinline__ Exponent exponent_of(float x, float top, float scale) {
  const float t = max(kLeastExponent, (x - top) * scale);  // NaN, being second, passes
  const float power = exp2_approx(t);
  return {power, power * t};
}

// Returns whether the row's values are numbers. Nothing but -inf gives the maximum 0 and the sum 0.
template <class S>
__device__ __forceinline__ bool sum_outside(const S* student, const int32_t* ids, int vocab,
                                            bool wide, float scale, TopKRow* row) {
  float top = -INFINITY;
  each_group(vocab, [&](int first) {
    float x[kGroup];
    load_group(student, first, vocab, wide, x);
#pragma unroll
    for (int i = 0; i < kGroup; ++i) top = fmaxf(top, x[i]);
  });
  top = block_max(top);
  if (top == -INFINITY) top = 0.0f;
  double sum = 0.0, weighted = 0.0;
  each_group(vocab, [&](int first) {
    float x[kGroup];
    load_group(student, first, vocab, wide, x);
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      const Exponent e = exponent_of(x[i], top, scale);
      sum += static_cast<double>(e.power);
      weighted += static_cast<double>(e.weighted);
    }
  });
  const bool number = block_sum(sum) < static_cast<double>(INFINITY);
  for (int64_t j = threadIdx.x; j < row->top_k; j += blockDim.x) {
    const Exponent e = exponent_of(widen(student[ids[j]]), top, scale);
    sum -= static_cast<double>(e.power);
    weighted -= static_cast<double>(e.weighted);
  }
  row->student_max = static_cast<double>(top);
  row->outside_sum = fmax(0.0, block_sum(sum));
  row->outside_weighted = fmin(0.0, block_sum(weighted));
  return number;
}

template <class S>
__global__ void __launch_bounds__(kTopThreads) top_k_kernel(DivergenceArgs a, bool wide) {
  const int64_t row = blockIdx.x;
  if (a.mask != nullptr && a.mask[row] == 0) return finish_without_stats(a, row, 0.0f, -1);
  const int vocab = static_cast<int>(a.vocab);
  const S* student = static_cast<const S*>(a.student) + row * a.vocab;
  const int32_t* ids = a.top_ids + row * a.top_k;
  if (!are_distinct(ids, a.top_k, vocab)) {
    return finish_without_stats(a, row, NAN, static_cast<int>(Fault::id_out_of_range));
  }
  TopKRow top{a.top_k, a.inverse_temperature, a.inverse_teacher_temperature, 0.0, 0.0, 0.0};
  if (needs_vocabulary(a.rule.support) &&
      !sum_outside(student, ids, vocab, wide, exponent_scale(a.inverse_temperature), &top)) {
    return finish_without_stats(a, row, NAN, static_cast<int>(Fault::not_a_number));
  }
  const DeviceTopLogits<S> logits{student, ids, a.teacher, a.teacher_dtype, row * a.top_k};
  float* stats = a.stats + row * (kDivergenceStats + a.top_k);
  const TopKResult result = top_k_row(BlockTeam{}, a.rule, top, logits, stats + kDivergenceStats);
  if (result.fault >= 0) {
    __syncthreads();  // the slopes have been written, by other threads
    const bool infinite = result.divergence == static_cast<double>(INFINITY);
    return finish_without_stats(a, row, infinite ? INFINITY : NAN, result.fault);
  }
  if (threadIdx.x == 0) {
    stats[0] = result.student_max;
    stats[1] = result.log2_sum;
    stats[2] = result.base;
    stats[3] = result.slope;
    stats[4] = 0.0f;
  }
  finish_row(a, row, static_cast<float>(result.divergence), -1);
}

// The whole row as if it had no token among the k.
template <class S>
__global__ void __launch_bounds__(kChunkThreads)
    outside_kernel(DivergenceBackwardArgs a, int chunks, bool wide) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) / chunks;
  const int chunk = static_cast<int>(static_cast<int64_t>(blockIdx.x) % chunks);
  const int vocab = static_cast<int>(a.vocab);
  const S* student = static_cast<const S*>(a.student) + row * a.vocab;
  S* out = static_cast<S*>(a.d_student) + row * a.vocab;
  const float* stats = a.stats + row * (kDivergenceStats + a.top_k);
  const float factor = gradient_factor(a, row, stats);
  const float base = factor == 0.0f ? 0.0f : factor * stats[2];
  const float slope = factor == 0.0f ? 0.0f : factor * stats[3];
  const float top = stats[0], log2_sum = stats[1], scale = exponent_scale(a.inverse_temperature);
  each_group_of_chunk(chunk, vocab, [&](int first) {
    float x[kGroup] = {};
    if (base != 0.0f || slope != 0.0f) {
      load_group(student, first, vocab, wide, x);
#pragma unroll
      for (int i = 0; i < kGroup; ++i) {
        const float t = fmaxf(kLeastExponent, fminf(0.0f, fmaf(x[i] - top, scale, -log2_sum)));
        x[i] = fmaf(exp2_approx(t), fmaf(t, slope, base), 0.0f);
      }
    }
    store_group(out, first, vocab, wide, x);
  });
}

// Ids of a row differ, so no two threads write the same element.
template <class S>
__global__ void __launch_bounds__(kTopThreads)
    top_k_gradient_kernel(DivergenceBackwardArgs a, int chunks) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) / chunks;
  const int64_t j = static_cast<int64_t>(blockIdx.x) % chunks * kTopThreads + threadIdx.x;
  const float* stats = a.stats + row * (kDivergenceStats + a.top_k);
  const float factor = gradient_factor(a, row, stats);
  if (j >= a.top_k || factor == 0.0f) return;
  const int32_t id = a.top_ids[row * a.top_k + j];
  if (id < 0 || id >= a.vocab) return;  // not those of forward
  S* out = static_cast<S*>(a.d_student) + row * a.vocab;
  out[id] = narrow<S>(factor * stats[kDivergenceStats + j]);
}

}  // namespace firesteel
