// Stands in for the header of the same name in the CUDA toolkit: the part of it that firesteel
// uses, with the host as the device. Kernels see it through runtime/cuda/launch.h.
#pragma once
#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include <tuple>
#include <type_traits>
#include <utility>

#include "emulator/kernel.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

// ---- inside kernels
// ------------------------------------------------------------------------------

// Of the running thread; set whenever a fiber takes its turn.
extern __thread uint3 threadIdx, blockIdx;
extern __thread dim3 blockDim, gridDim;

// Takes the caller's place in the source, so that a divergent meeting can say where.
#define FIRESTEEL_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(FIRESTEEL_HERE) {
  firesteel::emulator::block_barrier(false, {"__syncthreads", file, line});
}
inline int __syncthreads_count(int predicate, FIRESTEEL_HERE) {
  return firesteel::emulator::block_barrier(predicate != 0, {"__syncthreads_count", file, line});
}
inline int __syncthreads_or(int predicate, FIRESTEEL_HERE) {
  return firesteel::emulator::block_barrier(predicate != 0, {"__syncthreads_or", file, line}) > 0;
}
inline int __syncthreads_and(int predicate, FIRESTEEL_HERE) {
  return firesteel::emulator::block_barrier(predicate == 0, {"__syncthreads_and", file, line}) == 0;
}
inline void __syncwarp(unsigned mask = 0xffffffffu, FIRESTEEL_HERE) {
  firesteel::emulator::warp_meet(firesteel::emulator::WarpOp::sync, mask, 0, 0, 32,
                                 {"__syncwarp", file, line});
}
inline unsigned __ballot_sync(unsigned mask, int predicate, FIRESTEEL_HERE) {
  return static_cast<unsigned>(firesteel::emulator::warp_meet(firesteel::emulator::WarpOp::ballot,
                                                              mask, predicate != 0, 0, 32,
                                                              {"__ballot_sync", file, line}));
}
inline int __any_sync(unsigned mask, int predicate, FIRESTEEL_HERE) {
  return __ballot_sync(mask, predicate, file, line) != 0;
}
inline int __all_sync(unsigned mask, int predicate, FIRESTEEL_HERE) {
  return __ballot_sync(mask, predicate, file, line) == mask;
}

namespace firesteel {
namespace emulator {
template <class T>
T shuffle(WarpOp op, unsigned mask, T value, int argument, int width, Site site) {
  static_assert(std::is_arithmetic<T>::value, "shuffles move numbers of up to 8 bytes");
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof value);
  bits = warp_meet(op, mask, bits, argument, width, site);
  memcpy(&value, &bits, sizeof value);
  return value;
}
}  // namespace emulator
}  // namespace firesteel

template <class T>
T __shfl_sync(unsigned mask, T value, int lane, int width = 32, FIRESTEEL_HERE) {
  return firesteel::emulator::shuffle(firesteel::emulator::WarpOp::shuffle, mask, value, lane,
                                      width, {"__shfl_sync", file, line});
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, FIRESTEEL_HERE) {
  return firesteel::emulator::shuffle(firesteel::emulator::WarpOp::shuffle_up, mask, value,
                                      static_cast<int>(delta), width,
                                      {"__shfl_up_sync", file, line});
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, FIRESTEEL_HERE) {
  return firesteel::emulator::shuffle(firesteel::emulator::WarpOp::shuffle_down, mask, value,
                                      static_cast<int>(delta), width,
                                      {"__shfl_down_sync", file, line});
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, FIRESTEEL_HERE) {
  return firesteel::emulator::shuffle(firesteel::emulator::WarpOp::shuffle_xor, mask, value, lanes,
                                      width, {"__shfl_xor_sync", file, line});
}

#undef FIRESTEEL_HERE

inline void __threadfence() {}
inline void __threadfence_block() {}

inline int __popc(unsigned x) {
  return __builtin_popcount(x);
}
inline int __ffs(int x) {
  return __builtin_ffs(x);
}
inline int __clz(int x) {
  return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x));
}

namespace firesteel {
namespace emulator {
// Fibers run one at a time, so plain operations on global memory are atomic.
template <class T, class Function>
T atomic_update(T* p, Function function) {
  const T old = *p;
  *p = function(old);
  return old;
}
template <class T, class Function>
T atomic_update(const SharedPtr<T>& p, Function function) {
  return p.update(function);
}
}  // namespace emulator
}  // namespace firesteel

// Integers only: firesteel has no floating-point atomics.
#define FIRESTEEL_ATOMIC(name, T, expression)                                                      \
  inline T name(T* p, T b) {                                                                       \
    return firesteel::emulator::atomic_update(p, [b](T a) { return static_cast<T>(expression); }); \
  }                                                                                                \
  inline T name(const firesteel::emulator::SharedPtr<T>& p, T b) {                                 \
    return firesteel::emulator::atomic_update(p, [b](T a) { return static_cast<T>(expression); }); \
  }
#define FIRESTEEL_ATOMICS(T)                      \
  FIRESTEEL_ATOMIC(atomicAdd, T, a + b)           \
  FIRESTEEL_ATOMIC(atomicSub, T, a - b)           \
  FIRESTEEL_ATOMIC(atomicMin, T, (b < a ? b : a)) \
  FIRESTEEL_ATOMIC(atomicMax, T, (b > a ? b : a)) \
  FIRESTEEL_ATOMIC(atomicOr, T, (a | b))          \
  FIRESTEEL_ATOMIC(atomicAnd, T, (a & b))         \
  FIRESTEEL_ATOMIC(atomicExch, T, (static_cast<void>(a), b))

FIRESTEEL_ATOMICS(int)
FIRESTEEL_ATOMICS(unsigned)
FIRESTEEL_ATOMICS(unsigned long long)
#undef FIRESTEEL_ATOMICS
#undef FIRESTEEL_ATOMIC

// ---- on the host
// ---------------------------------------------------------------------------------

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoDevice = 100,
  cudaErrorNoKernelImageForDevice = 209,
  cudaErrorLaunchFailure = 719,
};
// For an error of this thread's latest call: what went wrong in detail.
const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError();

typedef struct FiresteelEmulatedStream* cudaStream_t;
constexpr unsigned cudaStreamNonBlocking = 1;
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);

struct cudaDeviceProp {
  char name[256];
  size_t totalGlobalMem;
  int multiProcessorCount;
  int major, minor;
  size_t sharedMemPerBlockOptin;
};
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaSetDevice(int device);

enum cudaMemcpyKind {
  cudaMemcpyHostToHost = 0,
  cudaMemcpyHostToDevice = 1,
  cudaMemcpyDeviceToHost = 2,
  cudaMemcpyDeviceToDevice = 3,
};
cudaError_t cudaMalloc(void** data, size_t bytes);
cudaError_t cudaFree(void* data);
cudaError_t cudaMemcpyAsync(void* dst, const void* src, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaMemsetAsync(void* dst, int value, size_t bytes, cudaStream_t stream);

enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value);

enum cudaLaunchAttributeID { cudaLaunchAttributeClusterDimension = 4 };
struct cudaLaunchAttribute {
  cudaLaunchAttributeID id;
  struct {
    struct {
      unsigned x, y, z;
    } clusterDim;
  } val;
};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
  cudaLaunchAttribute* attrs;
  unsigned numAttrs;
};

namespace firesteel {
namespace emulator {
// One thread of a kernel, its arguments bound.
struct Body {
  void (*call)(const void* bound);
  const void* bound;
};
// Runs the whole grid before it returns.
cudaError_t run(const cudaLaunchConfig_t& config, const void* function, Body body);
}  // namespace emulator
}  // namespace firesteel

template <class... Params, class... Args>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Params...),
                               Args&&... args) {
  struct Bound {
    void (*kernel)(Params...);
    std::tuple<Params...> params;
  };
  const Bound bound{kernel, std::tuple<Params...>(std::forward<Args>(args)...)};
  const auto call = [](const void* b) {
    const Bound& self = *static_cast<const Bound*>(b);
    std::apply(self.kernel, self.params);
  };
  return firesteel::emulator::run(*config, reinterpret_cast<const void*>(kernel), {call, &bound});
}
