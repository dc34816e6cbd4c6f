// Copies to shared memory on their way. What they bring appears when their thread awaits them.
#include <string.h>

#include "emulator/scheduler.h"

namespace firesteel {
namespace emulator {

void Scheduler::copy_start(const Arena& arena, size_t offset, const void* from, int bytes,
                           const char* name, int64_t index) {
  require_aligned(arena.bytes + offset, kCopyBytes);
  if (bytes > 0) require_aligned(from, kCopyBytes);
  if (bytes < 0 || bytes > kCopyBytes) fail("an asynchronous copy takes 0 to 16 bytes");
  touch_shared(arena, offset, kCopyBytes, Use::copy_start, nullptr, name, index);
  Copy copy{&arena, offset, name, index, current->groups, {}};
  if (bytes > 0) memcpy(copy.bytes, from, static_cast<size_t>(bytes));
  current->copies.push_back(copy);
}
void Scheduler::copy_commit() {
  ++current->groups;
}
void Scheduler::copy_wait(int groups_left) {
  std::vector<Copy>& copies = current->copies;
  const uint64_t left = static_cast<uint64_t>(groups_left);
  size_t ended = 0;
  for (; ended < copies.size() && copies[ended].group + left < current->groups; ++ended) {
    const Copy& copy = copies[ended];
    touch_shared(*copy.arena, copy.offset, kCopyBytes, Use::copy_end, copy.bytes, copy.name,
                 copy.index);
    memcpy(copy.arena->bytes + copy.offset, copy.bytes, kCopyBytes);
  }
  copies.erase(copies.begin(), copies.begin() + static_cast<std::ptrdiff_t>(ended));
}

void copy_start(const Arena& arena, size_t offset, const void* from, int bytes, const char* name,
                int64_t index) {
  scheduler().copy_start(arena, offset, from, bytes, name, index);
}
void copy_commit() {
  scheduler().copy_commit();
}
void copy_wait(int groups_left) {
  scheduler().copy_wait(groups_left);
}

}  // namespace emulator
}  // namespace firesteel
