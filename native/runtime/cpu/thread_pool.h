// One pool of parked threads per process, shared by all engines. It lives as long as an engine does
// and is joined with the last one, so that an unloaded addon leaves no thread behind.
#pragma once
#include <stdint.h>

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace firesteel {

class ThreadPool {
 public:
  // Workers are added when an engine asks for more threads than any before. Throws
  // std::system_error when the system refuses one.
  static std::shared_ptr<ThreadPool> shared(int threads);
  ~ThreadPool();

  using Chunk = void (*)(void* body, int64_t begin, int64_t end);
  // Runs chunk(body, b, e) over [0, items) in pieces of `grain` on the caller and up to `threads` -
  // 1 workers. False when `cancelled` was seen before all pieces were taken.
  bool run(int64_t items, int64_t grain, int threads, const std::atomic<bool>& cancelled,
           Chunk chunk, void* body);

 private:
  struct Job;
  void grow(int workers);
  void work();
  static void drain(Job& job);

  std::mutex mutex_;
  std::condition_variable wake_, finished_;
  std::vector<Job*> jobs_;  // with seats for further workers
  size_t turn_ = 0;         // engines are served in turn
  std::atomic<int> open_{0};
  bool closing_ = false;
  std::vector<std::thread> workers_;
};

}  // namespace firesteel
