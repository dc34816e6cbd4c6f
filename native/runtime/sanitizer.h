// What AddressSanitizer cannot see by itself: memory that stays mapped while it is nobody's.
// Without it these functions are empty.
#pragma once
#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__)
#define FIRESTEEL_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FIRESTEEL_ASAN 1
#endif
#endif

#ifdef FIRESTEEL_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace firesteel {

// From now on a touch of these bytes ends the process with a report.
inline void forbid_access(const void* data, size_t bytes) {
#ifdef FIRESTEEL_ASAN
  __asan_poison_memory_region(data, bytes);
#else
  static_cast<void>(data);
  static_cast<void>(bytes);
#endif
}

inline void allow_access(const void* data, size_t bytes) {
#ifdef FIRESTEEL_ASAN
  __asan_unpoison_memory_region(data, bytes);
#else
  static_cast<void>(data);
  static_cast<void>(bytes);
#endif
}

}  // namespace firesteel
