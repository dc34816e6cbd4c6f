// The library picks its instruction set once per process. A test file that includes this runs
// itself again on every lower one that the machine has.
#pragma once
#include <doctest/doctest.h>
#include <stdlib.h>

#include <string>

#include "runtime/simd/dispatch.h"

#if defined(__linux__) && defined(__x86_64__)
#include <unistd.h>

TEST_CASE("everything holds on every lower instruction set of this machine") {
  using firesteel::Isa;
  if (getenv("FIRESTEEL_ISA") != nullptr) return;
  char self[4096];
  const ssize_t length = readlink("/proc/self/exe", self, sizeof self);
  REQUIRE(length > 0);
  const std::string path(self, static_cast<size_t>(length));
  for (const Isa isa : {Isa::sse2, Isa::avx2}) {
    if (isa >= firesteel::current_isa()) break;
    const std::string name = firesteel::isa_name(isa);
    INFO(name);
    CHECK(system(("FIRESTEEL_ISA=" + name + " '" + path + "' --minimal").c_str()) == 0);
  }
}
#endif
