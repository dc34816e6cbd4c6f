// Sums of the columns of a matrix over its rows, in float64. The rows are cut into contiguous runs
// that depend on their number alone; a thread sums one run of one column in row order and the runs
// are added in order.
#pragma once
#include <stdint.h>

#include "runtime/cuda/launch.h"

namespace firesteel {

constexpr int kColumnsPerBlock = 32;
constexpr int kRowRuns = 16;

inline LaunchShape column_sum_shape(int64_t width) {
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>((width + kColumnsPerBlock - 1) / kColumnsPerBlock));
  shape.block = dim3(kColumnsPerBlock * kRowRuns);
  return shape;
}

// y[j] = sum over rows r of value(r, j). Every thread of a column_sum_shape launch calls it once.
template <class Value>
__device__ __forceinline__ void column_sums(int64_t rows, int64_t width, float* y, Value value) {
  FIRESTEEL_SHARED(double, runs, kColumnsPerBlock* kRowRuns);
  const int column = threadIdx.x % kColumnsPerBlock, run = threadIdx.x / kColumnsPerBlock;
  const int64_t j = static_cast<int64_t>(blockIdx.x) * kColumnsPerBlock + column;
  const int64_t length = (rows + kRowRuns - 1) / kRowRuns;
  const int64_t begin = run * length;
  const int64_t end = begin + length < rows ? begin + length : rows;
  double sum = 0.0;
  if (j < width) {
#pragma unroll 4
    for (int64_t r = begin; r < end; ++r) sum += value(r, j);
  }
  runs[threadIdx.x] = sum;
  __syncthreads();
  if (run != 0 || j >= width) return;
  for (int i = 1; i < kRowRuns; ++i) sum += runs[i * kColumnsPerBlock + column];
  y[j] = static_cast<float>(sum);
}

}  // namespace firesteel
