#include "emulator/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <map>
#include <mutex>

#include "runtime/sanitizer.h"

namespace firesteel {
namespace emulator {
namespace {

struct Allocation {
  size_t bytes;
  void* mapping;
  size_t mapped;
};

struct Device {
  std::mutex mutex;
  std::map<uintptr_t, Allocation> allocations;  // by first address
  std::map<const void*, size_t> dynamic_shared;
  size_t used = 0;
};

Device& device() {
  static Device* const the = new Device;  // outlives threads that free during exit
  return *the;
}

thread_local cudaError_t last_error = cudaSuccess;  // until cudaGetLastError
thread_local cudaError_t message_of = cudaSuccess;
thread_local char last_message[1024] = "no error";

// Whether [p, p + bytes) lies in one allocation.
bool is_device_memory(const void* p, size_t bytes) {
  Device& d = device();
  std::lock_guard<std::mutex> lock(d.mutex);
  const uintptr_t at = reinterpret_cast<uintptr_t>(p);
  auto it = d.allocations.upper_bound(at);
  if (it == d.allocations.begin()) return false;
  --it;
  return at - it->first <= it->second.bytes && bytes <= it->second.bytes - (at - it->first);
}

}  // namespace

int max_cluster() {
  const char* text = getenv("FIRESTEEL_EMULATOR_CLUSTER");
  if (text == nullptr || strcmp(text, "8") == 0) return 8;
  return strcmp(text, "1") == 0 ? 1 : 0;
}

Order order_from_environment() {
  const char* text = getenv("FIRESTEEL_EMULATOR_ORDER");
  if (text == nullptr || strcmp(text, "forward") == 0) return {Order::forward, 0};
  if (strcmp(text, "reverse") == 0) return {Order::reverse, 0};
  char* end = nullptr;
  if (strncmp(text, "random:", 7) == 0 && text[7] >= '0' && text[7] <= '9') {
    const uint64_t seed = strtoull(text + 7, &end, 10);
    if (*end == '\0') return {Order::random, seed};
  }
  return {Order::invalid, 0};
}

cudaError_t error(cudaError_t code, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(last_message, sizeof last_message, format, arguments);
  va_end(arguments);
  return last_error = message_of = code;
}

size_t dynamic_shared_limit(const void* function) {
  Device& d = device();
  std::lock_guard<std::mutex> lock(d.mutex);
  auto it = d.dynamic_shared.find(function);
  return it == d.dynamic_shared.end() ? kStaticShared : it->second;
}

}  // namespace emulator
}  // namespace firesteel

using namespace firesteel::emulator;  // NOLINT: the functions below are the C API
using firesteel::allow_access;
using firesteel::forbid_access;

const char* cudaGetErrorString(cudaError_t code) {
  if (code == cudaSuccess) return "no error";
  return code == message_of ? last_message : "an earlier error";
}

// Unlike on a card no error stays: the next launch starts afresh.
cudaError_t cudaGetLastError() {
  const cudaError_t code = last_error;
  last_error = cudaSuccess;
  return code;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = nullptr;
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t) {
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t) {
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = kCudaVersion;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = kCudaVersion;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  const int cluster = max_cluster();
  if (cluster == 0) {
    return error(cudaErrorInvalidValue, "expected 1 or 8 in FIRESTEEL_EMULATOR_CLUSTER");
  }
  if (order_from_environment().kind == Order::invalid) {
    return error(cudaErrorInvalidValue,
                 "expected forward, reverse or random:SEED in FIRESTEEL_EMULATOR_ORDER");
  }
  *properties = {};
  snprintf(properties->name, sizeof properties->name, "emulated");
  properties->totalGlobalMem = kMemoryBytes;
  properties->multiProcessorCount = kMultiprocessors;
  properties->sharedMemPerBlockOptin = cluster > 1 ? kShared : kSharedBefore90;
  properties->major = cluster > 1 ? 9 : 8;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int) {
  return cudaSuccess;
}

// Each allocation ends at an inaccessible page and starts as NaN.
cudaError_t cudaMalloc(void** data, size_t bytes) {
  *data = nullptr;
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t rounded = (bytes + 255) / 256 * 256;
  Device& d = device();
  std::lock_guard<std::mutex> lock(d.mutex);
  if (bytes > kMemoryBytes || rounded > kMemoryBytes - d.used) {
    return error(cudaErrorMemoryAllocation, "%zu bytes of %zu are in use and %zu were asked for",
                 d.used, kMemoryBytes, bytes);
  }
  const size_t body = (rounded + page - 1) / page * page;
  void* mapping =
      mmap(nullptr, body + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) {
    return error(cudaErrorMemoryAllocation, "the host refused %zu bytes", bytes);
  }
  char* end = static_cast<char*>(mapping) + body;
  if (mprotect(end, page, PROT_NONE) != 0) {
    munmap(mapping, body + page);
    return error(cudaErrorMemoryAllocation, "the host refused a guard page");
  }
  memset(end - rounded, 0xff, rounded);
  *data = end - rounded;
  forbid_access(mapping, body - rounded);
  forbid_access(end - rounded + bytes, rounded - bytes);
  d.allocations[reinterpret_cast<uintptr_t>(*data)] = {bytes, mapping, body + page};
  d.used += rounded;
  return cudaSuccess;
}

cudaError_t cudaFree(void* data) {
  if (data == nullptr) return cudaSuccess;
  Device& d = device();
  std::lock_guard<std::mutex> lock(d.mutex);
  auto it = d.allocations.find(reinterpret_cast<uintptr_t>(data));
  if (it == d.allocations.end()) {
    return error(cudaErrorInvalidValue, "%p is no allocation", data);
  }
  d.used -= (it->second.bytes + 255) / 256 * 256;
  allow_access(it->second.mapping, it->second.mapped);  // whoever is given the addresses next
  munmap(it->second.mapping, it->second.mapped);
  d.allocations.erase(it);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* dst, const void* src, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t) {
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (bytes == 0) return cudaSuccess;
  if ((to_device && !is_device_memory(dst, bytes)) ||
      (from_device && !is_device_memory(src, bytes))) {
    return error(cudaErrorInvalidValue, "a copy of %zu bytes leaves its allocation", bytes);
  }
  memmove(dst, src, bytes);
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* dst, int value, size_t bytes, cudaStream_t) {
  if (bytes == 0) return cudaSuccess;
  if (!is_device_memory(dst, bytes)) {
    return error(cudaErrorInvalidValue, "a fill of %zu bytes leaves its allocation", bytes);
  }
  memset(dst, value, bytes);
  return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute, int value) {
  if (value < 0 || static_cast<size_t>(value) > kShared) {
    return error(cudaErrorInvalidValue, "a block has at most %zu bytes of shared memory", kShared);
  }
  Device& d = device();
  std::lock_guard<std::mutex> lock(d.mutex);
  d.dynamic_shared[function] = static_cast<size_t>(value);
  return cudaSuccess;
}
