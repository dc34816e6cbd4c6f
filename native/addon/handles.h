// What JavaScript holds: opaque externals for an engine and for a tensor. Shapes live in
// TypeScript; a handle knows its bytes and its dtype, so that no call can reach outside of them.
#pragma once
#include <atomic>
#include <memory>
#include <string>

#include "addon/environment.h"
#include "runtime/dtype.h"
#include "runtime/memory.h"
#include "runtime/stream.h"

namespace firesteel {

class Completions;

struct EngineState {
  std::atomic<bool> cancelled{false};
  DeviceInfo info;
  int threads = 0;
  std::shared_ptr<Context> context;
  std::shared_ptr<MemoryPool> pool;
  std::shared_ptr<Storage> matmul_workspace;  // null: none
  std::unique_ptr<Stream> stream;             // null once disposed
  std::shared_ptr<Completions> completions;   // promises to settle on the JS thread
  std::weak_ptr<Storage> workspace;           // of queued calls: they run one after the other
  void* cleanup_hook = nullptr;               // argument of the environment's hook that closes this

  // Where the limit is reached only because calls that are still queued hold memory, waits for
  // them.
  Status allocate(int64_t bytes, std::shared_ptr<Storage>* out) {
    Status status = pool->allocate(bytes, out);
    if (status.code != Code::out_of_memory || stream->idle()) return status;
    stream->wait();
    return pool->allocate(bytes, out);
  }
};

struct EngineHandle {
  static constexpr uint32_t kMagic = 0xf15e57ee;
  uint32_t magic = kMagic;
  std::shared_ptr<EngineState> state;
};

struct TensorHandle {
  static constexpr uint32_t kMagic = 0x7e4502f1;
  uint32_t magic = kMagic;
  DType dtype;
  int64_t count = 0;   // elements
  int64_t offset = 0;  // bytes into the storage
  bool owner = false;  // accounts for the storage in V8's external memory
  std::shared_ptr<EngineState> engine;
  std::shared_ptr<Storage> storage;  // null once disposed

  int64_t bytes() const { return count * size_of(dtype); }
  void* data() const { return static_cast<char*>(storage->data()) + offset; }
};

// Null, with nothing thrown, when the value is not such a handle.
EngineHandle* engine_handle(napi_env env, napi_value value);
TensorHandle* tensor_handle(napi_env env, napi_value value);

// Null where the environment takes no more values: it is being terminated.
napi_value wrap_engine(napi_env env, std::shared_ptr<EngineState> state);
napi_value wrap_tensor(napi_env env, TensorHandle handle);
// Gives the storage back now. Disposing twice is harmless.
void dispose_tensor(napi_env env, TensorHandle* handle);

}  // namespace firesteel
