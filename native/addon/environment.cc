#include "addon/environment.h"

namespace firesteel {
namespace {

const char* code_name(Code code) {
  switch (code) {
    case Code::shape:
      return "ERR_SHAPE";
    case Code::dtype:
      return "ERR_DTYPE";
    case Code::range:
      return "ERR_RANGE";
    case Code::option:
      return "ERR_OPTION";
    case Code::disposed:
      return "ERR_DISPOSED";
    case Code::no_device:
      return "ERR_NO_DEVICE";
    case Code::out_of_memory:
      return "ERR_OUT_OF_MEMORY";
    case Code::device_lost:
      return "ERR_DEVICE_LOST";
    case Code::aborted:
      return "ERR_ABORTED";
    case Code::ok:
      break;
  }
  return "ERR_RANGE";
}

napi_value make_error(napi_env env, Code code, const char* text, size_t length) {
  const Environment* environment = Napi::Env(env).GetInstanceData<Environment>();
  napi_value constructor, arguments[2], error = nullptr;
  if (napi_get_reference_value(env, environment->error_class, &constructor) != napi_ok ||
      napi_create_string_utf8(env, code_name(code), NAPI_AUTO_LENGTH, &arguments[0]) != napi_ok ||
      napi_create_string_utf8(env, text, length, &arguments[1]) != napi_ok ||
      napi_new_instance(env, constructor, 2, arguments, &error) != napi_ok) {
    return nullptr;
  }
  return error;
}

}  // namespace

napi_value make_error(napi_env env, const Status& status) {
  return make_error(env, status.code, status.message.data(), status.message.size());
}

napi_value throw_error(napi_env env, const Status& status) {
  // Where the error could not be made, the exception that prevented it is pending.
  if (napi_value error = make_error(env, status)) napi_throw(env, error);
  return nullptr;
}

napi_value throw_exhausted(napi_env env) {
  constexpr char kText[] = "the host ran out of memory within a call";
  napi_value error = make_error(env, Code::out_of_memory, kText, sizeof kText - 1);
  if (error != nullptr) napi_throw(env, error);
  return nullptr;
}

void reject(napi_env env, napi_deferred deferred, const Status& status) {
  napi_value error = make_error(env, status);
  if (error == nullptr && napi_get_and_clear_last_exception(env, &error) != napi_ok) return;
  napi_reject_deferred(env, deferred, error);
}

}  // namespace firesteel
