#include "addon/completions.h"

namespace firesteel {
namespace {

struct Posted {
  std::shared_ptr<Completions> completions;
  std::function<void(napi_env)> settle;
};

}  // namespace

std::shared_ptr<Completions> Completions::open(napi_env env) {
  auto completions = std::make_shared<Completions>();
  napi_value name;
  if (napi_create_string_utf8(env, "firesteel", NAPI_AUTO_LENGTH, &name) != napi_ok) return nullptr;
  const auto call = [](napi_env call_env, napi_value, void*, void* data) {
    std::unique_ptr<Posted> posted(static_cast<Posted*>(data));
    if (call_env == nullptr) return;  // the environment is being torn down
    Completions& owner = *posted->completions;
    if (--owner.pending_ == 0 && owner.function_ != nullptr) {
      napi_unref_threadsafe_function(call_env, owner.function_);
    }
    posted->settle(call_env);
  };
  const napi_status made = napi_create_threadsafe_function(
      env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, nullptr, call, &completions->function_);
  if (made != napi_ok) return nullptr;
  napi_unref_threadsafe_function(env, completions->function_);
  return completions;
}

void Completions::expect(napi_env env) {
  if (pending_++ == 0) napi_ref_threadsafe_function(env, function_);
}

void Completions::post(std::function<void(napi_env)> settle) {
  auto posted = std::make_unique<Posted>(Posted{shared_from_this(), std::move(settle)});
  if (napi_call_threadsafe_function(function_, posted.get(), napi_tsfn_nonblocking) == napi_ok) {
    posted.release();
  }
}

void Completions::close() {
  if (function_ == nullptr) return;
  napi_release_threadsafe_function(function_, napi_tsfn_release);
  function_ = nullptr;
}

}  // namespace firesteel
