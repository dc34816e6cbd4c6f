// The in-order stream of an engine. Tasks run one after the other on a conductor thread; a small
// task that finds the stream idle runs at once on the caller.
//
// A task that fails poisons what it should have written: tasks that read it do not run and poison
// their own outputs with the same error, everything else goes on.
#pragma once
#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "runtime/memory.h"

namespace firesteel {

// One storage that a task touches.
struct Access {
  std::shared_ptr<Storage> storage;
  bool reads;
  bool writes;
  bool whole;  // the write covers the storage: an earlier failure in it is gone
};

struct Task {
  std::string name;  // of the call, for error messages
  std::vector<Access> accesses;
  std::vector<std::shared_ptr<Storage>> kept;  // workspaces: alive until the task is done
  std::shared_ptr<FaultRecord> faults;         // hung on the outputs when the task has run
  std::function<Status(Context&)> run;
  // Called after the task, on the thread that ran it, with the task's own outcome (poison of what
  // it reads included): why it failed, or null. Called for every task that was submitted, also when
  // the stream shuts down first (Code::disposed). Throws nothing.
  std::function<void(const std::shared_ptr<const Status>&)> done;
};

class Stream {
 public:
  Stream(std::shared_ptr<Context> context, std::atomic<bool>* cancelled);
  ~Stream();

  // Waits while kMaxQueued tasks are ahead: a caller that never reads anything must not fill the
  // memory with results that nobody has asked for. Where it throws (std::bad_alloc) the task was
  // not submitted.
  void submit(Task task, bool small);
  void wait();  // until everything submitted before has run
  bool idle();  // nothing queued or running

 private:
  static constexpr size_t kMaxQueued = 256;

  std::shared_ptr<const Status> run(Task& task) noexcept;
  void execute(Task& task) noexcept;
  void conduct();

  std::shared_ptr<Context> context_;
  std::atomic<bool>* cancelled_;
  // Said where there may be no memory left to say anything.
  const std::shared_ptr<const Status> exhausted_, gone_;
  std::mutex mutex_;
  std::condition_variable work_, quiet_, room_;
  std::deque<Task> queue_;
  std::atomic<size_t> queued_{0};  // of queue_, for a look without the lock
  bool busy_ = false;              // a task is running, on the conductor or inline
  bool closing_ = false;
  std::thread conductor_;  // started by the first task that is queued; without it all run inline
};

}  // namespace firesteel
