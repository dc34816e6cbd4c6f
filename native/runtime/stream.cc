#include "runtime/stream.h"

#include <exception>
#include <system_error>

#include "runtime/cpu/pause.h"

namespace firesteel {

namespace {
constexpr int kPauses = 2000;
}

Stream::~Stream() {
  std::deque<Task> dropped;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    closing_ = true;
    dropped.swap(queue_);
  }
  cancelled_->store(true);
  work_.notify_all();
  if (conductor_.joinable()) conductor_.join();
  const Status gone = Status::error(Code::disposed, "the engine was disposed before the call ran");
  for (Task& task : dropped) {
    if (task.done) task.done(gone);
  }
}

void Stream::submit(Task task, bool small) {
  std::unique_lock<std::mutex> lock(mutex_);
  bool now = small && queue_.empty() && !busy_;
  if (!now && !conductor_.joinable()) {
    try {
      conductor_ = std::thread([this] { conduct(); });
    } catch (const std::system_error&) {
      now = true;  // the system has no thread left; without a conductor nothing is queued
    }
  }
  if (now) {
    busy_ = true;
    lock.unlock();
    execute(task);
    lock.lock();
    busy_ = false;
    lock.unlock();
    quiet_.notify_all();
    return;
  }
  room_.wait(lock, [this] { return queue_.size() < kMaxQueued; });
  queue_.push_back(std::move(task));
  queued_.store(queue_.size(), std::memory_order_release);
  lock.unlock();
  work_.notify_one();
}

void Stream::wait() {
  std::unique_lock<std::mutex> lock(mutex_);
  quiet_.wait(lock, [this] { return queue_.empty() && !busy_; });
}

bool Stream::idle() {
  std::lock_guard<std::mutex> lock(mutex_);
  return queue_.empty() && !busy_;
}

void Stream::conduct() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    work_.wait(lock, [this] { return closing_ || (!queue_.empty() && !busy_); });
    if (closing_) return;
    while (!queue_.empty() && !closing_) {
      Task task = std::move(queue_.front());
      queue_.pop_front();
      queued_.store(queue_.size(), std::memory_order_release);
      busy_ = true;
      const bool room = queue_.size() == kMaxQueued / 2;
      lock.unlock();
      if (room) room_.notify_one();
      execute(task);
      task = Task{};  // storages are released before the stream counts as quiet
      lock.lock();
      busy_ = false;
    }
    quiet_.notify_all();
    // The caller is often about to enqueue the next call: waiting for it awake for about 20 us
    // saves the wake-up, and the caller the system call.
    lock.unlock();
    for (int i = 0; i < kPauses && queued_.load(std::memory_order_acquire) == 0; ++i) pause();
    lock.lock();
  }
}

void Stream::execute(Task& task) {
  std::shared_ptr<const Status> failure;
  for (const Access& access : task.accesses) {
    if (access.reads && access.storage->failure) {
      failure = access.storage->failure;
      break;
    }
  }
  if (!failure) {
    Status status;
    try {
      status = task.run(*context_);
    } catch (const std::exception& error) {  // std::bad_alloc: kernels throw nothing themselves
      status = Status::error(Code::out_of_memory,
                             std::string("the host ran out of memory: ") + error.what());
    }
    if (!status.ok()) {
      status.message = task.name + ": " + status.message;
      failure = std::make_shared<const Status>(std::move(status));
    }
  }
  for (const Access& access : task.accesses) {
    if (!access.writes) continue;
    if (failure) {
      access.storage->failure = failure;
    } else if (access.whole && !access.reads) {
      access.storage->failure.reset();
    }
    if (task.faults) {
      access.storage->faults = task.faults;
    } else if (access.whole && !access.reads) {
      access.storage->faults.reset();
    }
  }
  if (task.done) task.done(failure ? *failure : Status{});
}

}  // namespace firesteel
