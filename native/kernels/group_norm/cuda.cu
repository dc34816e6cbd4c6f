// One warp per group and column. Groups of more than kWarpRows rows get a block of their own, in a
// second launch that only batches of so many rows need: which of the two a group takes, and so its
// bits, depends on its own size. The batch's scale comes first, from one block per column.
#include "kernels/group_norm/math.h"

#include <string.h>

#include "runtime/cuda/context.h"
#include "runtime/cuda/launch.h"
#include "runtime/cuda/ptx.h"
#include "runtime/cuda/reduce.h"

namespace firesteel {
namespace {

constexpr int kWarpRows = 1024;
constexpr int kWarps = 4;  // of a block of groups
constexpr int kBlockThreads = 512;

// For medians: how many keys have each value of one digit; the digit found, and the rank that is
// looked for among the keys that share it.
constexpr int kDigitBits = 8, kDigits = 1 << kDigitBits;
constexpr int kScratch = kDigits + 2;

// Who works on a set together.
struct WarpTeam {
  static constexpr int size = kWarp;
  SharedPtr<unsigned> scratch;  // [kScratch]
  __device__ __forceinline__ int rank() const { return threadIdx.x % kWarp; }
  __device__ __forceinline__ void sync() const { __syncwarp(); }
  template <class Op, class T>
  __device__ __forceinline__ T reduce(T value, Op op) const {
    return warp_reduce(value, op);
  }
};

struct BlockTeam {
  static constexpr int size = kBlockThreads;
  SharedPtr<unsigned> scratch;
  __device__ __forceinline__ int rank() const { return threadIdx.x; }
  __device__ __forceinline__ void sync() const { __syncthreads(); }
  template <class Op, class T>
  __device__ __forceinline__ T reduce(T value, Op op) const {
    return block_reduce(value, op);
  }
};

// Unsigned integers in the order of the numbers; -0 is next to +0.
__device__ __forceinline__ uint32_t order_key(float x) {
  const uint32_t bits = float_bits(x);
  return bits >> 31 ? ~bits : bits | uint32_t{1} << 31;
}
__device__ __forceinline__ float from_order_key(uint32_t key) {
  return bits_float(key >> 31 ? key & ~(uint32_t{1} << 31) : ~key);
}
// Of numbers >= 0: their bits.
__device__ __forceinline__ uint64_t distance_key(double x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}
__device__ __forceinline__ double from_distance_key(uint64_t key) {
  double x;
  memcpy(&x, &key, sizeof x);
  return x;
}

__device__ __forceinline__ int64_t row_at(const GroupNormArgs& a, int64_t position) {
  return a.index != nullptr ? a.index[position] : position;
}
__device__ __forceinline__ bool is_valid(const GroupNormArgs& a, int64_t row, int64_t column) {
  return a.valid == nullptr || a.valid[a.valid_per_column ? row * a.columns + column : row] != 0;
}

// The set of math.h: the values of one column at the positions begin .. end of the group order.
template <class Team>
struct Members {
  const GroupNormArgs& a;
  int64_t begin, end, column;
  bool finite_only;
  Team team;

  // body(value) for those that fall to this thread
  template <class Body>
  __device__ __forceinline__ void each(Body body) const {
#pragma unroll 4
    for (int64_t i = begin + team.rank(); i < end; i += Team::size) {
      const int64_t row = row_at(a, i);
      const float x = a.values[row * a.columns + column];  // read in any case: loads overlap
      const bool counts =
          is_valid(a, row, column) && (!finite_only || is_finite(static_cast<double>(x)));
      if (counts) body(x);
    }
  }

  __device__ Extent extent(float but) const {
    Extent own;
    each([&](float x) {
      if (x != but) own.add(x);
    });
    Extent all;
    all.count = team.reduce(own.count, Sum{});
    all.sum = team.reduce(own.sum, Sum{});
    all.low = team.reduce(own.low, Min{});
    all.high = team.reduce(own.high, Max{});
    all.wrong = team.reduce(own.wrong ? 1 : 0, Max{}) != 0;
    return all;
  }

  template <class Term>
  __device__ double sum(float but, Term term) const {
    double own = 0.0;
    each([&](float x) {
      if (x != but) own += term(static_cast<double>(x));
    });
    return team.reduce(own, Sum{});
  }

  __device__ double median() const {
    return static_cast<double>(
        from_order_key(lower_median<uint32_t>([](float x) { return order_key(x); })));
  }
  __device__ double median_distance(double from) const {
    return from_distance_key(lower_median<uint64_t>(
        [from](float x) { return distance_key(::fabs(static_cast<double>(x) - from)); }));
  }

 private:
  // The lower median of the keys, exact: it is found digit by digit, by counting the digits of the
  // keys that share the ones found so far. As many passes as a key has bytes, whatever the size.
  template <class Key, class KeyOf>
  __device__ Key lower_median(KeyOf key_of) const {
    int64_t count = 0;
    each([&](float) { ++count; });
    unsigned rank = static_cast<unsigned>((team.reduce(count, Sum{}) - 1) / 2);
    Key key = 0, known = 0;  // known: mask of the bits found
    for (int shift = 8 * static_cast<int>(sizeof(Key)) - kDigitBits; shift >= 0;
         shift -= kDigitBits) {
      for (int d = team.rank(); d < kDigits; d += Team::size) team.scratch[d] = 0;
      team.sync();
      each([&](float x) {
        const Key k = key_of(x);
        if ((k & known) == key) {
          atomicAdd(&team.scratch[static_cast<int>(k >> shift & (kDigits - 1))], 1u);
        }
      });
      team.sync();
      if (team.rank() < kWarp) find_digit(rank);
      team.sync();
      key |= static_cast<Key>(team.scratch[kDigits]) << shift;
      known |= static_cast<Key>(kDigits - 1) << shift;
      rank = team.scratch[kDigits + 1];
    }
    return key;
  }

  // By one warp, each lane with a run of digits: the digit of the key at `rank`.
  __device__ void find_digit(unsigned rank) const {
    constexpr int kRun = kDigits / kWarp;
    const int first = team.rank() * kRun;
    unsigned own = 0;
    for (int d = first; d < first + kRun; ++d) own += team.scratch[d];
    unsigned before = own;  // and own, until it is taken off
    for (int distance = 1; distance < kWarp; distance *= 2) {
      const unsigned below = __shfl_up_sync(kFullWarp, before, distance);
      if (team.rank() >= distance) before += below;
    }
    before -= own;
    if (rank < before || rank - before >= own) return;
    unsigned left = rank - before;
    int digit = first;
    for (unsigned here = team.scratch[digit]; left >= here; here = team.scratch[digit]) {
      left -= here;
      ++digit;
    }
    team.scratch[kDigits] = static_cast<unsigned>(digit);
    team.scratch[kDigits + 1] = left;
  }
};

// `batch_scales`: [K], not read where each group has its own.
template <class Team>
__device__ void normalize(const GroupNormArgs& a, const double* batch_scales, int64_t group,
                          int64_t column, Team team) {
  const int64_t at = group * a.columns + column;
  const Members<Team> members{
      a, a.group_offsets[group], a.group_offsets[group + 1], column, false, team};
  const double ema = a.ema != nullptr ? static_cast<double>(a.ema[at]) : a.ema_of_all;
  const double shared = a.rule.scope == Scope::group ? 0.0 : batch_scales[column];
  const Normalizer n = normalizer(members, a.rule, ema, shared);
  for (int64_t i = members.begin + team.rank(); i < members.end; i += Team::size) {
    const int64_t row = row_at(a, i), place = row * a.columns + column;
    const bool counts = is_valid(a, row, column);
    const float x = a.values[place];
    if (counts && !is_finite(static_cast<double>(x))) {
      record_fault(a.faults, Fault::not_a_number, row);
    }
    a.advantage[place] = counts ? advantage_of(a.rule, n, x) : 0.0f;
  }
  if (team.rank() != 0) return;
  a.center_out[at] = static_cast<float>(n.center);
  a.scale_out[at] = static_cast<float>(n.scale);
  if (a.rule.center == Center::ema && !is_finite(ema) && !is_finite(n.center)) {
    record_fault(a.faults, Fault::not_a_number, row_at(a, members.begin));
  }
}

__global__ void __launch_bounds__(kBlockThreads, 1)
    batch_scale_kernel(GroupNormArgs a, double* batch_scales) {
  FIRESTEEL_SHARED(unsigned, scratch, kScratch);
  const Members<BlockTeam> all{a, 0, a.rows, blockIdx.x, true, {scratch}};
  const double scale = batch_scale(all, a.rule);
  if (threadIdx.x == 0) batch_scales[blockIdx.x] = scale;
}

__global__ void __launch_bounds__(kWarps* kWarp, 1)
    small_group_kernel(GroupNormArgs a, const double* batch_scales) {
  FIRESTEEL_SHARED(unsigned, scratch, kWarps* kScratch);
  const int warp = threadIdx.x / kWarp;
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kWarps + warp;
  if (at >= a.groups * a.columns) return;
  const int64_t group = at / a.columns;
  if (a.group_offsets[group + 1] - a.group_offsets[group] > kWarpRows) return;
  normalize(a, batch_scales, group, at % a.columns, WarpTeam{scratch + warp * kScratch});
}

// Block m of a column takes the large group that holds position m * kWarpRows, if that is the first
// such position in it. A large group holds at least one.
__global__ void __launch_bounds__(kBlockThreads, 1)
    large_group_kernel(GroupNormArgs a, const double* batch_scales) {
  FIRESTEEL_SHARED(unsigned, scratch, kScratch);
  const int64_t position = blockIdx.x / a.columns * kWarpRows;
  int64_t low = 0, high = a.groups;  // offsets[low] <= position < offsets[high]
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    if (a.group_offsets[middle] <= position) {
      low = middle;
    } else {
      high = middle;
    }
  }
  const int64_t begin = a.group_offsets[low];
  if (a.group_offsets[low + 1] - begin <= kWarpRows || position - begin >= kWarpRows) return;
  normalize(a, batch_scales, low, blockIdx.x % a.columns, BlockTeam{scratch});
}

}  // namespace

int64_t group_norm_workspace(const GroupNormArgs& a) {
  return a.columns * static_cast<int64_t>(sizeof(double));
}

Status group_norm(Context& context, const GroupNormArgs& a) {
  double* batch_scales = static_cast<double*>(a.workspace);
  const int64_t small_blocks = (a.groups * a.columns + kWarps - 1) / kWarps;
  const int64_t large_blocks =
      a.rows > kWarpRows ? (a.rows + kWarpRows - 1) / kWarpRows * a.columns : 0;
  if (small_blocks > kMaxGridX || large_blocks > kMaxGridX || a.columns > kMaxGridX) {
    return Status::error(Code::range, "group_norm: too many groups and columns");
  }
  LaunchShape shape;
  shape.block = dim3(kBlockThreads);
  if (a.rule.scope != Scope::group) {
    shape.grid = dim3(static_cast<unsigned>(a.columns));
    const Status scaled = launch(context, "group_norm", shape, batch_scale_kernel, a, batch_scales);
    if (!scaled.ok()) return scaled;
  }
  shape.grid = dim3(static_cast<unsigned>(large_blocks));
  const Status large = launch(context, "group_norm", shape, large_group_kernel, a, batch_scales);
  if (!large.ok()) return large;
  shape.grid = dim3(static_cast<unsigned>(small_blocks));
  shape.block = dim3(kWarps * kWarp);
  return launch(context, "group_norm", shape, small_group_kernel, a, batch_scales);
}

}  // namespace firesteel
