// Faults on purpose: a sanitizer run counts only after it has seen these.
//   planted              lists them: name, tab, what the report must say
//   planted NAME         commits one; a process that lives to return 0 was not watched
#pragma once
#include <stdio.h>
#include <string.h>

struct Planted {
  const char* name;
  const char* report;
  void (*commit)();
};

template <size_t N>
int run_planted(const Planted (&faults)[N], int count, char** arguments) {
  for (const Planted& fault : faults) {
    if (count == 1) {
      printf("%s\t%s\n", fault.name, fault.report);
    } else if (strcmp(arguments[1], fault.name) == 0) {
      fault.commit();
      return 0;
    }
  }
  return count == 1 ? 0 : 2;
}
