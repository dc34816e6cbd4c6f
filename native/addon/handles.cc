#include "addon/handles.h"

namespace firesteel {
namespace {

template <class Handle>
Handle* unwrap(napi_env env, napi_value value) {
  void* data = nullptr;  // of a value that is no external there is none, and nothing is thrown
  if (napi_get_value_external(env, value, &data) != napi_ok || data == nullptr) return nullptr;
  Handle* handle = static_cast<Handle*>(data);
  return handle->magic == Handle::kMagic ? handle : nullptr;
}

void account(napi_env env, int64_t bytes) {
  int64_t total;
  napi_adjust_external_memory(env, bytes, &total);
}

}  // namespace

EngineHandle* engine_handle(napi_env env, napi_value value) {
  return unwrap<EngineHandle>(env, value);
}

TensorHandle* tensor_handle(napi_env env, napi_value value) {
  return unwrap<TensorHandle>(env, value);
}

napi_value wrap_engine(napi_env env, std::shared_ptr<EngineState> state) {
  EngineHandle* handle = new EngineHandle{EngineHandle::kMagic, std::move(state)};
  napi_value value = nullptr;
  const napi_status wrapped = napi_create_external(
      env, handle, [](napi_env, void* data, void*) { delete static_cast<EngineHandle*>(data); },
      nullptr, &value);
  if (wrapped == napi_ok) return value;
  delete handle;
  return nullptr;
}

napi_value wrap_tensor(napi_env env, TensorHandle tensor) {
  TensorHandle* handle = new TensorHandle(std::move(tensor));
  napi_value value = nullptr;
  const napi_status wrapped = napi_create_external(
      env, handle,
      [](napi_env finalizer_env, void* data, void*) {
        TensorHandle* dropped = static_cast<TensorHandle*>(data);
        dispose_tensor(finalizer_env, dropped);
        delete dropped;
      },
      nullptr, &value);
  if (wrapped != napi_ok) {
    delete handle;
    return nullptr;
  }
  if (handle->owner) account(env, handle->bytes());
  return value;
}

void dispose_tensor(napi_env env, TensorHandle* handle) {
  if (!handle->storage) return;
  handle->storage.reset();
  if (handle->owner) account(env, -handle->bytes());
}

}  // namespace firesteel
