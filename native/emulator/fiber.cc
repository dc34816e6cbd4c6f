#include "emulator/fiber.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef FIRESTEEL_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

namespace firesteel {
namespace emulator {
namespace {

constexpr size_t kStacksPerChunk = 64;

size_t guard_bytes() {
  static const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return page;
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

namespace {

void prepare(Fiber* fiber, char* stack, void (*entry)()) {
  // As `ret` will find it: six registers, the entry, and the return address that entry never uses,
  // placed so that the stack is aligned as after a call.
  uint64_t* top = reinterpret_cast<uint64_t*>(stack + kFiberStack);
  memset(top - 8, 0, 8 * sizeof *top);
  top[-2] = reinterpret_cast<uint64_t>(entry);
  fiber->stack_pointer = top - 8;
}

void jump(Fiber* from, Fiber* to) {
  firesteel_fiber_switch(&from->stack_pointer, to->stack_pointer);
}

}  // namespace

#else

namespace {

void prepare(Fiber* fiber, char* stack, void (*entry)()) {
  getcontext(&fiber->context);
  fiber->context.uc_stack.ss_sp = stack;
  fiber->context.uc_stack.ss_size = kFiberStack;
  fiber->context.uc_link = nullptr;
  makecontext(&fiber->context, entry, 0);
}

void jump(Fiber* from, Fiber* to) {
  swapcontext(&from->context, &to->context);
}

}  // namespace

#endif

#ifdef FIRESTEEL_ASAN

namespace {

// Of the switch in progress: whoever arrives learns the bounds of the stack that was left.
thread_local Fiber *leaving = nullptr, *arriving = nullptr;

void depart(Fiber* from, void** frames, Fiber* to) {
  leaving = from;
  arriving = to;
  __sanitizer_start_switch_fiber(frames, to->stack, to->stack_bytes);
}

void arrive() {
  void* frames = arriving->frames;
  arriving->frames = nullptr;
  __sanitizer_finish_switch_fiber(frames, &leaving->stack, &leaving->stack_bytes);
}

void enter() {
  arrive();
  arriving->entry();
}

}  // namespace

void fiber_start(Fiber* fiber, char* stack, void (*entry)()) {
  allow_access(stack, kFiberStack);  // the fiber before ended without returning from its frames
  fiber->stack = stack;
  fiber->stack_bytes = kFiberStack;
  fiber->frames = nullptr;
  fiber->entry = entry;
  prepare(fiber, stack, enter);
}

void fiber_switch(Fiber* from, Fiber* to) {
  depart(from, &from->frames, to);
  jump(from, to);
  arrive();
}

void fiber_leave(Fiber* from, Fiber* to) {
  depart(from, nullptr, to);
  jump(from, to);
  __builtin_unreachable();
}

void fiber_landed(Fiber* from, Fiber* to) {
  depart(from, nullptr, to);
  arrive();
}

// Its frames can be given back only by being on it, as far as AddressSanitizer knows.
void fiber_forget(Fiber* fiber) {
  if (fiber->frames == nullptr) return;
  Fiber here;
  depart(&here, &here.frames, fiber);
  arrive();
  fiber_landed(fiber, &here);
}

#else

void fiber_start(Fiber* fiber, char* stack, void (*entry)()) {
  prepare(fiber, stack, entry);
}

void fiber_switch(Fiber* from, Fiber* to) {
  jump(from, to);
}

void fiber_leave(Fiber* from, Fiber* to) {
  jump(from, to);
  __builtin_unreachable();
}

void fiber_landed(Fiber*, Fiber*) {}

void fiber_forget(Fiber*) {}

#endif

StackPool::~StackPool() {
  for (void* chunk : chunks_) {
    allow_access(chunk, kStacksPerChunk * slot_bytes());
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
