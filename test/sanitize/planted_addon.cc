// Faults on purpose inside a Node addon: what a sanitizer sees of one in a process that is not
// instrumented.
#include <node_api.h>
#include <stdlib.h>

#include <atomic>
#include <thread>

namespace {

napi_value overrun(napi_env, napi_callback_info) {
  char* volatile data = static_cast<char*>(malloc(100));
  volatile int at = 100;
  static_cast<volatile char*>(data)[at] = 1;
  free(data);
  return nullptr;
}

napi_value leak(napi_env, napi_callback_info) {
  volatile char* lost = static_cast<char*>(malloc(100));
  lost[0] = 1;
  return nullptr;
}

napi_value race(napi_env, napi_callback_info) {
  std::atomic<int> arrived{0};
  int number = 0;
  const auto bump = [&] {
    arrived.fetch_add(1, std::memory_order_relaxed);
    while (arrived.load(std::memory_order_relaxed) < 2) std::this_thread::yield();
    ++number;
  };
  std::thread other(bump);
  bump();
  other.join();
  return nullptr;
}

napi_value module(napi_env env, napi_value exports) {
  const struct {
    const char* name;
    napi_callback commit;
  } faults[] = {{"overrun", overrun}, {"leak", leak}, {"race", race}};
  for (const auto& fault : faults) {
    napi_value function;
    napi_create_function(env, fault.name, NAPI_AUTO_LENGTH, fault.commit, nullptr, &function);
    napi_set_named_property(env, exports, fault.name, function);
  }
  return exports;
}

}  // namespace

NAPI_MODULE(planted, module)
