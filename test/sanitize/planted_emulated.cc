// Under AddressSanitizer, inside emulated CUDA threads: their stacks, shared and device memory.
#include <stdlib.h>

#include "planted.h"
#include "runtime/cuda/launch.h"
#include "runtime/device.h"

namespace {

using namespace firesteel;

__global__ void overrun_frame(int at) {
  volatile int frame[4] = {};
  volatile int* volatile escaped = frame;
  __syncthreads();
  escaped[at] = 1;
}

__attribute__((noinline)) volatile int* address_of_frame() {
  volatile int frame[4] = {};
  volatile int* volatile escaped = frame;
  return escaped;
}
__global__ void returned_frame() {
  volatile int* frame = address_of_frame();
  __syncthreads();
  frame[0] = 1;
}

// Round the checks that a shared array makes itself.
__global__ void overrun_shared(int at) {
  FIRESTEEL_SHARED(int, row, 32);
  row[threadIdx.x] = 1;
  __syncthreads();
  const int* cells = static_cast<const int*>((row + 0).address());
  const_cast<volatile int*>(cells)[at] = 1;
}

__global__ void overrun_device(float* x, int at) {
  if (threadIdx.x == 31) x[at] = 1.0f;
}

template <class... Params, class... Args>
void launched(void (*kernel)(Params...), Args... args) {
  Context context;
  context.max_cluster = 8;
  // A launch that the emulator itself finds wrong proves nothing here.
  if (!launch(context, "planted", LaunchShape{dim3(1), dim3(32)}, kernel, args...).ok()) abort();
}

void frame() {
  launched(overrun_frame, 4);
}

void frame_after_return() {
  launched(returned_frame);
}

void shared() {
  launched(overrun_shared, 32);
}

void device() {
  const std::atomic<bool> cancelled{false};
  ContextPtr context(nullptr, [](Context*) {});
  DeviceInfo info;
  void* data = nullptr;
  if (!device_open(0, &cancelled, &context, &info).ok()) abort();
  if (!device_allocate(*context, 100 * sizeof(float), &data).ok()) abort();
  launched(overrun_device, static_cast<float*>(data), 100);
}

constexpr Planted kFaults[] = {
    {"fiber-frame-overrun", "stack-buffer-overflow", frame},
    {"fiber-frame-after-return", "stack-use-after-return", frame_after_return},
    {"shared-memory-overrun", "use-after-poison", shared},
    {"device-buffer-overrun", "use-after-poison", device},
};

}  // namespace

int main(int count, char** arguments) {
  return run_planted(kFaults, count, arguments);
}
