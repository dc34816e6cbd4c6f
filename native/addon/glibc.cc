// What is compiled here loads where glibc is 2.28 and libstdc++ that of gcc 8 (RHEL 8 and all that
// is younger), though newer ones were linked: a newer glibc's linker binds exp to exp@GLIBC_2.29,
// which an older one lacks. So the addon defines such names itself, hidden, and each jumps to the
// version that both have. x86-64 alone: glibc of other processors began at 2.17 or later.
// native/runtime/cuda/glibc.cc does the same for what NVIDIA's static runtime asks for.
#include "runtime/glibc.h"

#ifdef FIRESTEEL_OLD_SYMBOL
// Same results as version 2.29; these also look for an error handler of SVID, which nobody sets.
FIRESTEEL_OLD_SYMBOL(exp, "GLIBC_2.2.5")
FIRESTEEL_OLD_SYMBOL(exp2, "GLIBC_2.2.5")
FIRESTEEL_OLD_SYMBOL(log, "GLIBC_2.2.5")
FIRESTEEL_OLD_SYMBOL(log2, "GLIBC_2.2.5")
FIRESTEEL_OLD_SYMBOL(pow, "GLIBC_2.2.5")

// std::condition_variable::wait: version 3.4.30 lets a cancelled thread unwind; none is cancelled.
FIRESTEEL_OLD_SYMBOL(_ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE, "GLIBCXX_3.4.11")

// std::__throw_bad_array_new_length(), by the name that the compiler's own support always had.
FIRESTEEL_OTHER_SYMBOL(_ZSt28__throw_bad_array_new_lengthv, __cxa_throw_bad_array_new_length)

// libstdc++ asks it whether counters may do without atomics: never.
extern "C" __attribute__((visibility("hidden"))) char __libc_single_threaded;
char __libc_single_threaded = 0;
#endif
