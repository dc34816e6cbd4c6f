#include "runtime/stream.h"

#include <exception>
#include <system_error>

#include "runtime/cpu/pause.h"

namespace firesteel {

namespace {
constexpr int kPauses = 2000;
}

Stream::Stream(std::shared_ptr<Context> context, std::atomic<bool>* cancelled)
    : context_(std::move(context)),
      cancelled_(cancelled),
      exhausted_(std::make_shared<const Status>(
          Status::error(Code::out_of_memory, "the host ran out of memory within a call"))),
      gone_(std::make_shared<const Status>(
          Status::error(Code::disposed, "the engine was disposed before the call ran"))) {}

Stream::~Stream() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    closing_ = true;
  }
  cancelled_->store(true);
  work_.notify_all();
  if (conductor_.joinable()) conductor_.join();
  for (Task& task : queue_) {
    if (task.done) task.done(gone_);
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

// Why the task has failed, or null.
std::shared_ptr<const Status> Stream::run(Task& task) noexcept {
  for (const Access& access : task.accesses) {
    if (access.reads && access.storage->failure) return access.storage->failure;
  }
  try {
    Status status = task.run(*context_);
    if (status.ok()) return nullptr;
    status.message = task.name + ": " + status.message;
    return std::make_shared<const Status>(std::move(status));
  } catch (const std::exception&) {  // std::bad_alloc: kernels throw nothing themselves
    return exhausted_;
  }
}

void Stream::execute(Task& task) noexcept {
  const std::shared_ptr<const Status> failure = run(task);
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
  if (task.done) task.done(failure);
}

}  // namespace firesteel
