#include "emulator/fiber.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace firesteel {
namespace emulator {
namespace {

constexpr size_t kStacksPerChunk = 64;

size_t guard_bytes() {
  static const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return page;
}
// Fibers end without returning: AddressSanitizer must not take what they left for live frames.
void forget_frames(void* stack, size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(stack, bytes);
#else
  static_cast<void>(stack);
  static_cast<void>(bytes);
#endif
}

size_t slot_bytes() {
  return guard_bytes() + kFiberStack;
}

}  // namespace

#ifdef FIRESTEEL_FIBER_ASM

// Saves the callee-saved registers on the stack it leaves.
extern "C" void firesteel_fiber_switch(void** save, void* load);
asm(R"(
.text
.p2align 4
.hidden firesteel_fiber_switch
.globl firesteel_fiber_switch
.type firesteel_fiber_switch, @function
firesteel_fiber_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size firesteel_fiber_switch, .-firesteel_fiber_switch
)");

void fiber_start(Fiber* fiber, char* stack, void (*entry)()) {
  forget_frames(stack, kFiberStack);
  // As `ret` will find it: six registers, the entry, and the return address that entry never uses,
  // placed so that the stack is aligned as after a call.
  uint64_t* top = reinterpret_cast<uint64_t*>(stack + kFiberStack);
  memset(top - 8, 0, 8 * sizeof *top);
  top[-2] = reinterpret_cast<uint64_t>(entry);
  fiber->stack_pointer = top - 8;
}

void fiber_switch(Fiber* from, Fiber* to) {
  firesteel_fiber_switch(&from->stack_pointer, to->stack_pointer);
}

#else

void fiber_start(Fiber* fiber, char* stack, void (*entry)()) {
  forget_frames(stack, kFiberStack);
  getcontext(&fiber->context);
  fiber->context.uc_stack.ss_sp = stack;
  fiber->context.uc_stack.ss_size = kFiberStack;
  fiber->context.uc_link = nullptr;
  makecontext(&fiber->context, entry, 0);
}

void fiber_switch(Fiber* from, Fiber* to) {
  swapcontext(&from->context, &to->context);
}

#endif

StackPool::~StackPool() {
  for (void* chunk : chunks_) {
    forget_frames(chunk, kStacksPerChunk * slot_bytes());
    munmap(chunk, kStacksPerChunk * slot_bytes());
  }
}

bool StackPool::reserve(size_t count) {
  while (stacks_.size() < count) {
    void* chunk = mmap(nullptr, kStacksPerChunk * slot_bytes(), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (chunk == MAP_FAILED) return false;
    chunks_.push_back(chunk);
    for (size_t i = 0; i < kStacksPerChunk; ++i) {
      char* slot = static_cast<char*>(chunk) + i * slot_bytes();
      if (mprotect(slot, guard_bytes(), PROT_NONE) != 0) return false;
      stacks_.push_back(slot + guard_bytes());
    }
  }
  return true;
}

bool StackPool::is_guard(const void* address) const {
  const char* p = static_cast<const char*>(address);
  for (void* chunk : chunks_) {
    const char* base = static_cast<const char*>(chunk);
    if (p >= base && p < base + kStacksPerChunk * slot_bytes()) {
      return static_cast<size_t>(p - base) % slot_bytes() < guard_bytes();
    }
  }
  return false;
}

}  // namespace emulator
}  // namespace firesteel
