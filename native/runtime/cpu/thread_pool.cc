#include "runtime/cpu/thread_pool.h"

#include <algorithm>

#include "runtime/cpu/pause.h"

namespace firesteel {

struct ThreadPool::Job {
  std::atomic<int64_t> next{0};
  int64_t items, grain;
  const std::atomic<bool>* cancelled;
  Chunk chunk;
  void* body;
  int seats;        // workers that may still join (under the pool's mutex)
  int working = 0;  // workers inside (under the pool's mutex)
};

std::shared_ptr<ThreadPool> ThreadPool::shared(int threads) {
  static std::mutex mutex;
  static std::weak_ptr<ThreadPool> current;
  std::lock_guard<std::mutex> lock(mutex);
  std::shared_ptr<ThreadPool> pool = current.lock();
  if (!pool) {
    pool = std::make_shared<ThreadPool>();
    current = pool;
  }
  pool->grow(threads - 1);
  return pool;
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    closing_ = true;
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::grow(int workers) {
  std::lock_guard<std::mutex> lock(mutex_);
  while (static_cast<int>(workers_.size()) < workers) workers_.emplace_back([this] { work(); });
}

void ThreadPool::drain(Job& job) {
  while (!job.cancelled->load(std::memory_order_relaxed)) {
    const int64_t begin = job.next.fetch_add(job.grain, std::memory_order_relaxed);
    if (begin >= job.items) return;
    job.chunk(job.body, begin, std::min(job.items, begin + job.grain));
  }
}

bool ThreadPool::run(int64_t items, int64_t grain, int threads, const std::atomic<bool>& cancelled,
                     Chunk chunk, void* body) {
  grain = std::min(grain, items);  // so that `next` cannot overflow
  Job job;
  job.items = items;
  job.grain = grain;
  job.cancelled = &cancelled;
  job.chunk = chunk;
  job.body = body;
  const int64_t chunks = (items + grain - 1) / grain;
  const int helpers = static_cast<int>(std::min<int64_t>(threads, chunks)) - 1;
  if (helpers <= 0) {
    drain(job);
    return job.next.load() >= items;
  }
  {
    std::lock_guard<std::mutex> lock(mutex_);
    job.seats = helpers;
    jobs_.push_back(&job);
    open_.fetch_add(1, std::memory_order_release);
  }
  if (helpers == 1) {
    wake_.notify_one();
  } else {
    wake_.notify_all();
  }
  drain(job);
  std::unique_lock<std::mutex> lock(mutex_);
  auto listed = std::find(jobs_.begin(), jobs_.end(), &job);
  if (listed != jobs_.end()) {
    jobs_.erase(listed);
    open_.fetch_sub(1, std::memory_order_release);
  }
  finished_.wait(lock, [&job] { return job.working == 0; });
  return job.next.load() >= items;
}

void ThreadPool::work() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    if (jobs_.empty() && !closing_) {
      // Kernels of a training step follow each other within microseconds: a short look before
      // parking saves the wake-up (about 50 us here). 2,000 pauses are about 20 us.
      lock.unlock();
      for (int i = 0; i < 2000 && open_.load(std::memory_order_acquire) == 0; ++i) pause();
      lock.lock();
      wake_.wait(lock, [this] { return closing_ || !jobs_.empty(); });
    }
    if (closing_) return;
    if (jobs_.empty()) continue;
    turn_ = (turn_ + 1) % jobs_.size();
    Job& job = *jobs_[turn_];
    ++job.working;
    if (--job.seats == 0) {
      jobs_.erase(jobs_.begin() + static_cast<std::ptrdiff_t>(turn_));
      open_.fetch_sub(1, std::memory_order_release);
    }
    lock.unlock();
    drain(job);
    lock.lock();
    if (--job.working == 0) finished_.notify_all();
  }
}

}  // namespace firesteel
