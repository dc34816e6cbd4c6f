// One block per row, which it reads three times, twice from the cache: for the maximum, for the
// sums of exp over chunks, and of the one chunk in which the cumulative sum passes u.
#include "nn/sample/sample.h"

#include "runtime/cuda/context.h"
#include "runtime/cuda/launch.h"
#include "runtime/cuda/ptx.h"
#include "runtime/cuda/reduce.h"

namespace firesteel {
namespace {

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / kWarp;
constexpr int kChunks = 1024;  // at most; each is one warp's work
constexpr int64_t kShortestChunk = 1024;

int64_t chunk_length(int64_t vocab) {
  const int64_t even = (vocab + kChunks - 1) / kChunks;
  return even > kShortestChunk ? (even + kWarp - 1) / kWarp * kWarp : kShortestChunk;
}

// The lane's part of a chunk, in order: token v is drawn if the sum first passes `target` at v, the
// last one of weight above 0 is what remains when it never does.
struct Draw {
  int64_t passed = -1, last = -1;
};
template <class Weight>
__device__ __forceinline__ Draw draw(int64_t begin, int64_t end, double sum, double target,
                                     Weight weight) {
  Draw found;
  for (int64_t v = begin; v < end; ++v) {
    const float w = weight(v);
    if (!(w > 0.0f)) continue;
    sum += static_cast<double>(w);
    found.last = v;
    if (found.passed < 0 && sum > target) found.passed = v;
  }
  return found;
}

__global__ void __launch_bounds__(kThreads) sample_kernel(SampleArgs a, int64_t length) {
  FIRESTEEL_SHARED(double, chunk_sums, kChunks);
  const int64_t row = blockIdx.x;
  const float* const x = a.logits + row * a.row_stride;

  float best = -INFINITY;
  int64_t at = INT64_MAX;  // of this thread's first maximum
  int bad = 0;
  for (int64_t v = threadIdx.x; v < a.vocab; v += kThreads) {
    const float z = x[v];
    if (!(z < INFINITY)) bad = 1;
    if (z > best) {
      best = z;
      at = v;
    }
  }
  bad = block_max(bad);
  const float max = block_max(best);
  if (bad != 0 || max == -INFINITY) {
    if (threadIdx.x == 0) {
      a.tokens[row] = -1;
      record_fault(a.faults, bad != 0 ? Fault::not_a_number : Fault::no_support, row);
    }
    return;
  }
  if (a.greedy) {
    const int64_t first = block_min(best == max ? at : INT64_MAX);
    if (threadIdx.x == 0) a.tokens[row] = static_cast<int32_t>(first);
    return;
  }

  const auto weight = [&](int64_t v) { return expf((x[v] - max) * a.inv_temperature); };
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int chunks = static_cast<int>((a.vocab + length - 1) / length);
  for (int c = warp; c < chunks; c += kWarps) {
    const int64_t begin = c * length;
    const int64_t end = begin + length < a.vocab ? begin + length : a.vocab;
    double sum = 0.0;
    for (int64_t v = begin + lane; v < end; v += kWarp) sum += static_cast<double>(weight(v));
    sum = warp_sum(sum);
    if (lane == 0) chunk_sums[c] = sum;
  }
  __syncthreads();
  if (warp != 0) return;

  // Every lane does the same: at most 1,024 additions.
  double total = 0.0;
  for (int c = 0; c < chunks; ++c) total += chunk_sums[c];
  const double target = static_cast<double>(a.uniform[row]) * total;
  double before = 0.0;  // sum of the chunks ahead of the one that holds the token
  int chosen = 0;
  double sum = 0.0;
  for (int c = 0; c < chunks; ++c) {
    const double here = chunk_sums[c];
    if (here > 0.0) {
      chosen = c;
      before = sum;
    }
    sum += here;
    if (sum > target) break;
  }

  const int64_t begin = chosen * length + lane * (length / kWarp);
  const int64_t limit = begin + length / kWarp;
  const int64_t end = limit < a.vocab ? limit : a.vocab;
  double part = 0.0;
  for (int64_t v = begin; v < end; ++v) part += static_cast<double>(weight(v));
  double ahead = before;  // sums of lower lanes, in order
  for (int i = 0; i < kWarp; ++i) {
    const double other = __shfl_sync(kFullWarp, part, i);
    if (i < lane) ahead += other;
  }
  const Draw found = draw(begin, end, ahead, target, weight);
  const int64_t passed = warp_min(found.passed < 0 ? INT64_MAX : found.passed);
  const int64_t last = warp_max(found.last);
  if (lane == 0) a.tokens[row] = static_cast<int32_t>(passed < INT64_MAX ? passed : last);
}

}  // namespace

Status sample(Context& context, const SampleArgs& a) {
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(a.rows));
  shape.block = dim3(kThreads);
  return launch(context, "sample", shape, sample_kernel, a, chunk_length(a.vocab));
}

}  // namespace firesteel
