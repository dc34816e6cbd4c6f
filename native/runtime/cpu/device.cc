// The CPU as a device: host memory, threads, limits of the cgroup.
#include "runtime/device.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <system_error>

#include "runtime/cpu/context.h"
#include "runtime/simd/dispatch.h"

namespace firesteel {
namespace {

// cgroup v2 writes "max" where there is no limit.
int64_t cgroup_number(const char* path) {
  std::ifstream file(path);
  int64_t value = 0;
  return file >> value ? value : 0;
}

int64_t usable_memory() {
  int64_t bytes = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
  for (const char* path :
       {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    const int64_t limit = cgroup_number(path);
    if (limit > 0) bytes = std::min(bytes, limit);
  }
  return bytes;
}

int usable_threads() {
  int threads = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) threads = CPU_COUNT(&set);
#endif
  std::ifstream file("/sys/fs/cgroup/cpu.max");  // "quota period" or "max period"
  double quota = 0, period = 0;
  if (file >> quota >> period && period > 0) {
    threads = std::min(threads, std::max(1, static_cast<int>(quota / period + 0.5)));
  }
  return std::max(1, threads);
}

}  // namespace

Status device_open(int threads, const std::atomic<bool>* cancelled, ContextPtr* context,
                   DeviceInfo* info) {
  if (const char* problem = isa_error()) return Status::error(Code::option, problem);
  info->name = isa_name(current_isa());
  info->memory_bytes = usable_memory();
  info->units = usable_threads();
  if (threads == 0) threads = info->units;
  std::shared_ptr<ThreadPool> pool;
  try {
    pool = ThreadPool::shared(threads);
  } catch (const std::system_error& error) {
    return Status::error(Code::out_of_memory,
                         "expected to start " + std::to_string(threads) +
                             " threads but the system refused: " + error.what());
  }
  *context =
      ContextPtr(new Context(std::move(pool), threads, cancelled), [](Context* c) { delete c; });
  return {};
}

Status device_allocate(Context&, int64_t bytes, void** out) {
  // Large rows of logits are walked from end to end: huge pages spare most TLB misses.
  constexpr int64_t kHugePage = int64_t{2} << 20;
  const size_t align = bytes >= 2 * kHugePage ? kHugePage : 256;
  if (posix_memalign(out, align, static_cast<size_t>(bytes)) != 0) {
    *out = nullptr;
    return Status::error(Code::out_of_memory, "the system refused them");
  }
#if defined(__linux__)
  if (align == kHugePage) madvise(*out, static_cast<size_t>(bytes), MADV_HUGEPAGE);
#endif
  return {};
}

void device_free(Context&, void* data, int64_t) {
  free(data);
}

Status copy_to_device(Context&, void* dst, const void* src, int64_t bytes) {
  memmove(dst, src, static_cast<size_t>(bytes));
  return {};
}

Status copy_to_host(Context&, void* dst, const void* src, int64_t bytes) {
  memmove(dst, src, static_cast<size_t>(bytes));
  return {};
}

Status copy_on_device(Context&, void* dst, const void* src, int64_t bytes) {
  memmove(dst, src, static_cast<size_t>(bytes));
  return {};
}

Status device_wait(Context&) {
  return {};
}

}  // namespace firesteel
