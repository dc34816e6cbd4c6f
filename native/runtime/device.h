// The device under an engine. Each backend (runtime/cpu, runtime/cuda) defines these functions
// once; which one a binary holds is decided when it is linked. `Context` is the backend's own type:
// what a kernel's entry point is handed.
#pragma once
#include <stdint.h>

#include <atomic>
#include <memory>
#include <string>

#include "runtime/status.h"

namespace firesteel {

class Context;
using ContextPtr = std::unique_ptr<Context, void (*)(Context*)>;

struct DeviceInfo {
  std::string name;
  int64_t memory_bytes = 0;   // that a process may use: cgroup or RAM, or the card's
  int compute = 0;            // CUDA: 10 * major + minor; CPU: 0
  int units = 0;              // multiprocessors, or hardware threads available to the process
  bool asynchronous = false;  // entry points only enqueue: they return long before the work is done
};

// `threads`: CPU only, 0 = as many as the process may use. `cancelled` is polled between chunks.
Status device_open(int threads, const std::atomic<bool>* cancelled, ContextPtr* context,
                   DeviceInfo* info);

Status device_allocate(Context&, int64_t bytes, void** out);  // 256-byte aligned
void device_free(Context&, void* data, int64_t bytes);

// All in stream order. to_device returns when src may be reused, to_host when dst is filled.
Status copy_to_device(Context&, void* dst, const void* src, int64_t bytes);
Status copy_to_host(Context&, void* dst, const void* src, int64_t bytes);
Status copy_on_device(Context&, void* dst, const void* src, int64_t bytes);
Status device_wait(Context&);

}  // namespace firesteel
