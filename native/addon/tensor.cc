// Tensors from JavaScript: allocate, view, write, read.
#include <stdlib.h>
#include <string.h>

#include <memory>
#include <string_view>
#include <vector>

#include "addon/engine.h"

namespace firesteel {
namespace {

struct Fetched {  // what a read brings to the JS thread
  std::shared_ptr<char> staging;
  std::vector<std::pair<std::string, FaultWord>> faults;
};

template <size_t N>
bool arguments(napi_env env, napi_callback_info info, napi_value (&values)[N]) {
  size_t count = N;
  return napi_get_cb_info(env, info, &count, values, nullptr, nullptr) == napi_ok && count >= N;
}

TensorHandle* live_tensor(napi_env env, napi_value value) {
  TensorHandle* tensor = tensor_handle(env, value);
  const char* problem = nullptr;
  if (tensor == nullptr || !tensor->storage) {
    problem = "expected a tensor but it was disposed";
  } else if (!tensor->engine->stream) {
    problem = "expected a tensor of an open engine but the engine was disposed";
  }
  if (problem == nullptr) return tensor;
  throw_error(env, Status::error(Code::disposed, problem));
  return nullptr;
}

std::shared_ptr<EngineState> open_engine(napi_env env, napi_value value) {
  EngineHandle* engine = engine_handle(env, value);
  if (engine != nullptr && engine->state->stream) return engine->state;
  throw_error(env, Status::error(Code::disposed, "expected an open engine"));
  return nullptr;
}

// The length in bytes and the place of a typed array as it is now: JavaScript may detach or resize
// it at any time. -1 when it is none that a tensor could be copied to or from.
int64_t array_bytes(napi_env env, napi_value array, void** data) {
  static constexpr int kBytes[] = {1, 1, 1, 2, 2, 4, 4, 4, 8};  // by napi_typedarray_type
  napi_typedarray_type type = napi_biguint64_array;  // left as it is for kinds that Node-API lacks
  size_t length = 0;
  if (napi_get_typedarray_info(env, array, &type, &length, data, nullptr, nullptr) != napi_ok ||
      type > napi_float64_array) {
    return -1;
  }
  return static_cast<int64_t>(length) * kBytes[type];
}

// The bytes of a typed array, which must be exactly as many as the tensor's.
bool exact_bytes(napi_env env, napi_value array, const TensorHandle& tensor, void** data) {
  const int64_t bytes = array_bytes(env, array, data);
  if (bytes < 0) {
    throw_error(env, Status::error(Code::dtype, "expected a typed array"));
    return false;
  }
  if (bytes != tensor.bytes()) {
    throw_error(
        env, Status::error(Code::shape, "expected an array of " + std::to_string(tensor.bytes()) +
                                            " bytes but received " + std::to_string(bytes) +
                                            " (a detached array has 0)"));
    return false;
  }
  return true;
}

// allocate(engine, dtype, count) -> tensor
napi_value allocate(napi_env env, napi_callback_info info) {
  napi_value args[3];
  if (!arguments(env, info, args)) return nullptr;
  TensorHandle tensor;
  tensor.engine = open_engine(env, args[0]);
  if (!tensor.engine) return nullptr;
  int32_t dtype = 0;
  napi_get_value_int32(env, args[1], &dtype);
  napi_get_value_int64(env, args[2], &tensor.count);
  if (dtype < 0 || dtype > static_cast<int32_t>(DType::u8) || tensor.count < 0 ||
      tensor.count > (int64_t{1} << 48)) {
    return throw_error(env, Status::error(Code::shape, "dtype or element count out of range"));
  }
  tensor.dtype = static_cast<DType>(dtype);
  const Status status = tensor.engine->allocate(env, tensor.bytes(), &tensor.storage);
  if (!status.ok()) return throw_error(env, status);
  return wrap_tensor(env, std::move(tensor));
}

// wrap(engine, typedArray, dtype) -> tensor in the memory of the array, which must be shared: such
// memory stays where it is as long as anything refers to it. On the CPU alone.
napi_value wrap(napi_env env, napi_callback_info info) {
  napi_value args[3];
  if (!arguments(env, info, args)) return nullptr;
  TensorHandle tensor;
  tensor.engine = open_engine(env, args[0]);
  if (!tensor.engine) return nullptr;
  if (std::string_view(FIRESTEEL_BACKEND) != "cpu") {
    return throw_error(env, Status::error(Code::option, "expected an engine on the CPU"));
  }
  void* data = nullptr;
  napi_value buffer = nullptr;
  bool unshared = true;
  const int64_t bytes = array_bytes(env, args[1], &data);
  if (bytes < 0 ||
      napi_get_typedarray_info(env, args[1], nullptr, nullptr, nullptr, &buffer, nullptr) !=
          napi_ok ||
      napi_is_arraybuffer(env, buffer, &unshared) != napi_ok || unshared) {
    return throw_error(env, Status::error(Code::dtype, "expected a view of shared memory"));
  }
  int32_t dtype = -1;
  napi_get_value_int32(env, args[2], &dtype);
  if (dtype < 0 || dtype > static_cast<int32_t>(DType::u8) ||
      bytes % size_of(static_cast<DType>(dtype)) != 0) {
    return throw_error(env, Status::error(Code::dtype, "dtype out of range"));
  }
  tensor.dtype = static_cast<DType>(dtype);
  tensor.count = bytes / size_of(tensor.dtype);
  napi_ref array;
  if (napi_create_reference(env, args[1], 1, &array) != napi_ok) return nullptr;
  try {
    tensor.storage = std::make_shared<Storage>(data, bytes, array);
    if (napi_value value = wrap_tensor(env, std::move(tensor))) return value;
  } catch (...) {
    napi_delete_reference(env, array);
    throw;
  }
  napi_delete_reference(env, array);
  return nullptr;
}

// view(tensor, firstElement, count) -> tensor on the same storage
napi_value view(napi_env env, napi_callback_info info) {
  napi_value args[3];
  if (!arguments(env, info, args)) return nullptr;
  TensorHandle* tensor = live_tensor(env, args[0]);
  if (tensor == nullptr) return nullptr;
  int64_t first = 0, count = 0;
  napi_get_value_int64(env, args[1], &first);
  napi_get_value_int64(env, args[2], &count);
  if (first < 0 || count < 0 || first > tensor->count - count) {
    return throw_error(env, Status::error(Code::shape, "the view reaches outside of the tensor"));
  }
  TensorHandle part = *tensor;
  part.offset += first * size_of(part.dtype);
  part.count = count;
  return wrap_tensor(env, std::move(part));
}

napi_value dispose(napi_env env, napi_callback_info info) {
  napi_value args[1];
  if (!arguments(env, info, args)) return nullptr;
  TensorHandle* tensor = tensor_handle(env, args[0]);
  if (tensor != nullptr) dispose_tensor(env, tensor);
  return nullptr;
}

// write(tensor, typedArray): in stream order; the array may be reused at once.
napi_value write(napi_env env, napi_callback_info info) {
  napi_value args[2];
  if (!arguments(env, info, args)) return nullptr;
  TensorHandle* tensor = live_tensor(env, args[0]);
  void* source = nullptr;
  if (tensor == nullptr || !exact_bytes(env, args[1], *tensor, &source)) return nullptr;
  const int64_t bytes = tensor->bytes();
  Stream& stream = *tensor->engine->stream;
  // While the stream is idle the task runs before this function returns: no copy of the source.
  const bool now = stream.idle();
  std::shared_ptr<char> staged;
  if (!now && bytes > 0) {
    Status status = tensor->engine->stage(bytes, &staged);
    if (!status.ok()) {
      status.message = "write: " + status.message;
      return throw_error(env, status);
    }
    memcpy(staged.get(), source, static_cast<size_t>(bytes));
    source = staged.get();
  }
  Task task;
  task.name = "write";
  task.accesses.push_back({tensor->storage, false, true, bytes == tensor->storage->bytes()});
  task.run = [staged, source, bytes, to = tensor->data()](Context& context) {
    return bytes == 0 ? Status{} : copy_to_device(context, to, source, bytes);
  };
  stream.submit(std::move(task), now);
  return nullptr;
}

// Runs on the stream: the bytes to `to`, and the faults of the call that made them, once.
Status fetch(Context& context, const std::shared_ptr<Storage>& storage, const void* from, void* to,
             int64_t bytes, Fetched* fetched) {
  if (bytes > 0) {
    Status status = copy_to_host(context, to, from, bytes);
    if (!status.ok()) return status;
  }
  FaultRecord* record = storage->faults.get();
  if (record == nullptr || record->reported) return {};
  FaultWord word;
  Status status = copy_to_host(context, &word, record->word->data(), sizeof word);
  if (!status.ok()) return status;
  record->reported = true;
  for (uint32_t count : word.count) {
    if (count != 0) {
      fetched->faults.emplace_back(record->call, word);
      break;
    }
  }
  return {};
}

// [[call, kind, count, firstRow], ...]
napi_value fault_list(napi_env env, const Fetched& fetched) {
  napi_value list = nullptr;
  napi_create_array(env, &list);
  uint32_t faults = 0;
  for (const auto& [call, word] : fetched.faults) {
    for (uint32_t kind = 0; kind < kFaultKinds; ++kind) {
      if (word.count[kind] == 0) continue;
      napi_value entry, values[4];
      napi_create_array(env, &entry);
      napi_create_string_utf8(env, call.data(), call.size(), &values[0]);
      napi_create_uint32(env, kind, &values[1]);
      napi_create_uint32(env, word.count[kind], &values[2]);
      napi_create_uint32(env, word.first_row[kind], &values[3]);
      for (uint32_t i = 0; i < 4; ++i) napi_set_element(env, entry, i, values[i]);
      napi_set_element(env, list, faults++, entry);
    }
  }
  return list;
}

// read(tensor, typedArray) -> Promise<faults>: the array is filled when the promise is settled.
napi_value read(napi_env env, napi_callback_info info) {
  napi_value args[2];
  if (!arguments(env, info, args)) return nullptr;
  TensorHandle* tensor = live_tensor(env, args[0]);
  void* unused;
  if (tensor == nullptr || !exact_bytes(env, args[1], *tensor, &unused)) return nullptr;
  const int64_t bytes = tensor->bytes();
  auto fetched = std::make_shared<Fetched>();
  Status staged = tensor->engine->stage(bytes, &fetched->staging);
  if (!staged.ok()) {
    staged.message = "read: " + staged.message;
    return throw_error(env, staged);
  }
  napi_ref target;
  napi_deferred deferred;
  napi_value promise;
  if (napi_create_promise(env, &deferred, &promise) != napi_ok ||
      napi_create_reference(env, args[1], 1, &target) != napi_ok) {
    return nullptr;  // the environment is being terminated
  }
  Task task;
  task.name = "read";
  task.accesses.push_back({tensor->storage, true, false, false});
  task.run = [fetched, bytes, from = tensor->data(), storage = tensor->storage](Context& context) {
    return fetch(context, storage, from, fetched->staging.get(), bytes, fetched.get());
  };
  auto settle = [=](napi_env settle_env, const std::shared_ptr<const Status>& failure) {
    napi_value array;
    napi_get_reference_value(settle_env, target, &array);
    napi_delete_reference(settle_env, target);
    if (failure) return reject(settle_env, deferred, *failure);
    void* data = nullptr;
    const int64_t room = array_bytes(settle_env, array, &data);
    if (room != bytes) {
      return reject(
          settle_env, deferred,
          Status::error(Code::shape, "read: expected the target array to keep its " +
                                         std::to_string(bytes) + " bytes but it has " +
                                         std::to_string(room) + " now (a detached array has 0)"));
    }
    if (bytes > 0) memcpy(data, fetched->staging.get(), static_cast<size_t>(bytes));
    napi_resolve_deferred(settle_env, deferred, fault_list(settle_env, *fetched));
  };
  // On an asynchronous device the copy waits for it, which must not happen on the JS thread.
  const bool small = !tensor->engine->info.asynchronous && bytes < (64 << 10);
  try {
    submit_expected(env, *tensor->engine, std::move(task), small, std::move(settle));
  } catch (...) {
    napi_delete_reference(env, target);
    throw;
  }
  return promise;
}

// readSync(tensor, typedArray) -> faults
napi_value read_sync(napi_env env, napi_callback_info info) {
  napi_value args[2];
  if (!arguments(env, info, args)) return nullptr;
  TensorHandle* tensor = live_tensor(env, args[0]);
  void* data = nullptr;
  if (tensor == nullptr || !exact_bytes(env, args[1], *tensor, &data)) return nullptr;
  Fetched fetched;
  std::shared_ptr<const Status> failure;
  Task task;
  task.name = "readSync";
  task.accesses.push_back({tensor->storage, true, false, false});
  task.run = [&](Context& context) {
    return fetch(context, tensor->storage, tensor->data(), data, tensor->bytes(), &fetched);
  };
  task.done = [&](const std::shared_ptr<const Status>& status) { failure = status; };
  Stream& stream = *tensor->engine->stream;
  stream.wait();
  stream.submit(std::move(task), true);  // idle now: runs here
  if (failure) return throw_error(env, *failure);
  return fault_list(env, fetched);
}

}  // namespace

void register_tensor(napi_env env, napi_value exports) {
  export_function(env, exports, "allocate", allocate);
  export_function(env, exports, "wrap", wrap);
  export_function(env, exports, "view", view);
  export_function(env, exports, "dispose", dispose);
  export_function(env, exports, "write", write);
  export_function(env, exports, "read", read);
  export_function(env, exports, "readSync", read_sync);
}

}  // namespace firesteel
