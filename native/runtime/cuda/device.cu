// A CUDA card as a device. One engine is one stream on device 0 (CUDA_VISIBLE_DEVICES chooses).
#include "runtime/device.h"

#include <algorithm>

#include "runtime/cuda/context.h"

namespace firesteel {
namespace {

// sm_90 and later place clusters of 8 on every card; larger ones only on some.
constexpr int kPortableCluster = 8;
constexpr int kOldestCompute = 80;

void close(Context* context) {
  // Work that is still queued uses memory that is freed next.
  cudaStreamSynchronize(context->stream);
  cudaStreamDestroy(context->stream);
  delete context;
}

// 13.0 for 13000.
std::string cuda_version(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

// The runtime asks for the driver of its own major version; NVIDIA names the first release of each.
std::string driver_too_old() {
  int driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  if (driver == 0) return "CUDA: no NVIDIA driver is loaded";
  const int release = runtime / 1000 == 13 ? 580 : runtime / 1000 == 12 ? 525 : 0;
  return "the NVIDIA driver is too old: it runs CUDA " + cuda_version(driver) +
         ", this binary needs CUDA " + cuda_version(runtime) +
         (release > 0 ? " (driver " + std::to_string(release) + " or later)" : "");
}

}  // namespace

Status cuda_status(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return {};
  const std::string message = std::string(what) + ": " + cudaGetErrorString(error);
  cudaGetLastError();  // an error that does not stay must not be reported twice
  switch (error) {
    case cudaErrorMemoryAllocation:
      return Status::error(Code::out_of_memory, message);
    case cudaErrorInvalidValue:
    case cudaErrorInvalidConfiguration:
      return Status::error(Code::range, message);
    case cudaErrorNoDevice:
    case cudaErrorInsufficientDriver:
    case cudaErrorNoKernelImageForDevice:
      return Status::error(Code::no_device, message);
    default:
      return Status::error(Code::device_lost, message);
  }
}

Status device_open(int, const std::atomic<bool>* cancelled, ContextPtr* context, DeviceInfo* info) {
  int count = 0;
  cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaErrorInsufficientDriver) {
    cudaGetLastError();
    return Status::error(Code::no_device, driver_too_old());
  }
  if (error != cudaSuccess) {
    Status status = cuda_status(error, "CUDA");
    status.code = Code::no_device;
    return status;
  }
  if (count == 0) return Status::error(Code::no_device, "CUDA: no device is visible");
  cudaDeviceProp properties;
  error = cudaGetDeviceProperties(&properties, 0);
  if (error != cudaSuccess) return cuda_status(error, "cudaGetDeviceProperties");
  info->name = properties.name;
  info->memory_bytes = static_cast<int64_t>(properties.totalGlobalMem);
  info->compute = 10 * properties.major + properties.minor;
  info->units = properties.multiProcessorCount;
  if (info->compute < kOldestCompute) {
    return Status::error(Code::no_device,
                         "expected a CUDA device of compute capability 8.0 or later but " +
                             info->name + " has " + std::to_string(properties.major) + "." +
                             std::to_string(properties.minor));
  }
  ContextPtr opened(new Context, close);
  error = cudaStreamCreateWithFlags(&opened->stream, cudaStreamNonBlocking);
  if (error != cudaSuccess) {
    delete opened.release();
    return cuda_status(error, "cudaStreamCreate");
  }
  opened->sm_count = info->units;
  opened->compute = info->compute;
  opened->shared_bytes = properties.sharedMemPerBlockOptin;
  opened->max_cluster = info->compute >= 90 ? kPortableCluster : 1;
  opened->cancelled = cancelled;
  *context = std::move(opened);
  return {};
}

Status device_allocate(Context&, int64_t bytes, void** out) {
  *out = nullptr;
  return cuda_status(cudaMalloc(out, static_cast<size_t>(bytes)), "cudaMalloc");
}

// The runtime waits until no kernel uses the memory. On a lost device there is nothing left to
// free.
void device_free(Context&, void* data, int64_t) {
  cudaFree(data);
}

// From pageable memory the runtime returns as soon as it has staged the bytes.
Status copy_to_device(Context& context, void* dst, const void* src, int64_t bytes) {
  return cuda_status(
      cudaMemcpyAsync(dst, src, static_cast<size_t>(bytes), cudaMemcpyHostToDevice, context.stream),
      "copy to the device");
}

Status copy_to_host(Context& context, void* dst, const void* src, int64_t bytes) {
  const cudaError_t error =
      cudaMemcpyAsync(dst, src, static_cast<size_t>(bytes), cudaMemcpyDeviceToHost, context.stream);
  if (error != cudaSuccess) return cuda_status(error, "copy to the host");
  return device_wait(context);
}

Status copy_on_device(Context& context, void* dst, const void* src, int64_t bytes) {
  return cuda_status(cudaMemcpyAsync(dst, src, static_cast<size_t>(bytes), cudaMemcpyDeviceToDevice,
                                     context.stream),
                     "copy on the device");
}

Status device_wait(Context& context) {
  return cuda_status(cudaStreamSynchronize(context.stream), "the device");
}

}  // namespace firesteel
