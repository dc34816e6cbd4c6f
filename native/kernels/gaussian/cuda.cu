// A sample is cut into tiles of one block each. Which thread takes which element depends on `width`
// alone, and tiles are added in a fixed order: by the same launch where there is one tile, by a
// second one otherwise.
#include "kernels/gaussian/gaussian.h"
#include "kernels/gaussian/math.h"
#include "kernels/gaussian/score.h"
#include "runtime/cuda/context.h"
#include "runtime/cuda/launch.h"
#include "runtime/cuda/pack.h"
#include "runtime/cuda/ptx.h"
#include "runtime/cuda/reduce.h"

namespace firesteel {
namespace {

constexpr int kMaxThreads = 256;
constexpr int kQuads = 4;  // of each array that a thread loads before it uses the first: 64 bytes

struct Plan {
  int threads;
  int64_t tiles;  // of a sample, at least 1
};

__host__ __device__ __forceinline__ int64_t tile_elements(int threads) {
  return int64_t{threads} * kQuads * Quad::size;
}

Plan plan_for(int64_t width) {
  int threads = kWarp;
  while (threads < kMaxThreads && tile_elements(threads) < width) threads *= 2;
  const int64_t tile = tile_elements(threads);
  return {threads, width <= tile ? 1 : (width + tile - 1) / tile};
}

// What this block works on, and where its threads begin.
struct Tile {
  int64_t sample;
  int64_t first;  // the thread's first element, counted over all samples
  int64_t left;   // elements of the sample from there on; may be negative

  __device__ __forceinline__ Tile(int tiles, int64_t width) {
    const unsigned per_sample = static_cast<unsigned>(tiles);
    sample = blockIdx.x / per_sample;
    const int64_t begin = blockIdx.x % per_sample * tile_elements(static_cast<int>(blockDim.x));
    const int64_t at = begin + int64_t{threadIdx.x} * Quad::size;
    first = sample * width + at;
    left = width - at;
  }
};

__device__ __forceinline__ int64_t quad_stride() {
  return int64_t{blockDim.x} * Quad::size;
}

__device__ __forceinline__ void load_quads(Quad (&quads)[kQuads], const float* p, const Tile& tile,
                                           bool wide) {
#pragma unroll
  for (int k = 0; k < kQuads; ++k) {
    const int64_t skip = k * quad_stride();
    quads[k] = load_quad(p + tile.first + skip, tile.left - skip, wide);
  }
}

__device__ __forceinline__ void load_masks(ByteQuad (&masks)[kQuads], const uint8_t* p,
                                           const Tile& tile, bool wide) {
#pragma unroll
  for (int k = 0; k < kQuads; ++k) {
    const int64_t skip = k * quad_stride();
    masks[k] = p == nullptr ? all_ones(tile.left - skip)
                            : load_bytes(p + tile.first + skip, tile.left - skip, wide);
  }
}

__device__ __forceinline__ void add_square(double* sum, float e) {
  const double wide = static_cast<double>(e);
  *sum += wide * wide;
}

__device__ __forceinline__ void write_sample(const GaussianScore& s, int64_t sample,
                                             GaussianSum total, bool steps) {
  const GaussianOutcome score =
      score_of(s.term, s.reduction, total, static_cast<double>(s.std[sample]), steps);
  if (score.fault) record_fault(s.faults, Fault::not_a_number, sample);
  s.out[sample] = static_cast<float>(score.out);
  s.slope[sample] = score.slope;
}

// A block's sum is the sample's, or one of its parts.
__device__ __forceinline__ void finish_tile(const GaussianScore& s, int64_t sample, int tiles,
                                            double sum, int count, bool steps) {
  sum = block_sum(sum);
  count = block_sum(count);
  if (threadIdx.x != 0) return;
  if (tiles == 1) {
    write_sample(s, sample, {sum, count}, steps);
  } else {
    static_cast<GaussianSum*>(s.workspace)[blockIdx.x] = {sum, count};
  }
}

__global__ void __launch_bounds__(kMaxThreads, 1)
    forward_kernel(GaussianArgs a, int tiles, bool wide, bool wide_mask) {
  const Tile tile(tiles, a.width);
  Quad value[kQuads], mean[kQuads];
  ByteQuad mask[kQuads];
  load_quads(value, a.value, tile, wide);
  load_quads(mean, a.mean, tile, wide);
  load_masks(mask, a.mask, tile, wide_mask);
  double sum = 0.0;
  int count = 0;
#pragma unroll
  for (int k = 0; k < kQuads; ++k) {
#pragma unroll
    for (int e = 0; e < Quad::size; ++e) {
      if (mask[k].x[e] == 0) continue;
      add_square(&sum, value[k].x[e] - mean[k].x[e]);
      ++count;
    }
  }
  finish_tile(a.score, tile.sample, tiles, sum, count, false);
}

__global__ void __launch_bounds__(kMaxThreads, 1)
    flow_step_kernel(FlowStepArgs a, int tiles, bool wide) {
  const Tile tile(tiles, a.width);
  const float x_scale = a.x_scale[tile.sample], v_scale = a.v_scale[tile.sample];
  const float std = a.score.std[tile.sample];
  const bool drawn = a.noise != nullptr && std != 0.0f;
  Quad x[kQuads], v[kQuads], other[kQuads];
  load_quads(x, a.x, tile, wide);
  load_quads(v, a.v, tile, wide);
  if (drawn) {
    load_quads(other, a.noise, tile, wide);
  } else if (a.given != nullptr) {
    load_quads(other, a.given, tile, wide);
  }
  double sum = 0.0;
  int count = 0;
#pragma unroll
  for (int k = 0; k < kQuads; ++k) {
    const int64_t at = tile.first + k * quad_stride(), left = tile.left - k * quad_stride();
    Quad mean, next;
#pragma unroll
    for (int e = 0; e < Quad::size; ++e) {
      mean.x[e] = flow_mean(x[k].x[e], v[k].x[e], x_scale, v_scale);
      next.x[e] = mean.x[e];
      if (drawn) {
        next.x[e] = flow_next(mean.x[e], other[k].x[e], std);
      } else if (a.given != nullptr) {
        next.x[e] = other[k].x[e];
      }
      add_square(&sum, next.x[e] - mean.x[e]);  // elements that do not exist are 0, and so is this
    }
    count += pack_count<float>(left);
    store_quad(a.mean + at, mean, left, wide);
    if (a.next != nullptr) store_quad(a.next + at, next, left, wide);
  }
  finish_tile(a.score, tile.sample, tiles, sum, count, true);
}

__global__ void __launch_bounds__(kMaxThreads, 1)
    score_kernel(GaussianScore s, int64_t tiles, bool steps) {
  const GaussianSum* parts = static_cast<const GaussianSum*>(s.workspace) + blockIdx.x * tiles;
  double sum = 0.0;
  int64_t count = 0;
  for (int64_t i = threadIdx.x; i < tiles; i += blockDim.x) {
    sum += parts[i].sum;
    count += parts[i].count;
  }
  sum = block_sum(sum);
  count = block_sum(count);
  if (threadIdx.x == 0) write_sample(s, blockIdx.x, {sum, count}, steps);
}

__global__ void __launch_bounds__(kMaxThreads, 1)
    backward_kernel(GaussianBackwardArgs a, int tiles, bool wide, bool wide_mask) {
  const Tile tile(tiles, a.width);
  const double slope = a.slope[tile.sample];
  const bool fine = slope == slope;
  Quad value[kQuads], mean[kQuads], d_mean[kQuads];
  ByteQuad mask[kQuads];
  float factor = 0.0f, gain = 1.0f;
  if (fine) {
    if (a.gain != nullptr) gain = a.gain[tile.sample];
    factor = static_cast<float>(static_cast<double>(a.d_out[tile.sample]) * slope *
                                static_cast<double>(gain));
    load_quads(value, a.value, tile, wide);
    load_quads(mean, a.mean, tile, wide);
    load_masks(mask, a.mask, tile, wide_mask);
    if (a.d_mean != nullptr) load_quads(d_mean, a.d_mean, tile, wide);
  }
#pragma unroll
  for (int k = 0; k < kQuads; ++k) {
    Quad gradient;
#pragma unroll
    for (int e = 0; e < Quad::size; ++e) {
      gradient.x[e] = 0.0f;
      if (fine && mask[k].x[e] != 0) {
        const float other = a.d_mean == nullptr ? 0.0f : d_mean[k].x[e];
        gradient.x[e] = gaussian_gradient(value[k].x[e], mean[k].x[e], factor, other, gain);
      }
    }
    const int64_t skip = k * quad_stride();
    store_quad(a.d_input + tile.first + skip, gradient, tile.left - skip, wide);
  }
}

// One block for every tile of every sample.
Status grid_for(int64_t samples, const Plan& plan, LaunchShape* shape) {
  if (samples > kMaxGridX / plan.tiles) {
    return Status::error(Code::range, "expected at most " + std::to_string(kMaxGridX / plan.tiles) +
                                          " samples, received " + std::to_string(samples));
  }
  shape->grid = dim3(static_cast<unsigned>(samples * plan.tiles));
  shape->block = dim3(static_cast<unsigned>(plan.threads));
  return {};
}

// Where one block did not see the whole sample.
Status score_samples(Context& context, const char* name, const GaussianScore& s, int64_t samples,
                     int64_t tiles, bool steps) {
  if (tiles == 1) return {};
  int threads = kWarp;
  while (threads < kMaxThreads && threads < tiles) threads *= 2;
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(samples));
  shape.block = dim3(static_cast<unsigned>(threads));
  return launch(context, name, shape, score_kernel, s, tiles, steps);
}

template <class... T>
bool rows_aligned(int64_t width, const T*... arrays) {
  return (pack_aligned(arrays, 0) && ...) && width % Quad::size == 0;
}

}  // namespace

int64_t gaussian_workspace(int64_t samples, int64_t width) {
  const int64_t tiles = plan_for(width).tiles;
  return tiles == 1 ? 0 : samples * tiles * static_cast<int64_t>(sizeof(GaussianSum));
}

Status gaussian_forward(Context& context, const GaussianArgs& a) {
  const Plan plan = plan_for(a.width);
  LaunchShape shape;
  const Status fits = grid_for(a.samples, plan, &shape);
  if (!fits.ok()) return fits;
  const Status summed =
      launch(context, "gaussian", shape, forward_kernel, a, static_cast<int>(plan.tiles),
             rows_aligned(a.width, a.value, a.mean), bytes_aligned(a.mask, a.width));
  if (!summed.ok()) return summed;
  return score_samples(context, "gaussian", a.score, a.samples, plan.tiles, false);
}

Status flow_step(Context& context, const FlowStepArgs& a) {
  const Plan plan = plan_for(a.width);
  LaunchShape shape;
  const Status fits = grid_for(a.samples, plan, &shape);
  if (!fits.ok()) return fits;
  const Status stepped =
      launch(context, "flow_step", shape, flow_step_kernel, a, static_cast<int>(plan.tiles),
             rows_aligned(a.width, a.x, a.v, a.noise, a.given, a.mean, a.next));
  if (!stepped.ok()) return stepped;
  return score_samples(context, "flow_step", a.score, a.samples, plan.tiles, true);
}

Status gaussian_backward(Context& context, const GaussianBackwardArgs& a) {
  const Plan plan = plan_for(a.width);
  LaunchShape shape;
  const Status fits = grid_for(a.samples, plan, &shape);
  if (!fits.ok()) return fits;
  return launch(
      context, "gaussian_backward", shape, backward_kernel, a, static_cast<int>(plan.tiles),
      rows_aligned(a.width, a.value, a.mean, a.d_mean, a.d_input), bytes_aligned(a.mask, a.width));
}

}  // namespace firesteel
