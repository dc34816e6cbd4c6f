// Opening and closing an engine, and waiting for it.
#include "addon/engine.h"

#include <exception>

#include "gemm/gemm.h"

namespace firesteel {
namespace {

// Every engine is closed with its environment at the latest: its threads are joined before the
// addon can be unloaded.
void close_state(void* data) {
  auto* state = static_cast<std::shared_ptr<EngineState>*>(data);
  (*state)->stream.reset();
  (*state)->completions->close();
  delete state;
}

void set(napi_env env, napi_value object, const char* name, double number) {
  napi_value value;
  napi_create_double(env, number, &value);
  napi_set_named_property(env, object, name, value);
}

void set(napi_env env, napi_value object, const char* name, const std::string& text) {
  napi_value value;
  napi_create_string_utf8(env, text.data(), text.size(), &value);
  napi_set_named_property(env, object, name, value);
}

// Without room for a workspace the library chooses among the algorithms that need none.
Status open_matmul(EngineState* state, MatmulChoice choice, MatmulInfo* info) {
  Status status = matmul_open(*state->context, choice, info);
  if (!status.ok() || info->workspace_bytes == 0) return status;
  if (state->pool->allocate(info->workspace_bytes, &state->matmul_workspace).ok()) {
    matmul_use_workspace(*state->context, state->matmul_workspace->data(), info->workspace_bytes);
  }
  return status;
}

// open(threads, memoryLimit, matmul): threads 0 = all, memoryLimit 0 = 0.8 of what the device has,
// matmul: a MatmulChoice.
napi_value open(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value arguments[3];
  int32_t threads = 0, matmul = 0;
  int64_t limit = 0;
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  napi_get_value_int32(env, arguments[0], &threads);
  napi_get_value_int64(env, arguments[1], &limit);
  napi_get_value_int32(env, arguments[2], &matmul);
  auto state = std::make_shared<EngineState>();
  ContextPtr context(nullptr, [](Context*) {});
  Status status = device_open(threads, &state->cancelled, &context, &state->info);
  if (!status.ok()) return throw_error(env, status);
  if (limit == 0) limit = state->info.memory_bytes / 5 * 4;
  state->threads = threads == 0 ? state->info.units : threads;
  state->context = std::shared_ptr<Context>(std::move(context));
  state->pool = std::make_shared<MemoryPool>(state->context, limit);
  MatmulInfo multiplied;
  status = open_matmul(state.get(), static_cast<MatmulChoice>(matmul), &multiplied);
  if (!status.ok()) return throw_error(env, status);
  state->stream = std::make_unique<Stream>(state->context, &state->cancelled);
  state->completions = Completions::open(env);
  if (!state->completions) {
    return throw_error(env, Status::error(Code::aborted, "the environment is shutting down"));
  }
  // After the thread-safe function, whose own hook must run later than this one.
  state->cleanup_hook = new std::shared_ptr<EngineState>(state);
  napi_add_env_cleanup_hook(env, close_state, state->cleanup_hook);

  const DeviceInfo& device = state->info;
  napi_value result;
  napi_create_object(env, &result);
  set(env, result, "name", device.name);
  set(env, result, "threads", state->threads);
  set(env, result, "units", device.units);
  set(env, result, "compute", device.compute);
  set(env, result, "memoryBytes", static_cast<double>(device.memory_bytes));
  set(env, result, "matmul", std::string(multiplied.cublas ? "cublas" : "own"));
  set(env, result, "matmulDetail", multiplied.detail);
  if (napi_value handle = wrap_engine(env, state)) {
    napi_set_named_property(env, result, "handle", handle);
  }
  return result;
}

// Argument 0. Null when it was disposed; that is thrown where `required`.
EngineState* opened(napi_env env, napi_callback_info info, bool required) {
  size_t count = 1;
  napi_value argument;
  napi_get_cb_info(env, info, &count, &argument, nullptr, nullptr);
  EngineHandle* handle = engine_handle(env, argument);
  if (handle != nullptr && handle->state->stream) return handle->state.get();
  if (required) {
    throw_error(env, Status::error(Code::disposed, "expected an open engine but it was disposed"));
  }
  return nullptr;
}

// close(engine): drops what has not run; pending promises are rejected. Closing twice is harmless.
napi_value close(napi_env env, napi_callback_info info) {
  EngineState* state = opened(env, info, false);
  if (state == nullptr) return nullptr;
  close_engine(env, state);
  return nullptr;
}

// memory(engine) -> [live, pooled, peak, limit] in bytes
napi_value memory(napi_env env, napi_callback_info info) {
  EngineState* state = opened(env, info, true);
  if (state == nullptr) return nullptr;
  const MemoryStats stats = state->pool->stats();
  napi_value result = nullptr;
  napi_create_array(env, &result);
  uint32_t at = 0;
  for (int64_t bytes : {stats.live, stats.pooled, stats.peak, stats.limit}) {
    napi_value value;
    napi_create_double(env, static_cast<double>(bytes), &value);
    napi_set_element(env, result, at++, value);
  }
  return result;
}

// synchronize(engine) -> Promise<void>: everything enqueued before is done.
napi_value synchronize(napi_env env, napi_callback_info info) {
  EngineState* state = opened(env, info, true);
  if (state == nullptr) return nullptr;
  napi_deferred deferred;
  napi_value promise;
  if (napi_create_promise(env, &deferred, &promise) != napi_ok) return nullptr;  // terminated
  Task task;
  task.name = "synchronize";
  task.run = [](Context& context) { return device_wait(context); };
  submit_expected(env, *state, std::move(task), false,
                  [deferred](napi_env settle_env, const std::shared_ptr<const Status>& failure) {
                    if (failure) return reject(settle_env, deferred, *failure);
                    napi_value value;
                    napi_get_undefined(settle_env, &value);
                    napi_resolve_deferred(settle_env, deferred, value);
                  });
  return promise;
}

// Every exported function runs in here: no exception may leave through V8.
napi_value guarded(napi_env env, napi_callback_info info) {
  void* function = nullptr;
  napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &function);
  try {
    return reinterpret_cast<napi_callback>(function)(env, info);
  } catch (const std::exception&) {  // std::bad_alloc
    return throw_exhausted(env);
  }
}

// refuseAllocation(engine, n): for tests; the n-th allocation from here on is refused, 0: none is.
// Returns how many were still to go.
napi_value refuse_allocation(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2], left = nullptr;
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  EngineState* state = opened(env, info, true);
  if (state == nullptr) return nullptr;
  napi_create_double(env, static_cast<double>(state->refuse_after), &left);
  napi_get_value_int64(env, arguments[1], &state->refuse_after);
  return left;
}

}  // namespace

void close_engine(napi_env env, EngineState* state) {
  void* hook = state->cleanup_hook;
  napi_remove_env_cleanup_hook(env, close_state, hook);
  close_state(hook);
}

void submit_expected(napi_env env, EngineState& state, Task task, bool small,
                     Completions::Settle settle) {
  auto expected = state.completions->expect(env, std::move(settle));
  // The stream may be gone by the time the outcome is settled, not before it is posted.
  try {
    task.done = [completions = state.completions,
                 expected](const std::shared_ptr<const Status>& failure) {
      completions->post(expected, failure);
    };
    state.stream->submit(std::move(task), small);
  } catch (...) {
    state.completions->forget(env);
    throw;
  }
}

void export_function(napi_env env, napi_value exports, const char* name, napi_callback function) {
  napi_value value;
  napi_create_function(env, name, NAPI_AUTO_LENGTH, guarded, reinterpret_cast<void*>(function),
                       &value);
  napi_set_named_property(env, exports, name, value);
}

void register_engine(napi_env env, napi_value exports) {
  export_function(env, exports, "open", open);
  export_function(env, exports, "close", close);
  export_function(env, exports, "memory", memory);
  export_function(env, exports, "synchronize", synchronize);
  export_function(env, exports, "refuseAllocation", refuse_allocation);
}

}  // namespace firesteel
