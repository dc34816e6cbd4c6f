// What the emulated card has, and the last error of the calling thread.
#pragma once
#include <cuda_runtime.h>
#include <stdarg.h>

namespace firesteel {
namespace emulator {

// Few multiprocessors, so that grid-stride loops go round more than once.
constexpr int kMultiprocessors = 4;
constexpr int kCudaVersion = 13000;
constexpr size_t kMemoryBytes = size_t{2} << 30;
constexpr size_t kStaticShared = size_t{48} << 10;
constexpr size_t kShared = size_t{227} << 10;          // of sm_90
constexpr size_t kSharedBefore90 = size_t{163} << 10;  // of sm_80

// 8, as on sm_90; FIRESTEEL_EMULATOR_CLUSTER=1 makes the card an sm_80. 0: the variable holds
// neither.
int max_cluster();

// The order in which the threads of a block, and the clusters of a grid, take their turns.
struct Order {
  enum Kind { forward, reverse, random, invalid } kind;
  uint64_t seed;
};
Order order_from_environment();  // FIRESTEEL_EMULATOR_ORDER=forward|reverse|random:SEED

cudaError_t error(cudaError_t code, const char* format, ...) __attribute__((format(printf, 2, 3)));

// The largest dynamic shared memory that cudaFuncSetAttribute allowed this kernel.
size_t dynamic_shared_limit(const void* function);

}  // namespace emulator
}  // namespace firesteel
