// One block per group, of a fixed size, so that a group's result depends on its own values alone.
// For the batch's scale one large block goes first and walks all rows.
#include "kernels/group_norm/group_norm.h"

#include <string.h>

#include "runtime/cuda/context.h"
#include "runtime/cuda/launch.h"
#include "runtime/cuda/ptx.h"
#include "runtime/cuda/reduce.h"

namespace firesteel {
namespace {

constexpr int kGroupThreads = 128;
constexpr int kBatchThreads = 1024;

// The valid values of a group, or the finite ones among them of the batch.
struct Members {
  const float* values;
  const uint8_t* valid;
  const int32_t* index;
  int64_t begin, end;
  bool finite_only;

  // body(row) for the members that fall to this thread
  template <class Body>
  __device__ __forceinline__ void each(Body body) const {
    for (int64_t i = begin + threadIdx.x; i < end; i += blockDim.x) {
      const int64_t row = index != nullptr ? index[i] : i;
      if (valid != nullptr && valid[row] == 0) continue;
      if (!finite_only || isfinite(values[row])) body(row);
    }
  }
};

// Unsigned integers in the order of the numbers; -0 is next to +0.
__device__ __forceinline__ uint64_t order_key(double x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits >> 63 ? ~bits : bits | uint64_t{1} << 63;
}
__device__ __forceinline__ double from_order_key(uint64_t key) {
  const uint64_t bits = key >> 63 ? key & ~(uint64_t{1} << 63) : ~key;
  double x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

// The lower median of value(x) over `count` > 0 members, exact: its key is found digit by digit, by
// counting the digits of the keys that share the ones found so far. Eight passes, whatever the
// size.
template <class Value>
__device__ double lower_median(const Members& members, int64_t count, Value value) {
  constexpr int kDigitBits = 8, kDigits = 1 << kDigitBits;
  FIRESTEEL_SHARED(unsigned, counts, kDigits);
  FIRESTEEL_SHARED(unsigned, found, 2);  // the digit, and the rank among the keys that share it
  uint64_t key = 0, known = 0;           // known: mask of the bits found
  unsigned rank = static_cast<unsigned>((count - 1) / 2);
  for (int shift = 64 - kDigitBits; shift >= 0; shift -= kDigitBits) {
    for (int d = threadIdx.x; d < kDigits; d += blockDim.x) counts[d] = 0;
    __syncthreads();
    members.each([&](int64_t row) {
      const uint64_t k = order_key(value(static_cast<double>(members.values[row])));
      if ((k & known) == key) atomicAdd(&counts[k >> shift & (kDigits - 1)], 1u);
    });
    __syncthreads();
    if (threadIdx.x == 0) {
      unsigned digit = 0;
      while (rank >= counts[digit]) rank -= counts[digit++];
      found[0] = digit;
      found[1] = rank;
    }
    __syncthreads();
    key |= static_cast<uint64_t>(found[0]) << shift;
    known |= static_cast<uint64_t>(kDigits - 1) << shift;
    rank = found[1];
  }
  return from_order_key(key);
}

struct Statistics {
  int64_t count;
  bool equal;  // all of them; true for fewer than two
  bool wrong;  // one that is not finite makes mean and median NaN
  double mean, median;
};

__device__ Statistics statistics(const Members& members, bool with_median) {
  float low = INFINITY, high = -INFINITY;
  int64_t count = 0;
  int wrong = 0;
  double sum = 0.0;
  members.each([&](int64_t row) {
    const float x = members.values[row];
    low = fminf(low, x);
    high = fmaxf(high, x);
    wrong |= !isfinite(x);
    sum += static_cast<double>(x);
    ++count;
  });
  Statistics s;
  s.count = block_sum(count);
  s.wrong = block_max(wrong) != 0;
  low = block_min(low);
  high = block_max(high);
  sum = block_sum(sum);
  s.equal = s.count < 2 || (!s.wrong && low == high);
  if (s.wrong) {
    s.mean = static_cast<double>(NAN);
  } else if (s.equal) {
    s.mean = s.count > 0 ? static_cast<double>(low) : 0.0;
  } else {
    s.mean = sum / static_cast<double>(s.count);
  }
  s.median = s.mean;
  if (with_median && !s.equal && !s.wrong) {
    s.median = lower_median(members, s.count, [](double x) { return x; });
  }
  return s;
}

// Before eps; 0 where all are equal.
__device__ double scale_of(const Members& members, const Statistics& s, Scale scale, int ddof) {
  if (s.equal) return 0.0;
  if (s.wrong) return s.mean;
  if (scale == Scale::none) return 1.0;
  if (scale == Scale::median_deviation) {
    return lower_median(members, s.count, [&](double x) { return fabs(x - s.median); });
  }
  double square = 0.0;
  members.each([&](int64_t row) {
    const double away = static_cast<double>(members.values[row]) - s.mean;
    square += away * away;
  });
  return ::sqrt(block_sum(square) / static_cast<double>(s.count - ddof));
}

__global__ void __launch_bounds__(kBatchThreads, 1)
    batch_scale_kernel(GroupNormArgs a, double* batch_scale) {
  const Members all{a.values, a.valid, nullptr, 0, a.rows, true};
  const Statistics s = statistics(all, a.scale == Scale::median_deviation);
  const double scale = scale_of(all, s, a.scale, a.ddof);
  if (threadIdx.x == 0) *batch_scale = scale;
}

// `batch_scale`: null where each group has its own.
__global__ void __launch_bounds__(kGroupThreads, 1)
    group_norm_kernel(GroupNormArgs a, const double* batch_scale) {
  const int64_t g = blockIdx.x;
  const Members group{a.values, a.valid, a.index, a.group_offsets[g], a.group_offsets[g + 1],
                      false};
  const bool own_scale = batch_scale == nullptr;
  const Statistics s = statistics(
      group, a.center == Center::median || (own_scale && a.scale == Scale::median_deviation));
  double center = a.center == Center::median ? s.median : s.mean;
  if (a.center == Center::none && !s.wrong) center = 0.0;
  const double scale =
      own_scale || s.equal || s.wrong ? scale_of(group, s, a.scale, a.ddof) : *batch_scale;
  const double divisor = a.scale == Scale::none ? scale : scale + static_cast<double>(a.eps);

  if (s.wrong) {
    group.each([&](int64_t row) {
      if (!isfinite(a.values[row])) record_fault(a.faults, Fault::not_a_number, row);
    });
  }
  for (int64_t i = group.begin + threadIdx.x; i < group.end; i += kGroupThreads) {
    const int64_t row = a.index != nullptr ? a.index[i] : i;
    const bool counts = !s.equal && divisor != 0.0 && (a.valid == nullptr || a.valid[row] != 0);
    const double x = static_cast<double>(a.values[row]);
    a.advantage[row] = counts ? static_cast<float>((x - center) / divisor) : 0.0f;
  }
  if (threadIdx.x == 0) {
    a.center_out[g] = static_cast<float>(center);
    a.scale_out[g] = static_cast<float>(scale);
  }
}

}  // namespace

int64_t group_norm_workspace(int64_t, int64_t) {
  return sizeof(double);
}

Status group_norm(Context& context, const GroupNormArgs& a) {
  double* batch_scale = nullptr;
  LaunchShape shape;
  if (a.scale != Scale::none && a.scope == Scope::batch) {
    batch_scale = static_cast<double*>(a.workspace);
    shape.grid = dim3(1);
    shape.block = dim3(kBatchThreads);
    const Status status = launch(context, "group_norm", shape, batch_scale_kernel, a, batch_scale);
    if (!status.ok()) return status;
  }
  shape.grid = dim3(static_cast<unsigned>(a.groups));
  shape.block = dim3(kGroupThreads);
  return launch(context, "group_norm", shape, group_norm_kernel, a, batch_scale);
}

}  // namespace firesteel
