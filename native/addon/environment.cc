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

}  // namespace

napi_value make_error(napi_env env, const Status& status) {
  Napi::Env scope(env);
  const Environment* environment = scope.GetInstanceData<Environment>();
  return environment->error_class.New(
      {Napi::String::New(scope, code_name(status.code)), Napi::String::New(scope, status.message)});
}

napi_value throw_error(napi_env env, const Status& status) {
  napi_throw(env, make_error(env, status));
  return nullptr;
}

}  // namespace firesteel
