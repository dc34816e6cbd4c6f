#include "runtime/simd/dispatch.h"

#include <stdlib.h>

#include <string>

namespace firesteel {
namespace {

constexpr Isa kIsas[] = {Isa::sse2, Isa::avx2, Isa::avx512, Isa::neon};

Isa best_isa() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  // The builtin also looks at what the operating system saves (XCR0).
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("f16c");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
  return avx512 ? Isa::avx512 : avx2 ? Isa::avx2 : Isa::sse2;
#else
  return Isa::neon;
#endif
}

struct Choice {
  Isa isa = best_isa();
  std::string error;

  Choice() {
    const char* wanted = getenv("FIRESTEEL_ISA");
    if (wanted == nullptr || *wanted == 0) return;
    const Isa best = isa;
    for (const Isa candidate : kIsas) {
      const bool here = candidate <= best && (candidate == Isa::neon) == (best == Isa::neon);
      if (std::string(wanted) == isa_name(candidate) && here) {
        isa = candidate;
        return;
      }
    }
    error = "Expected FIRESTEEL_ISA to be ";
    if (best == Isa::neon) {
      error += "neon";
    } else {
      error += "sse2";
      if (best >= Isa::avx2) error += best == Isa::avx512 ? ", avx2" : " or avx2";
      if (best == Isa::avx512) error += " or avx512";
    }
    error += std::string(" on this machine, received ") + wanted;
  }
};

const Choice& choice() {
  static const Choice made;
  return made;
}

}  // namespace

Isa current_isa() {
  return choice().isa;
}

const char* isa_error() {
  return choice().error.empty() ? nullptr : choice().error.c_str();
}

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::sse2:
      return "sse2";
    case Isa::avx2:
      return "avx2";
    case Isa::avx512:
      return "avx512";
    case Isa::neon:
      return "neon";
  }
  return "unknown";
}

}  // namespace firesteel
