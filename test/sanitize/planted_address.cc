// Under AddressSanitizer and UndefinedBehaviorSanitizer: memory of the pool, and arithmetic.
#include <stdint.h>
#include <stdlib.h>

#include <atomic>
#include <limits>
#include <memory>

#include "planted.h"
#include "runtime/memory.h"

namespace {

using firesteel::MemoryPool;
using firesteel::Storage;

// The compiler must not see through a fault and drop it.
template <class T>
T hidden(T value) {
  volatile T kept = value;
  return kept;
}

std::atomic<bool> running{false};

std::shared_ptr<MemoryPool> open_pool() {
  firesteel::ContextPtr opened(nullptr, [](firesteel::Context*) {});
  firesteel::DeviceInfo info;
  if (!device_open(1, &running, &opened, &info).ok()) abort();
  std::shared_ptr<firesteel::Context> context(std::move(opened));
  return std::make_shared<MemoryPool>(context, 1 << 20);
}

std::shared_ptr<Storage> block(MemoryPool& pool) {
  std::shared_ptr<Storage> storage;
  if (!pool.allocate(100, &storage).ok()) abort();
  return storage;
}

void write_at(void* data, int64_t at) {
  volatile char* const bytes = hidden(static_cast<char*>(data));
  bytes[hidden(at)] = 1;
}

void heap_overrun() {
  void* data = malloc(100);
  write_at(data, 100);
  free(data);
}

void tensor_overrun() {
  write_at(block(*open_pool())->data(), 100);
}

void tensor_after_release() {
  std::shared_ptr<Storage> storage = block(*open_pool());
  void* const data = storage->data();
  storage.reset();  // and with it the pool
  write_at(data, 0);
}

void pooled_after_release() {
  const std::shared_ptr<MemoryPool> pool = open_pool();
  std::shared_ptr<Storage> storage = block(*pool);
  void* const data = storage->data();
  storage.reset();  // the pool keeps the block
  write_at(data, 0);
}

void leak() {
  volatile char* lost = static_cast<char*>(malloc(hidden(100)));
  lost[0] = 1;
  lost = nullptr;
}

void signed_overflow() {
  volatile int sum = hidden(std::numeric_limits<int>::max()) + hidden(1);
  static_cast<void>(sum);
}

void division_by_zero() {
  volatile int quotient = hidden(1) / hidden(0);
  static_cast<void>(quotient);
}

void cast_out_of_range() {
  volatile int number = static_cast<int>(hidden(1e20f));
  static_cast<void>(number);
}

void misaligned_load() {
  alignas(8) char bytes[16] = {};
  volatile int64_t value = *reinterpret_cast<int64_t*>(bytes + hidden(1));
  static_cast<void>(value);
}

void index_out_of_bounds() {
  static int numbers[4] = {};
  volatile int value = numbers[hidden(4)];
  static_cast<void>(value);
}

void pointer_overflow() {
  char byte = 0;
  const char* volatile place = hidden(&byte) + hidden(std::numeric_limits<size_t>::max() / 2);
  const char* volatile beyond = place + hidden(std::numeric_limits<size_t>::max() / 2);
  static_cast<void>(beyond);
}

void null_copy() {
  char byte = 0;
  memcpy(&byte, hidden(static_cast<void*>(nullptr)), hidden(size_t{0}));
}

void shift_too_far() {
  volatile int value = hidden(1) << hidden(32);
  static_cast<void>(value);
}

constexpr Planted kFaults[] = {
    {"heap-overrun", "heap-buffer-overflow", heap_overrun},
    {"tensor-overrun", "use-after-poison", tensor_overrun},
    {"tensor-after-release", "heap-use-after-free", tensor_after_release},
    {"pooled-after-release", "use-after-poison", pooled_after_release},
    {"leak", "detected memory leaks", leak},
    {"signed-overflow", "signed integer overflow", signed_overflow},
    {"division-by-zero", "division by zero", division_by_zero},
    {"cast-out-of-range", "outside the range of representable values", cast_out_of_range},
    {"misaligned-load", "misaligned address", misaligned_load},
    {"index-out-of-bounds", "out of bounds", index_out_of_bounds},
    {"pointer-overflow", "overflowed to", pointer_overflow},
    {"null-copy", "null pointer passed as argument", null_copy},
    {"shift-too-far", "shift exponent", shift_too_far},
};

}  // namespace

int main(int count, char** arguments) {
  return run_planted(kFaults, count, arguments);
}
