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
struct TensorHandle;

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
  TensorHandle* tensors = nullptr;            // all that JavaScript holds, a list
  int64_t refuse_after = 0;                   // tests: allocations until one is refused; 0: none is

  // All on the JS thread. Where memory is refused only because calls that are still queued hold
  // some, waits for them; where what holds it are tensors that nothing refers to any more, frees
  // those.
  Status allocate(napi_env env, int64_t bytes, std::shared_ptr<Storage>* out);
  // Host memory for a copy on its way to or from the device.
  Status stage(int64_t bytes, std::shared_ptr<char>* out);

 private:
  bool refused_for_test() { return refuse_after > 0 && --refuse_after == 0; }
  void free_unreachable(napi_env env);
};

// Ends an engine; what is queued does not run.
void close_engine(napi_env env, EngineState* state);

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
  std::shared_ptr<EngineState> engine;
  std::shared_ptr<Storage> storage;                 // null once disposed
  napi_ref weak = nullptr;                          // to the value that JavaScript holds
  TensorHandle *next = nullptr, **place = nullptr;  // in the engine's list

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
