// What a CUDA kernel's entry point is handed: the stream of the engine and what the card can do.
#pragma once
#include <cuda_runtime.h>
#include <stddef.h>

#include <atomic>
#include <memory>

#include "runtime/status.h"

namespace firesteel {

class CublasLt;

class Context {
 public:
  cudaStream_t stream = nullptr;
  int sm_count = 1;
  int compute = 80;                         // 10 * major + minor
  size_t shared_bytes = size_t{163} << 10;  // that a block may have
  int max_cluster = 1;  // blocks of a cluster that any card of this kind can place; 1: no clusters
  const std::atomic<bool>* cancelled = nullptr;  // polled by launch(); null: never
  std::shared_ptr<CublasLt> cublas_lt;           // gemm's; null: it does without
};

// `what` names the call for the message. A refused allocation is Code::out_of_memory, a launch that
// the runtime found impossible Code::range; every other error means that the device is lost.
Status cuda_status(cudaError_t error, const char* what);

}  // namespace firesteel
