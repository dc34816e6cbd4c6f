// For LD_PRELOAD: refuses the n-th allocation that the addon makes on the host, by operator new, malloc
// or posix_memalign, also through libstdc++. FIRESTEEL_REFUSE is a file of two numbers that this process and
// the test share: how many to go until one is refused (0: none is), and how many have been refused.
#include <dlfcn.h>
#include <execinfo.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <new>

namespace {

struct Shared {
  int to_go, refused;
};

Shared* shared() {
  static Shared* const mapped = [] {
    const char* path = getenv("FIRESTEEL_REFUSE");
    const int file = path == nullptr ? -1 : open(path, O_RDWR);
    void* memory = file < 0 ? MAP_FAILED
                            : mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    return memory == MAP_FAILED ? nullptr : static_cast<Shared*>(memory);
  }();
  return mapped;
}

bool inside(void* address, const char* library) {
  Dl_info info;
  return dladdr(address, &info) != 0 && info.dli_fname != nullptr &&
         strstr(info.dli_fname, library) != nullptr;
}

thread_local bool looking = false;

// Whether the nearest caller beside libstdc++ is the addon.
bool of_the_addon() {
  void* frames[12];
  const int count = backtrace(frames, 12);
  for (int i = 2; i < count; ++i) {
    if (inside(frames[i], "firesteel.node")) return true;
    if (!inside(frames[i], "libstdc++") && !inside(frames[i], "refuse_host")) return false;
  }
  return false;
}

bool refuse() {
  Shared* state = shared();
  if (state == nullptr || looking || __atomic_load_n(&state->to_go, __ATOMIC_RELAXED) <= 0) {
    return false;
  }
  looking = true;
  const bool refused =
      of_the_addon() && __atomic_sub_fetch(&state->to_go, 1, __ATOMIC_RELAXED) == 0;
  if (refused) __atomic_add_fetch(&state->refused, 1, __ATOMIC_RELAXED);
  looking = false;
  return refused;
}

}  // namespace

void* operator new(size_t bytes) {
  if (refuse()) throw std::bad_alloc();
  void* data = malloc(bytes == 0 ? 1 : bytes);
  if (data == nullptr) throw std::bad_alloc();
  return data;
}
void* operator new[](size_t bytes) { return operator new(bytes); }
void operator delete(void* data) noexcept { free(data); }
void operator delete[](void* data) noexcept { free(data); }
void operator delete(void* data, size_t) noexcept { free(data); }
void operator delete[](void* data, size_t) noexcept { free(data); }

extern "C" int posix_memalign(void** out, size_t align, size_t bytes) {
  static const auto real =
      reinterpret_cast<int (*)(void**, size_t, size_t)>(dlsym(RTLD_NEXT, "posix_memalign"));
  if (!refuse()) return real(out, align, bytes);
  *out = nullptr;
  return 12;  // ENOMEM
}
