// What a CPU kernel's entry point is handed: threads to split its work over.
#pragma once
#include <stdint.h>

#include <memory>
#include <type_traits>

#include "runtime/cpu/thread_pool.h"
#include "runtime/status.h"

namespace firesteel {

class Context {
 public:
  Context(std::shared_ptr<ThreadPool> pool, int threads, const std::atomic<bool>* cancelled)
      : pool_(std::move(pool)), threads_(threads), cancelled_(cancelled) {}

  int threads() const { return threads_; }

  // body(begin, end) on disjoint chunks of [0, items), each at most `grain` long, from several
  // threads. Chunk boundaries must not change results. Cancellation is seen between chunks.
  template <class Body>
  Status parallel(int64_t items, int64_t grain, Body&& body) {
    if (items <= 0) return {};
    using Plain = std::remove_reference_t<Body>;
    const auto chunk = [](void* b, int64_t begin, int64_t end) {
      (*static_cast<Plain*>(b))(begin, end);
    };
    void* erased = const_cast<void*>(static_cast<const void*>(&body));
    if (pool_->run(items, grain < 1 ? 1 : grain, threads_, *cancelled_, chunk, erased)) return {};
    return Status::error(Code::aborted, "the engine was disposed while the call ran");
  }

 private:
  std::shared_ptr<ThreadPool> pool_;
  int threads_;
  const std::atomic<bool>* cancelled_;
};

}  // namespace firesteel
