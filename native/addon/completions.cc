#include "addon/completions.h"

namespace firesteel {

struct Completions::Expected {
  std::shared_ptr<Completions> completions;
  Settle settle;
  std::shared_ptr<const Status> failure;
  std::shared_ptr<Expected> self;  // while it is on its way to the JS thread
};

std::shared_ptr<Completions> Completions::open(napi_env env) {
  auto completions = std::make_shared<Completions>();
  napi_value name;
  if (napi_create_string_utf8(env, "firesteel", NAPI_AUTO_LENGTH, &name) != napi_ok) return nullptr;
  const auto call = [](napi_env call_env, napi_value, void*, void* data) {
    const std::shared_ptr<Expected> posted = std::move(static_cast<Expected*>(data)->self);
    if (call_env == nullptr) return;  // the environment is being torn down
    posted->completions->forget(call_env);
    posted->settle(call_env, posted->failure);
  };
  const napi_status made = napi_create_threadsafe_function(
      env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, nullptr, call, &completions->function_);
  if (made != napi_ok) return nullptr;
  napi_unref_threadsafe_function(env, completions->function_);
  return completions;
}

std::shared_ptr<Completions::Expected> Completions::expect(napi_env env, Settle settle) {
  auto expected = std::make_shared<Expected>();
  expected->completions = shared_from_this();
  expected->settle = std::move(settle);
  if (pending_++ == 0) napi_ref_threadsafe_function(env, function_);
  return expected;
}

void Completions::forget(napi_env env) {
  if (--pending_ == 0 && function_ != nullptr) napi_unref_threadsafe_function(env, function_);
}

void Completions::post(const std::shared_ptr<Expected>& expected,
                       const std::shared_ptr<const Status>& failure) noexcept {
  expected->failure = failure;
  expected->self = expected;
  Expected* data = expected.get();
  if (napi_call_threadsafe_function(function_, data, napi_tsfn_nonblocking) != napi_ok) {
    expected->self.reset();
  }
}

void Completions::close() {
  if (function_ == nullptr) return;
  napi_release_threadsafe_function(function_, napi_tsfn_release);
  function_ = nullptr;
}

}  // namespace firesteel
