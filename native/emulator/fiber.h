// Stackful fibers: one per CUDA thread of the blocks that run together. All fibers of a launch run
// on the operating-system thread that launched it.
#pragma once
#include <stddef.h>

#include <vector>

#if defined(__linux__) && defined(__x86_64__) && !defined(FIRESTEEL_FIBER_UCONTEXT)
#define FIRESTEEL_FIBER_ASM 1
#else
#include <ucontext.h>
#endif

namespace firesteel {
namespace emulator {

constexpr size_t kFiberStack = size_t{64} << 10;

struct Fiber {
#ifdef FIRESTEEL_FIBER_ASM
  void* stack_pointer = nullptr;
#else
  ucontext_t context;
#endif
};

// `entry` runs at the first switch to the fiber and must not return. `stack` is the lower end of
// kFiberStack bytes. A fiber that is never switched to again is forgotten by starting another on
// its stack.
void fiber_start(Fiber* fiber, char* stack, void (*entry)());
void fiber_switch(Fiber* from, Fiber* to);

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
