// Under ThreadSanitizer: on threads of one's own and on those of the pool and of the stream.
#include <stdlib.h>

#include <mutex>
#include <thread>

#include "planted.h"
#include "runtime/cpu/context.h"
#include "runtime/stream.h"

namespace {

using namespace firesteel;

std::atomic<bool> cancelled{false};
int shared_number = 0;

std::shared_ptr<Context> opened() {
  ContextPtr context(nullptr, [](Context*) {});
  DeviceInfo info;
  if (!device_open(2, &cancelled, &context, &info).ok()) abort();
  return std::shared_ptr<Context>(std::move(context));
}

// Waits for the other without a happens-before that ThreadSanitizer would accept as an excuse. Again
// and again, for it overlooks two accesses that meet in the very same moment.
void bump(std::atomic<int>* arrived) {
  arrived->fetch_add(1, std::memory_order_relaxed);
  while (arrived->load(std::memory_order_relaxed) < 2) std::this_thread::yield();
  for (int i = 0; i < 100; ++i) {
    ++shared_number;
    std::this_thread::yield();
  }
}

void race_of_threads() {
  std::atomic<int> arrived{0};
  std::thread other([&] { bump(&arrived); });
  bump(&arrived);
  other.join();
}

void race_in_the_pool() {
  std::atomic<int> arrived{0};
  const auto body = [&](int64_t, int64_t) { bump(&arrived); };
  if (!opened()->parallel(2, 1, body).ok()) abort();
}

void race_with_the_stream() {
  std::atomic<int> arrived{0};
  Stream stream(opened(), &cancelled);
  Task task;
  task.run = [&](Context&) {
    bump(&arrived);
    return Status{};
  };
  stream.submit(std::move(task), false);
  bump(&arrived);
  stream.wait();
}

void locks_in_two_orders() {
  std::mutex a, b;
  a.lock(), b.lock(), b.unlock(), a.unlock();
  b.lock(), a.lock(), a.unlock(), b.unlock();
}

constexpr Planted kFaults[] = {
    {"race-of-threads", "data race", race_of_threads},
    {"race-in-the-pool", "data race", race_in_the_pool},
    {"race-with-the-stream", "data race", race_with_the_stream},
    {"locks-in-two-orders", "lock-order-inversion", locks_in_two_orders},
};

}  // namespace

int main(int count, char** arguments) {
  return run_planted(kFaults, count, arguments);
}
