// The module: hands out the functions of every family. One binary per backend, same functions.
#include "addon/engine.h"

namespace firesteel {

void register_log_prob(napi_env env, napi_value exports);
void register_linear_log_prob(napi_env env, napi_value exports);
void register_group_norm(napi_env env, napi_value exports);
void register_surrogate(napi_env env, napi_value exports);
void register_token_loss(napi_env env, napi_value exports);
void register_group_loss(napi_env env, napi_value exports);
void register_gaussian(napi_env env, napi_value exports);
void register_bernoulli(napi_env env, napi_value exports);
void register_kl(napi_env env, napi_value exports);
void register_divergence(napi_env env, napi_value exports);
void register_gemm(napi_env env, napi_value exports);
void register_attention(napi_env env, napi_value exports);
void register_nn(napi_env env, napi_value exports);
void register_adamw(napi_env env, napi_value exports);
void register_file_lock(Napi::Env env, Napi::Object exports);

namespace {

// initialize(FiresteelError): the class of every error that native code throws.
Napi::Value initialize(const Napi::CallbackInfo& info) {
  Environment* environment = info.Env().GetInstanceData<Environment>();
  environment->error_class = Napi::Persistent(info[0].As<Napi::Function>());
  return info.Env().Undefined();
}

Napi::Object module(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new Environment());
  exports.Set("initialize", Napi::Function::New<initialize>(env, "initialize"));
  exports.Set("backend", FIRESTEEL_BACKEND);
  register_engine(env, exports);
  register_tensor(env, exports);
  register_log_prob(env, exports);
  register_linear_log_prob(env, exports);
  register_group_norm(env, exports);
  register_surrogate(env, exports);
  register_token_loss(env, exports);
  register_group_loss(env, exports);
  register_gaussian(env, exports);
  register_bernoulli(env, exports);
  register_kl(env, exports);
  register_divergence(env, exports);
  register_gemm(env, exports);
  register_attention(env, exports);
  register_nn(env, exports);
  register_adamw(env, exports);
  register_file_lock(env, exports);
  return exports;
}

}  // namespace
}  // namespace firesteel

static Napi::Object Init(Napi::Env env, Napi::Object exports) {
  return firesteel::module(env, exports);
}
NODE_API_MODULE(firesteel, Init)
