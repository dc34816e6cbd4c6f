// Walking an array a vector at a time, the last one in part.
#pragma once
#include "runtime/simd/simd.h"

namespace firesteel {
namespace FIRESTEEL_ISA {
namespace {

// step(i, n): n elements from i on, a whole vector or what is left.
template <class Step>
FIRESTEEL_INLINE void each_vector(int64_t count, const Step& step) {
  int64_t i = 0;
  for (; i + F32::lanes <= count; i += F32::lanes) step(i, F32::lanes);
  if (i < count) step(i, static_cast<int>(count - i));
}

template <class T>
FIRESTEEL_INLINE F32 load_some(const T* p, int n) {
  return n == F32::lanes ? load(p) : load_partial(p, n, 0.0f);
}
template <class T>
FIRESTEEL_INLINE void store_some(T* p, F32 x, int n) {
  n == F32::lanes ? store(p, x) : store_partial(p, x, n);
}

}  // namespace
}  // namespace FIRESTEEL_ISA
}  // namespace firesteel
