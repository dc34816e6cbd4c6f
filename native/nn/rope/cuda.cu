// One thread per token and frequency: the angle is computed once and turns that pair of every head.
#include "nn/rope/rope.h"

#include "runtime/cuda/context.h"
#include "runtime/cuda/launch.h"
#include "runtime/cuda/ptx.h"
#include "runtime/float_type.h"

namespace firesteel {
namespace {

constexpr int kThreads = 128;

template <class T>
__global__ void __launch_bounds__(kThreads) rope_kernel(RopeArgs a) {
  const int64_t half = a.head_dim / 2;
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t token = thread / half, i = thread % half;
  if (token >= a.tokens) return;
  const double exponent = -2.0 * static_cast<double>(i) / static_cast<double>(a.head_dim);
  const double angle = static_cast<double>(a.positions[token]) * pow(a.base, exponent);
  const float c = static_cast<float>(cos(angle));
  const float s = static_cast<float>(a.inverse ? -sin(angle) : sin(angle));
  for (int64_t head = 0; head < a.heads; ++head) {
    const T* x = static_cast<const T*>(a.x) + token * a.x_stride + head * a.head_dim + i;
    T* y = static_cast<T*>(a.y) + (token * a.heads + head) * a.head_dim + i;
    const float low = widen(x[0]), high = widen(x[half]);
    y[0] = narrow<T>(fmaf(low, c, -(high * s)));
    y[half] = narrow<T>(fmaf(high, c, low * s));
  }
}

}  // namespace

Status rope(Context& context, const RopeArgs& a) {
  const int64_t threads = a.tokens * (a.head_dim / 2);
  if (threads == 0 || a.heads == 0) return {};
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>((threads + kThreads - 1) / kThreads));
  shape.block = dim3(kThreads);
  return with_float_type(
      a.dtype, [&](auto t) { return launch(context, "rope", shape, rope_kernel<decltype(t)>, a); });
}

}  // namespace firesteel
