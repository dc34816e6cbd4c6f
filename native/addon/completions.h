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

  // On the JS thread: a promise will be settled by a later call of post().
  void expect(napi_env env);
  // On any thread: `settle` runs on the JS thread, unless the environment is gone.
  void post(std::function<void(napi_env)> settle);
  // On the JS thread, when no more posts can come.
  void close();

 private:
  napi_threadsafe_function function_ = nullptr;
  int pending_ = 0;
};

}  // namespace firesteel
