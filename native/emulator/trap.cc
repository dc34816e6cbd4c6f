// Kernels run in this process: what on a card ends the launch (a wild address, a stack that is too
// small, a trap) would end the process here. The handlers turn it into a failed launch, and pass on
// every signal that no kernel of this thread caused.
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>

#include <mutex>

#include "emulator/scheduler.h"

namespace firesteel {
namespace emulator {
namespace {

constexpr size_t kSignalStack = size_t{64} << 10;
constexpr int kSignals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
constexpr size_t kCount = sizeof kSignals / sizeof kSignals[0];

struct Trap {
  sigjmp_buf landing;
  int signal;
  void* address;
};
__thread Trap* armed = nullptr;  // while kernels of this thread run

struct sigaction previous[kCount];

void pass_on(int signal, siginfo_t* info, void* context) {
  for (size_t i = 0; i < kCount; ++i) {
    if (kSignals[i] != signal) continue;
    const struct sigaction& action = previous[i];
    if ((action.sa_flags & SA_SIGINFO) != 0) {
      action.sa_sigaction(signal, info, context);
    } else if (action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN) {
      sigaction(signal, &action, nullptr);  // the instruction faults again, now without us
    } else {
      action.sa_handler(signal);
    }
  }
}

void on_signal(int signal, siginfo_t* info, void* context) {
  Trap* trap = armed;
  if (trap == nullptr) {
    pass_on(signal, info, context);
    return;
  }
  armed = nullptr;
  trap->signal = signal;
  trap->address = info->si_addr;
  siglongjmp(trap->landing, 1);
}

// The handlers stand only while a launch runs, so that outside the process has its own.
class Handlers {
 public:
  void enter() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (launches_++ > 0) return;
    for (size_t i = 0; i < kCount; ++i) {
      struct sigaction action = {};
      action.sa_sigaction = on_signal;
      action.sa_flags = SA_SIGINFO | SA_ONSTACK;
      sigemptyset(&action.sa_mask);
      sigaction(kSignals[i], &action, &previous[i]);
    }
  }
  void leave() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (--launches_ > 0) return;
    for (size_t i = 0; i < kCount; ++i) sigaction(kSignals[i], &previous[i], nullptr);
  }

 private:
  std::mutex mutex_;
  int launches_ = 0;
};
Handlers handlers;

// A handler cannot run on a fiber's stack that has just overflowed.
class SignalStack {
 public:
  SignalStack() {
    memory_ =
        mmap(nullptr, kSignalStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  }
  ~SignalStack() {
    if (memory_ != MAP_FAILED) munmap(memory_, kSignalStack);
  }
  void enter() {
    stack_t stack = {};
    stack.ss_sp = memory_;
    stack.ss_size = kSignalStack;
    entered_ = memory_ != MAP_FAILED && sigaltstack(&stack, &outer_) == 0;
  }
  void leave() {
    if (entered_) sigaltstack(&outer_, nullptr);
  }

 private:
  void* memory_;
  stack_t outer_{};
  bool entered_ = false;
};

}  // namespace

void run_guarded(Scheduler& s, void (*work)(Scheduler&), void (*caught)(Scheduler&, const char*)) {
  static thread_local SignalStack signals;
  static thread_local Trap trap;
  signals.enter();
  handlers.enter();
  if (sigsetjmp(trap.landing, 1) == 0) {
    armed = &trap;
    work(s);
    armed = nullptr;
    handlers.leave();
    signals.leave();
    return;
  }
  s.landed();
  handlers.leave();
  signals.leave();
  char text[128];
  if (s.stacks().is_guard(trap.address)) {
    snprintf(text, sizeof text, "stack overflow: a thread has %zu bytes", kFiberStack);
  } else if (trap.signal == SIGFPE) {
    snprintf(text, sizeof text, "integer division by zero or overflow");
  } else if (trap.signal == SIGILL) {
    snprintf(text, sizeof text, "trap");
  } else {
    snprintf(text, sizeof text, "illegal memory access at %p", trap.address);
  }
  caught(s, text);
}

}  // namespace emulator
}  // namespace firesteel
