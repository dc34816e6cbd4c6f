// A lock on an open file that ends with the process that holds it, however it ends.
#include <sys/file.h>

#include <cerrno>

#include "addon/engine.h"

namespace firesteel {
namespace {

// lockFile(fd): true; false where another open file holds it; null where there are no locks.
Napi::Value lock_file(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const int fd = info[0].As<Napi::Number>().Int32Value();
  int result;
  do {
    result = flock(fd, LOCK_EX | LOCK_NB);
  } while (result != 0 && errno == EINTR);
  if (result == 0) return Napi::Boolean::New(env, true);
  if (errno == EWOULDBLOCK) return Napi::Boolean::New(env, false);
  return env.Null();
}

}  // namespace

void register_file_lock(Napi::Env env, Napi::Object exports) {
  exports.Set("lockFile", Napi::Function::New<lock_file>(env, "lockFile"));
}

}  // namespace firesteel
