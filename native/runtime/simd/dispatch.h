// Which instruction set runs. Every per-ISA object exports one table of functions; the family's
// cpu.cc declares them with FIRESTEEL_DISPATCH and gets the one that fits this machine.
#pragma once

namespace firesteel {

enum class Isa { sse2, avx2, avx512, neon };

// The best that machine and operating system offer, found once; the environment variable
// FIRESTEEL_ISA=sse2|avx2|avx512|neon asks for a lower one.
Isa current_isa();
const char* isa_name(Isa);

// Null, or what is wrong with FIRESTEEL_ISA (a name that is unknown, or beyond this machine).
// Whoever makes an engine asks first: nothing runs on another instruction set than the one asked
// for.
const char* isa_error();

}  // namespace firesteel

// In namespace firesteel: declares the per-ISA tables `name` and the function name() that picks
// one.
#if defined(__x86_64__)
#define FIRESTEEL_DISPATCH(Table, name)   \
  namespace sse2 {                        \
  extern const Table name;                \
  }                                       \
  namespace avx2 {                        \
  extern const Table name;                \
  }                                       \
  namespace avx512 {                      \
  extern const Table name;                \
  }                                       \
  static const Table& name() {            \
    switch (::firesteel::current_isa()) { \
      case ::firesteel::Isa::avx512:      \
        return avx512::name;              \
      case ::firesteel::Isa::avx2:        \
        return avx2::name;                \
      default:                            \
        return sse2::name;                \
    }                                     \
  }
#elif defined(__aarch64__)
#define FIRESTEEL_DISPATCH(Table, name) \
  namespace neon {                      \
  extern const Table name;              \
  }                                     \
  static const Table& name() { return neon::name; }
#else
#error "firesteel knows x86-64 and AArch64"
#endif
