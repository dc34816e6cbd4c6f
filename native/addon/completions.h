// Settles promises on the JS thread for work that ended on the conductor. Keeps the event loop
// alive only while a promise is pending.
#pragma once
#include <functional>
#include <memory>

#include "addon/environment.h"

namespace firesteel {

class Completions : public std::enable_shared_from_this<Completions> {
 public:
  // Null when the environment is shutting down.
  static std::shared_ptr<Completions> open(napi_env env);

  using Settle = std::function<void(napi_env, const std::shared_ptr<const Status>& failure)>;

  // On the JS thread: a promise that `settle` settles there, once the outcome is posted. All memory
  // that this takes is taken here.
  struct Expected;
  std::shared_ptr<Expected> expect(napi_env env, Settle settle);
  // On any thread, once: why the work failed, or null. Nothing is settled where the environment is
  // gone.
  void post(const std::shared_ptr<Expected>& expected,
            const std::shared_ptr<const Status>& failure) noexcept;
  // On the JS thread: what was expected does not come.
  void forget(napi_env env);
  // On the JS thread, when no more posts can come.
  void close();

 private:
  napi_threadsafe_function function_ = nullptr;
  int pending_ = 0;
};

}  // namespace firesteel
