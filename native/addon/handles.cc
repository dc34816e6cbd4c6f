#include "addon/handles.h"

#include <stdlib.h>

#include <exception>

#include "addon/engine.h"

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

// The array may go once the calls that are queued have run.
void give_back(napi_env env, EngineState& engine, napi_ref array) {
  try {
    if (engine.stream && !engine.stream->idle()) {
      Task task;
      task.name = "dispose";
      task.run = [](Context&) { return Status{}; };
      submit_expected(env, engine, std::move(task), false,
                      [array](napi_env settle_env, const std::shared_ptr<const Status>&) {
                        napi_delete_reference(settle_env, array);
                      });
      return;
    }
  } catch (const std::exception&) {  // no memory for a task
    engine.stream->wait();
  }
  napi_delete_reference(env, array);
}

void finalize_engine(napi_env env, void* data, void*) {
  EngineHandle* handle = static_cast<EngineHandle*>(data);
  // One that nobody disposed of, and of which no tensor and no promise is left.
  if (handle->state->stream) close_engine(env, handle->state.get());
  delete handle;
}

void finalize_tensor(napi_env env, void* data, void*) {
  TensorHandle* handle = static_cast<TensorHandle*>(data);
  dispose_tensor(env, handle);
  *handle->place = handle->next;
  if (handle->next != nullptr) handle->next->place = handle->place;
  napi_delete_reference(env, handle->weak);
  delete handle;
}

}  // namespace

EngineHandle* engine_handle(napi_env env, napi_value value) {
  return unwrap<EngineHandle>(env, value);
}

TensorHandle* tensor_handle(napi_env env, napi_value value) {
  return unwrap<TensorHandle>(env, value);
}

Status EngineState::allocate(napi_env env, int64_t bytes, std::shared_ptr<Storage>* out) {
  if (refused_for_test()) return pool->refusal(bytes, "refused for a test");
  Status status = pool->allocate(bytes, out);
  if (status.code != Code::out_of_memory) return status;
  if (!stream->idle()) {
    stream->wait();
    status = pool->allocate(bytes, out);
    if (status.code != Code::out_of_memory) return status;
  }
  if (MemoryPool::block_bytes(bytes) > pool->stats().limit) return status;
  free_unreachable(env);
  return pool->allocate(bytes, out);
}

Status EngineState::stage(int64_t bytes, std::shared_ptr<char>* out) {
  if (!refused_for_test()) {
    out->reset(static_cast<char*>(malloc(static_cast<size_t>(bytes > 0 ? bytes : 1))), free);
    if (*out) return {};
  }
  return pool->refusal(bytes, "the host refused them for a copy");
}

// Finalisers run when JavaScript returns to the event loop, which a loop that drops tensors may not
// do for long. So much external memory makes V8 collect garbage at once; what the weak references
// have lost then is freed here, and finalised later.
void EngineState::free_unreachable(napi_env env) {
  constexpr int64_t kBeyondAnyHeap = int64_t{1} << 46;
  account(env, kBeyondAnyHeap);
  account(env, -kBeyondAnyHeap);
  napi_handle_scope scope;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  for (TensorHandle* handle = tensors; handle != nullptr; handle = handle->next) {
    napi_value value = nullptr;
    if (!handle->storage || napi_get_reference_value(env, handle->weak, &value) != napi_ok) {
      continue;
    }
    if (value == nullptr) dispose_tensor(env, handle);
  }
  napi_close_handle_scope(env, scope);
}

napi_value wrap_engine(napi_env env, std::shared_ptr<EngineState> state) {
  auto handle = std::make_unique<EngineHandle>();
  handle->state = std::move(state);
  napi_value value = nullptr;
  const napi_status wrapped =
      napi_create_external(env, handle.get(), finalize_engine, nullptr, &value);
  if (wrapped != napi_ok) return nullptr;
  handle.release();
  return value;
}

napi_value wrap_tensor(napi_env env, TensorHandle tensor) {
  auto handle = std::make_unique<TensorHandle>(std::move(tensor));
  napi_value value = nullptr;
  if (napi_create_external(env, handle.get(), nullptr, nullptr, &value) != napi_ok ||
      napi_add_finalizer(env, value, handle.get(), finalize_tensor, nullptr, &handle->weak) !=
          napi_ok) {
    return nullptr;
  }
  handle->place = &handle->engine->tensors;
  handle->next = *handle->place;
  if (handle->next != nullptr) handle->next->place = &handle->next;
  *handle->place = handle.get();
  // Views share the storage: the first handle accounts for it, the last one takes that back.
  // V8 knows the size of memory that it has lent.
  if (handle->storage->handles++ == 0 && handle->storage->lender == nullptr) {
    account(env, handle->storage->bytes());
  }
  handle.release();
  return value;
}

void dispose_tensor(napi_env env, TensorHandle* handle) {
  if (!handle->storage) return;
  if (--handle->storage->handles == 0) {
    if (handle->storage->lender != nullptr) {
      give_back(env, *handle->engine, static_cast<napi_ref>(handle->storage->lender));
    } else {
      account(env, -handle->storage->bytes());
    }
  }
  handle->storage.reset();
}

}  // namespace firesteel
