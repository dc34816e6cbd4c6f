// Opening and closing an engine, and waiting for it.
#include "addon/engine.h"

#include "addon/completions.h"
#include "addon/handles.h"

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

// open(threads, memoryLimit): threads 0 = all, memoryLimit 0 = 0.8 of what the device has.
Napi::Value open(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const int threads = info[0].As<Napi::Number>().Int32Value();
  int64_t limit = info[1].As<Napi::Number>().Int64Value();
  auto state = std::make_shared<EngineState>();
  ContextPtr context(nullptr, [](Context*) {});
  Status status = device_open(threads, &state->cancelled, &context, &state->info);
  if (!status.ok()) {
    throw_error(env, status);
    return env.Undefined();
  }
  if (limit == 0) limit = state->info.memory_bytes / 5 * 4;
  state->threads = threads == 0 ? state->info.units : threads;
  state->context = std::shared_ptr<Context>(std::move(context));
  state->pool = std::make_shared<MemoryPool>(state->context, limit);
  state->stream = std::make_unique<Stream>(state->context, &state->cancelled);
  state->completions = Completions::open(env);
  if (!state->completions) {
    throw_error(env, Status::error(Code::aborted, "the environment is shutting down"));
    return env.Undefined();
  }
  // After the thread-safe function, whose own hook must run later than this one.
  state->cleanup_hook = new std::shared_ptr<EngineState>(state);
  napi_add_env_cleanup_hook(env, close_state, state->cleanup_hook);

  Napi::Object result = Napi::Object::New(env);
  result.Set("name", state->info.name);
  result.Set("threads", state->threads);
  result.Set("units", state->info.units);
  result.Set("compute", state->info.compute);
  result.Set("memoryBytes", static_cast<double>(state->info.memory_bytes));
  result.Set("handle", Napi::Value(env, wrap_engine(env, std::move(state))));
  return result;
}

EngineState* opened(const Napi::CallbackInfo& info) {
  EngineHandle* handle = engine_handle(info.Env(), info[0]);
  if (handle != nullptr && handle->state->stream) return handle->state.get();
  throw_error(info.Env(),
              Status::error(Code::disposed, "expected an open engine but it was disposed"));
  return nullptr;
}

// close(engine): drops what has not run; pending promises are rejected. Closing twice is harmless.
Napi::Value close(const Napi::CallbackInfo& info) {
  EngineHandle* handle = engine_handle(info.Env(), info[0]);
  if (handle != nullptr && handle->state->stream) {
    void* hook = handle->state->cleanup_hook;
    napi_remove_env_cleanup_hook(info.Env(), close_state, hook);
    close_state(hook);
  }
  return info.Env().Undefined();
}

// memory(engine) -> [live, pooled, peak, limit] in bytes
Napi::Value memory(const Napi::CallbackInfo& info) {
  EngineState* state = opened(info);
  if (state == nullptr) return info.Env().Undefined();
  const MemoryStats stats = state->pool->stats();
  Napi::Array result = Napi::Array::New(info.Env(), 4);
  result.Set(0u, static_cast<double>(stats.live));
  result.Set(1u, static_cast<double>(stats.pooled));
  result.Set(2u, static_cast<double>(stats.peak));
  result.Set(3u, static_cast<double>(stats.limit));
  return result;
}

// synchronize(engine) -> Promise<void>: everything enqueued before is done.
Napi::Value synchronize(const Napi::CallbackInfo& info) {
  EngineState* state = opened(info);
  if (state == nullptr) return info.Env().Undefined();
  napi_deferred deferred;
  napi_value promise;
  napi_create_promise(info.Env(), &deferred, &promise);
  Task task;
  task.name = "synchronize";
  task.run = [](Context& context) { return device_wait(context); };
  task.done = [deferred, completions = state->completions](const Status& status) {
    completions->post([deferred, status](napi_env env) {
      napi_value value;
      if (status.ok()) {
        napi_get_undefined(env, &value);
        napi_resolve_deferred(env, deferred, value);
      } else {
        napi_reject_deferred(env, deferred, make_error(env, status));
      }
    });
  };
  state->completions->expect(info.Env());
  state->stream->submit(std::move(task), false);
  return Napi::Value(info.Env(), promise);
}

}  // namespace

void export_function(napi_env env, napi_value exports, const char* name, napi_callback function) {
  napi_value value;
  napi_create_function(env, name, NAPI_AUTO_LENGTH, function, nullptr, &value);
  napi_set_named_property(env, exports, name, value);
}

void register_engine(napi_env env, napi_value exports) {
  Napi::Object object(env, exports);
  object.Set("open", Napi::Function::New<open>(env, "open"));
  object.Set("close", Napi::Function::New<close>(env, "close"));
  object.Set("memory", Napi::Function::New<memory>(env, "memory"));
  object.Set("synchronize", Napi::Function::New<synchronize>(env, "synchronize"));
}

}  // namespace firesteel
