#include "nn/rope/rope.h"

#include <algorithm>
#include <cmath>

#include "nn/rope/table.h"
#include "runtime/cpu/context.h"
#include "runtime/float_type.h"
#include "runtime/simd/dispatch.h"

namespace firesteel {

FIRESTEEL_DISPATCH(RopeTable, rope_table)

namespace {

// 64 KiB of a thread's stack.
constexpr uint32_t kKnownPositions = 32;

struct Circle {
  bool known = false;
  int32_t position;
  float cosine[kRopeMaxHalf], sine[kRopeMaxHalf];
};

}  // namespace

Status rope(Context& context, const RopeArgs& a) {
  if (a.dtype > DType::f16) return expected_float_type();
  const int64_t half = a.head_dim / 2, width = a.heads * a.head_dim;
  if (width == 0) return {};
  if (half > kRopeMaxHalf) {
    return Status::error(Code::range, "rope: expected a head_dim of at most 512");
  }
  double theta[kRopeMaxHalf];
  for (int64_t i = 0; i < half; ++i) {
    theta[i] = std::pow(a.base, -2.0 * static_cast<double>(i) / static_cast<double>(a.head_dim));
  }
  const RopeTable& table = rope_table();
  const auto turn = table.turn[static_cast<int>(a.dtype)];
  const double direction = a.inverse ? -1.0 : 1.0;
  const char* const x = static_cast<const char*>(a.x);
  char* const y = static_cast<char*>(a.y);
  const int64_t size = size_of(a.dtype);
  // 1 << 14 elements are about 20 us.
  return context.parallel(a.tokens, (1 << 14) / width, [&](int64_t begin, int64_t end) {
    // Rows that are sampled together stand at the same few positions, one behind the other.
    Circle known[kKnownPositions];
    for (int64_t t = begin; t < end; ++t) {
      const int32_t position = a.positions[t];
      Circle& circle = known[static_cast<uint32_t>(position) % kKnownPositions];
      if (!circle.known || circle.position != position) {
        table.circle(half, direction * position, theta, circle.cosine, circle.sine);
        circle.position = position;
        circle.known = true;
      }
      turn(a.heads, half, circle.cosine, circle.sine, x + t * a.x_stride * size,
           y + t * width * size);
    }
  });
}

}  // namespace firesteel
