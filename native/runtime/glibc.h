// A hidden function that jumps to one of a shared library: its old version, or another name.
#pragma once
#include <cstddef>  // defines __GLIBC__ where that is the C library

#if defined(__x86_64__) && defined(__linux__) && defined(__GLIBC__)
#define FIRESTEEL_JUMP(name, target)                                               \
  __asm__(".pushsection .text." #name                                              \
          ",\"ax\",@progbits\n"                                                    \
          ".globl " #name "\n.hidden " #name "\n.type " #name ",@function\n" #name \
          ":\n  endbr64\n  jmp *" #target                                          \
          "@GOTPCREL(%rip)\n"                                                      \
          ".size " #name ", . - " #name "\n.popsection\n");
#define FIRESTEEL_OLD_SYMBOL(name, version)                 \
  __asm__(".symver old_" #name "," #name "@" version "\n"); \
  FIRESTEEL_JUMP(name, old_##name)
#define FIRESTEEL_OTHER_SYMBOL(name, other) FIRESTEEL_JUMP(name, other)
#endif
