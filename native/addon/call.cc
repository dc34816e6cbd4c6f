#include "addon/call.h"

#include <string.h>

namespace firesteel {

// Below this many bytes a call takes about 50 us or less on one core (5 GB/s, a slow one): waking
// the conductor would cost as much as the work.
constexpr int64_t kInlineBytes = 192 << 10;

Call::Call(napi_env env, napi_callback_info info, const char* name) : env_(env) {
  task_.name = name;
  napi_get_cb_info(env, info, &given_, arguments_, nullptr, nullptr);
  task_.accesses.reserve(16);
  EngineHandle* engine = given_ > 0 ? engine_handle(env, arguments_[0]) : nullptr;
  at_ = 1;
  if (engine == nullptr || !engine->state->stream) {
    fail(Code::disposed, "expected an open engine but it was disposed");
    return;
  }
  engine_ = engine->state;
}

void Call::fail(Code code, const std::string& message) {
  if (status_.ok()) status_ = Status::error(code, task_.name + ": " + message);
}

napi_value Call::next() {
  if (at_ < given_ && at_ < kMaxArguments) return arguments_[at_++];
  fail(Code::option, "argument " + std::to_string(at_++) + " is missing");
  return nullptr;
}

void Call::scalars() {
  napi_value argument = next();
  napi_typedarray_type type;
  size_t length = 0;
  void* data = nullptr;
  if (argument == nullptr ||
      napi_get_typedarray_info(env_, argument, &type, &length, &data, nullptr, nullptr) !=
          napi_ok ||
      type != napi_float64_array) {
    return fail(Code::dtype, "expected an array of numbers as " + position());
  }
  scalar_ = static_cast<const double*>(data);
  scalars_end_ = scalar_ + length;
}

bool Call::packed(double* value) {
  if (scalar_ == scalars_end_) return false;
  *value = *scalar_++;
  return true;
}

int64_t Call::integer() {
  double packed_value = 0;
  int64_t value = 0;
  if (packed(&packed_value)) {
    if (packed_value >= 0.0 && packed_value <= 0x1p53) return static_cast<int64_t>(packed_value);
    value = -1;
  } else {
    napi_value argument = next();
    if (argument == nullptr || napi_get_value_int64(env_, argument, &value) != napi_ok) value = -1;
  }
  if (value >= 0) return value;
  fail(Code::range, "expected a non-negative integer as " + position());
  return 0;
}

double Call::number() {
  double value = 0;
  if (packed(&value)) return value;
  napi_value argument = next();
  if (argument == nullptr || napi_get_value_double(env_, argument, &value) != napi_ok) {
    fail(Code::range, "expected a number as " + position());
  }
  return value;
}

bool Call::flag() {
  bool value = false;
  double packed_value = 0;
  if (packed(&packed_value)) return packed_value != 0.0;
  napi_value argument = next();
  if (argument == nullptr || napi_get_value_bool(env_, argument, &value) != napi_ok) {
    fail(Code::option, "expected a boolean as " + position());
  }
  return value;
}

DType Call::dtype() {
  const int64_t code = integer();
  if (code > static_cast<int64_t>(DType::u8)) {
    fail(Code::dtype, "unknown dtype code " + std::to_string(code));
    return DType::f32;
  }
  return static_cast<DType>(code);
}

void* Call::access(DType dtype, int64_t count, bool reads, bool writes, bool optional) {
  napi_value argument = next();
  if (argument == nullptr) return nullptr;
  TensorHandle* tensor = tensor_handle(env_, argument);
  if (tensor == nullptr && optional) {
    napi_valuetype type = napi_object;
    napi_typeof(env_, argument, &type);
    if (type == napi_null || type == napi_undefined) return nullptr;
  }
  if (tensor == nullptr || !tensor->storage) {
    fail(Code::disposed, position() + ": expected a tensor but it was disposed");
    return nullptr;
  }
  if (tensor->engine != engine_) {
    fail(Code::option, position() + ": expected a tensor of this engine but it belongs to another");
    return nullptr;
  }
  if (tensor->dtype != dtype) {
    fail(Code::dtype, position() + ": the tensor has another dtype than the call reads");
    return nullptr;
  }
  if (count < 0 || tensor->count < count) {
    fail(Code::shape, position() + ": expected at least " + std::to_string(count) +
                          " elements but the tensor has " + std::to_string(tensor->count));
    return nullptr;
  }
  const bool whole =
      writes && tensor->offset == 0 && count * size_of(dtype) == tensor->storage->bytes();
  task_.accesses.push_back({tensor->storage, reads, writes, whole});
  return tensor->data();
}

void Call::together(const void* one, const void* other) {
  if ((one == nullptr) == (other == nullptr)) return;
  fail(Code::option, "expected two arguments that go together, or neither");
}

void Call::check_temperature(float scalar, const float* temperatures) {
  // A fault of its row where it comes from a tensor; a call with a scalar need not have any.
  if (temperatures != nullptr || (scalar >= 1e-30f && scalar <= 1e30f)) return;
  fail(Code::range, "expected a temperature in [1e-30, 1e30]");
}

void* Call::workspace(int64_t bytes) {
  if (failed() || bytes <= 0) return nullptr;
  if (has_workspace_) {  // of this binding's own making: both would be the same memory
    fail(Code::range, "a call has one workspace");
    return nullptr;
  }
  has_workspace_ = true;
  std::shared_ptr<Storage> storage = engine_->workspace.lock();
  if (!storage || storage->bytes() < bytes) {
    Status status = engine_->allocate(env_, bytes, &storage);
    if (!status.ok()) {
      fail(status.code, "workspace: " + status.message);
      return nullptr;
    }
    engine_->workspace = storage;
  }
  task_.kept.push_back(storage);
  return storage->data();
}

FaultWord* Call::faults() {
  if (failed()) return nullptr;
  auto record = std::make_shared<FaultRecord>();
  record->call = task_.name;
  Status status = engine_->allocate(env_, sizeof(FaultWord), &record->word);
  if (!status.ok()) {
    fail(status.code, status.message);
    return nullptr;
  }
  fault_word_ = static_cast<FaultWord*>(record->word->data());
  task_.faults = std::move(record);
  return fault_word_;
}

napi_value Call::enqueue(int64_t cost, std::function<Status(Context&)> run) {
  if (failed()) return throw_error(env_, status_);
  if (fault_word_ == nullptr) {
    task_.run = std::move(run);
  } else {
    task_.run = [run = std::move(run), word = fault_word_](Context& context) {
      FaultWord clean;
      memset(clean.count, 0, sizeof clean.count);
      memset(clean.first_row, 0xff, sizeof clean.first_row);
      Status status = copy_to_device(context, word, &clean, sizeof clean);
      return status.ok() ? run(context) : status;
    };
  }
  const bool small = engine_->info.asynchronous || cost < kInlineBytes;
  engine_->stream->submit(std::move(task_), small);
  return nullptr;
}

}  // namespace firesteel
