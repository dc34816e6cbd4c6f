// How kernels are launched and how they reach the memory and the peers of their block.
//
// The same sources are compiled by nvcc and, with FIRESTEEL_EMULATED and the headers of emulator/,
// by a plain C++ compiler. Therefore kernels use no <<<>>>, no __shared__ and no extern __shared__:
//
//   __global__ void kernel(Args a) {
//     FIRESTEEL_SHARED(float, partial, 32);              // static shared array
//     SharedPtr<float> row = dynamic_smem<float>();      // the launch's dynamic shared memory
//     for (int64_t i = grid_thread(); i < a.count; i += grid_threads()) ...
//   }
//   return launch(context, "name", {grid, block, smem_bytes, cluster}, kernel, a);
//
// Kernels hold only trivially destructible objects. A block is whole warps. Every barrier is
// reached by every thread of the block: no thread returns before it.
#pragma once
#include <stdint.h>

#include <string>
#include <utility>

#include "runtime/cuda/context.h"

#ifdef FIRESTEEL_EMULATED
#include "emulator/kernel.h"
#endif

namespace firesteel {

#ifdef FIRESTEEL_EMULATED

// Shared memory that knows its bounds and which cells were written; used like a pointer. An element
// is a proxy: copy it (`T x = p[i]`) before taking a member or deducing a template argument from
// it.
template <class T>
using SharedPtr = emulator::SharedPtr<T>;

#define FIRESTEEL_SHARED(T, name, N)     \
  static char name##_key;                \
  const ::firesteel::SharedPtr<T> name = \
      ::firesteel::emulator::shared_array<T>(&name##_key, #name, N)

template <class T>
SharedPtr<T> dynamic_smem(size_t byte_offset = 0) {
  return emulator::dynamic_shared<T>(byte_offset);
}

// Blocks of a cluster are consecutive blocks along x.
inline int cluster_rank() {
  return emulator::cluster_rank();
}
inline int cluster_size() {
  return emulator::cluster_size();
}
inline void cluster_arrive(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  emulator::cluster_arrive({"cluster_arrive", file, line});
}
inline void cluster_wait(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  emulator::cluster_wait({"cluster_wait", file, line});
}
template <class T>
SharedPtr<T> cluster_peer(SharedPtr<T> p, int rank) {
  return emulator::shared_of_peer(p, rank);
}

#else

template <class T>
using SharedPtr = T*;

#define FIRESTEEL_SHARED(T, name, N) __shared__ T name[N]

template <class T>
__device__ __forceinline__ T* dynamic_smem(size_t byte_offset = 0) {
  extern __shared__ __align__(128) unsigned char firesteel_dynamic_smem[];
  return reinterpret_cast<T*>(firesteel_dynamic_smem + byte_offset);
}

#ifdef __CUDA_ARCH__
#if __CUDA_ARCH__ >= 900
#define FIRESTEEL_CLUSTERS 1
#endif
#endif

// Blocks of a cluster are consecutive blocks along x. Below sm_90 every block is its own cluster.
__device__ __forceinline__ int cluster_rank() {
#ifdef FIRESTEEL_CLUSTERS
  return static_cast<int>(__clusterRelativeBlockRank());
#else
  return 0;
#endif
}
__device__ __forceinline__ int cluster_size() {
#ifdef FIRESTEEL_CLUSTERS
  return static_cast<int>(__clusterSizeInBlocks());
#else
  return 1;
#endif
}
// What a thread wrote before it arrives is seen by every thread of the cluster after its wait.
__device__ __forceinline__ void cluster_arrive() {
#ifdef FIRESTEEL_CLUSTERS
  __cluster_barrier_arrive();
#endif
}
__device__ __forceinline__ void cluster_wait() {
#ifdef FIRESTEEL_CLUSTERS
  __cluster_barrier_wait();
#else
  __syncthreads();
#endif
}
// The same cell of shared memory in the block `rank` of the cluster. Before that memory is touched
// all blocks must have passed a cluster barrier, and none may return while it still is.
template <class T>
__device__ __forceinline__ T* cluster_peer(T* p, int rank) {
#ifdef FIRESTEEL_CLUSTERS
  return static_cast<T*>(__cluster_map_shared_rank(p, static_cast<unsigned>(rank)));
#else
  return p;
#endif
}

#endif  // FIRESTEEL_EMULATED

#ifdef FIRESTEEL_EMULATED
inline void cluster_sync(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  cluster_arrive(file, line);
  cluster_wait(file, line);
}
#else
__device__ __forceinline__ void cluster_sync() {
  cluster_arrive();
  cluster_wait();
}
#endif

// Grid-stride loops over x. Only for element-wise work: a reduction's plan must not depend on the
// size of the grid.
__device__ __forceinline__ int64_t grid_thread() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ __forceinline__ int64_t grid_threads() {
  return static_cast<int64_t>(gridDim.x) * blockDim.x;
}

constexpr int64_t kMaxGridX = 0x7fffffff;  // y and z end at 65,535: rows go on x

// Rows on x, one block per row or several.
struct LaunchShape {
  dim3 grid;
  dim3 block;
  size_t dynamic_smem = 0;  // bytes
  int cluster = 1;          // blocks; divides grid.x; > 1 only where Context::max_cluster allows it
};

// Enough blocks for `items` threads of work, at most eight per multiprocessor.
inline LaunchShape elementwise_shape(const Context& context, int64_t items, int threads = 256) {
  const int64_t blocks = (items + threads - 1) / threads;
  const int64_t most = int64_t{8} * context.sm_count;
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(blocks < most ? blocks : most));
  shape.block = dim3(static_cast<unsigned>(threads));
  return shape;
}

// Enqueues the kernel. An empty grid is no work and no error.
template <class... Params, class... Args>
Status launch(Context& context, const char* name, const LaunchShape& shape,
              void (*kernel)(Params...), Args&&... args) {
  if (context.cancelled != nullptr && context.cancelled->load(std::memory_order_relaxed)) {
    return Status::error(Code::aborted, "the engine was disposed while the call ran");
  }
  if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return {};
  // Above 48 KiB the kernel has to be told, once per process and device; the call is cheap.
  if (shape.dynamic_smem > size_t{48} << 10) {
    const cudaError_t error = cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                                   cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                   static_cast<int>(shape.dynamic_smem));
    if (error != cudaSuccess) return cuda_status(error, name);
  }
  cudaLaunchAttribute cluster = {};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim.x = static_cast<unsigned>(shape.cluster);
  cluster.val.clusterDim.y = 1;
  cluster.val.clusterDim.z = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.dynamic_smem;
  config.stream = context.stream;
  config.attrs = &cluster;
  config.numAttrs = shape.cluster > 1 ? 1 : 0;
  return cuda_status(cudaLaunchKernelEx(&config, kernel, std::forward<Args>(args)...), name);
}

}  // namespace firesteel
