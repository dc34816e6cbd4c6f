// Stackful fibers: one per CUDA thread of the blocks that run together. All fibers of a launch run
// on the operating-system thread that launched it.
#pragma once
#include <stddef.h>

#include <vector>

#include "runtime/sanitizer.h"

#if defined(__linux__) && defined(__x86_64__) && !defined(FIRESTEEL_FIBER_UCONTEXT)
#define FIRESTEEL_FIBER_ASM 1
#else
#include <ucontext.h>
#endif

namespace firesteel {
namespace emulator {

#ifdef FIRESTEEL_ASAN
constexpr size_t kFiberStack = size_t{256} << 10;  // frames with a fence round every array
#else
constexpr size_t kFiberStack = size_t{64} << 10;
#endif

struct Fiber {
#ifdef FIRESTEEL_FIBER_ASM
  void* stack_pointer = nullptr;
#else
  ucontext_t context;
#endif
#ifdef FIRESTEEL_ASAN
  const void* stack = nullptr;  // lower end
  size_t stack_bytes = 0;
  void* frames = nullptr;  // kept apart from the stack, to see them used after their return
  void (*entry)() = nullptr;
#endif
};

// `entry` runs at the first switch to the fiber and must not return. `stack` is the lower end of
// kFiberStack bytes. AddressSanitizer is told of every switch.
void fiber_start(Fiber* fiber, char* stack, void (*entry)());
void fiber_switch(Fiber* from, Fiber* to);
// The last switch of a fiber that has ended.
[[noreturn]] void fiber_leave(Fiber* from, Fiber* to);
// `from` ended by a jump that went to the stack of `to`.
void fiber_landed(Fiber* from, Fiber* to);
// A fiber that waits is never switched to again. Called from another one.
void fiber_forget(Fiber* fiber);

// Stacks with an inaccessible page below each.
class StackPool {
 public:
  StackPool() = default;
  StackPool(const StackPool&) = delete;
  StackPool& operator=(const StackPool&) = delete;
  ~StackPool();
  bool reserve(size_t count);  // false: the system refused the memory
  char* stack(size_t i) const { return stacks_[i]; }
  bool is_guard(const void* address) const;  // whether a stack overflowed onto this address

 private:
  std::vector<void*> chunks_;
  std::vector<char*> stacks_;
};

}  // namespace emulator
}  // namespace firesteel
