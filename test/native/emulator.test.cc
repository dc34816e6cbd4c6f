// The emulator itself: what a correct kernel computes under every order of threads, and that every
// mistake which a card would punish with a hang, a crash or a wrong number is a failed launch here.
#include <doctest/doctest.h>
#include <stdlib.h>

#include <set>
#include <thread>
#include <vector>

#include "runtime/cuda/ptx.h"
#include "runtime/cuda/reduce.h"
#include "runtime/device.h"

namespace firesteel {
namespace {

const char* const kOrders[] = {"forward", "reverse", "random:1", "random:2"};

struct Ordered {
  explicit Ordered(const char* order) { setenv("FIRESTEEL_EMULATOR_ORDER", order, 1); }
  ~Ordered() { unsetenv("FIRESTEEL_EMULATOR_ORDER"); }
};

Context emulated() {
  Context context;
  context.max_cluster = 8;
  return context;
}

template <class... Params, class... Args>
Status run(LaunchShape shape, void (*kernel)(Params...), Args... args) {
  Context context = emulated();
  return launch(context, "the_kernel", shape, kernel, args...);
}

// The launch failed, and says which kernel and why.
void check_failure(const Status& status, const std::string& why) {
  CAPTURE(status.message);
  CHECK(!status.ok());
  CHECK(status.message.find("the_kernel") != std::string::npos);
  CHECK(status.message.find(why) != std::string::npos);
}

// ---- what works
// ----------------------------------------------------------------------------------

__global__ void coordinates_kernel(int* seen) {
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  atomicAdd(&seen[block * 64 + thread], 1);
}

TEST_CASE("every thread of every block runs once") {
  for (const char* order : kOrders) {
    const Ordered scope(order);
    std::vector<int> seen(3 * 2 * 2 * 64, 0);
    CHECK(run({dim3(3, 2, 2), dim3(8, 4, 2)}, coordinates_kernel, seen.data()).ok());
    for (int count : seen) CHECK(count == 1);
  }
}

__global__ void reverse_kernel(const float* x, float* y) {
  SharedPtr<float> row = dynamic_smem<float>();
  for (int i = 0; i < 3; ++i) {
    row[threadIdx.x] = x[threadIdx.x] + static_cast<float>(i);
    __syncthreads();
    y[threadIdx.x] = row[blockDim.x - 1 - threadIdx.x];
    __syncthreads();
  }
}

TEST_CASE("a barrier orders writes of shared memory before reads") {
  for (const char* order : kOrders) {
    const Ordered scope(order);
    std::vector<float> x(1024), y(1024);
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i);
    CHECK(run({dim3(1), dim3(1024), 4096}, reverse_kernel, x.data(), y.data()).ok());
    for (size_t i = 0; i < x.size(); ++i) CHECK(y[i] == x[x.size() - 1 - i] + 2.0f);
  }
}

__global__ void shuffle_kernel(int* out) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  int* mine = out + threadIdx.x * 8;
  mine[0] = __shfl_sync(kFullWarp, lane * 10, 5);
  mine[1] = __shfl_up_sync(kFullWarp, lane, 3);
  mine[2] = __shfl_down_sync(kFullWarp, lane, 3, 8);
  mine[3] = __shfl_xor_sync(kFullWarp, lane, 12);
  mine[4] = static_cast<int>(__ballot_sync(kFullWarp, lane % 3 == 0));
  mine[5] = __any_sync(kFullWarp, lane == 31);
  mine[6] = __all_sync(kFullWarp, lane < 31);
  if (lane < 16) mine[7] = static_cast<int>(__shfl_sync(0xffffu, double(lane) + 0.5, 15) * 2.0);
}

TEST_CASE("shuffles and votes move what the lane asked for") {
  for (const char* order : kOrders) {
    const Ordered scope(order);
    std::vector<int> out(64 * 8, -1);
    CHECK(run({dim3(1), dim3(64)}, shuffle_kernel, out.data()).ok());
    for (int t = 0; t < 64; ++t) {
      const int lane = t % 32;
      const int* mine = &out[static_cast<size_t>(t) * 8];
      CHECK(mine[0] == 50);
      CHECK(mine[1] == (lane < 3 ? lane : lane - 3));
      CHECK(mine[2] == (lane % 8 + 3 < 8 ? lane + 3 : lane));
      CHECK(mine[3] == (lane ^ 12));
      CHECK(mine[4] == 0x49249249);
      CHECK(mine[5] == 1);
      CHECK(mine[6] == 0);
      CHECK(mine[7] == (lane < 16 ? 31 : -1));
    }
  }
}

__global__ void votes_kernel(int* out) {
  const int count = __syncthreads_count(threadIdx.x < 40);
  const int all = __syncthreads_and(threadIdx.x < 40);
  const int any = __syncthreads_or(threadIdx.x == 95);
  out[threadIdx.x] = count * 100 + all * 10 + any;
}

TEST_CASE("votes of a block count every thread") {
  std::vector<int> out(96);
  CHECK(run({dim3(1), dim3(96)}, votes_kernel, out.data()).ok());
  for (int v : out) CHECK(v == 4001);
}

__global__ void reduce_kernel(const float* x, double* sums, float* bounds) {
  const float v = x[grid_thread()];
  const float sum = block_sum(v);
  const double exact = block_sum(static_cast<double>(v));
  const float most = block_max(v), least = block_min(v);
  const int64_t count = block_sum(int64_t{1} << 33);
  if (threadIdx.x != blockDim.x - 1) return;
  sums[3 * blockIdx.x] = static_cast<double>(sum);
  sums[3 * blockIdx.x + 1] = exact;
  sums[3 * blockIdx.x + 2] = static_cast<double>(count);
  bounds[2 * blockIdx.x] = most;
  bounds[2 * blockIdx.x + 1] = least;
}

TEST_CASE("block reductions give the same bits in every order of threads") {
  std::vector<float> x(2 * 96);
  for (size_t i = 0; i < x.size(); ++i) x[i] = 1.0f / static_cast<float>(i + 1) - 0.02f;
  std::vector<double> first;
  for (const char* order : kOrders) {
    const Ordered scope(order);
    std::vector<double> sums(6);
    std::vector<float> bounds(4);
    CHECK(run({dim3(2), dim3(96)}, reduce_kernel, x.data(), sums.data(), bounds.data()).ok());
    if (first.empty()) first = sums;
    CHECK(sums == first);
    for (size_t b = 0; b < 2; ++b) {
      double exact = 0.0;
      for (size_t i = 0; i < 96; ++i) exact += static_cast<double>(x[b * 96 + i]);
      CHECK(sums[3 * b] == doctest::Approx(exact).epsilon(1e-6));
      CHECK(sums[3 * b + 1] == doctest::Approx(exact).epsilon(1e-14));
      CHECK(sums[3 * b + 2] == 96.0 * 8589934592.0);
      CHECK(bounds[2 * b] == x[b * 96]);
      CHECK(bounds[2 * b + 1] == x[b * 96 + 95]);
    }
  }
}

__global__ void cluster_kernel(const int* x, int* totals) {
  FIRESTEEL_SHARED(int, partial, 8);
  const int sum = block_sum(x[grid_thread()]);
  cluster_arrive();
  cluster_wait();
  if (threadIdx.x == 0) cluster_peer(partial + 0, 0)[cluster_rank()] = sum;
  cluster_sync();
  if (cluster_rank() != 0 || threadIdx.x != 0) return;
  int total = 0;
  for (int i = 0; i < cluster_size(); ++i) total += partial[i];
  totals[static_cast<int>(blockIdx.x) / cluster_size()] = total;
}

TEST_CASE("blocks of a cluster reach each other's shared memory") {
  for (const char* order : kOrders) {
    const Ordered scope(order);
    for (int size : {1, 2, 8}) {
      std::vector<int> x(16 * 64), totals(static_cast<size_t>(16 / size), 0);
      for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<int>(i);
      CHECK(run({dim3(16), dim3(64), 0, size}, cluster_kernel, x.data(), totals.data()).ok());
      for (int c = 0; c < 16 / size; ++c) {
        const int n = size * 64, from = c * n;
        CHECK(totals[static_cast<size_t>(c)] == n * from + n * (n - 1) / 2);
      }
    }
  }
}

__global__ void dynamic_kernel(float* out) {
  SharedPtr<int> numbers = dynamic_smem<int>();
  SharedPtr<float> packs = dynamic_smem<float>(1024);
  numbers[threadIdx.x] = static_cast<int>(threadIdx.x);
  Pack<float> pack = {};
  for (float& v : pack.x) v = static_cast<float>(threadIdx.x);
  store_pack(packs + 4 * threadIdx.x, pack);
  __syncthreads();
  const int other = numbers[threadIdx.x ^ 1u];
  out[threadIdx.x] = load_pack(packs + 4 * other).x[3];
}

TEST_CASE("dynamic shared memory holds arrays side by side, above 48 KiB too") {
  for (size_t bytes : {size_t{2048}, size_t{200} << 10}) {
    std::vector<float> out(64);
    CHECK(run({dim3(2), dim3(64), bytes}, dynamic_kernel, out.data()).ok());
    for (size_t i = 0; i < 64; ++i) CHECK(out[i] == static_cast<float>(i ^ 1u));
  }
}

__global__ void fault_kernel(FaultWord* word) {
  if (threadIdx.x % 2 == 1) record_fault(word, Fault::not_a_number, 1000 - threadIdx.x);
}

TEST_CASE("faults are counted and the first row is kept") {
  FaultWord word = {{0, 0, 0}, {0xffffffffu, 0xffffffffu, 0xffffffffu}};
  CHECK(run({dim3(1), dim3(64)}, fault_kernel, &word).ok());
  CHECK(word.count[1] == 32);
  CHECK(word.first_row[1] == 937);
  CHECK(word.count[0] == 0);
  CHECK(word.first_row[2] == 0xffffffffu);
}

TEST_CASE("launches of several host threads do not meet") {
  std::vector<std::thread> threads;
  std::vector<int> failures(4, 0);
  for (size_t n = 0; n < 4; ++n) {
    threads.emplace_back([&failures, n] {
      for (int i = 0; i < 20; ++i) {
        std::vector<int> x(16 * 64, static_cast<int>(n)), totals(4);
        const Status status =
            run({dim3(16), dim3(64), 0, 4}, cluster_kernel, x.data(), totals.data());
        for (int total : totals) failures[n] += total != static_cast<int>(n) * 256;
        failures[n] += !status.ok();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int count : failures) CHECK(count == 0);
}

// ---- what does not
// -------------------------------------------------------------------------------

__global__ void missing_barrier_kernel(float* y) {
  FIRESTEEL_SHARED(float, row, 64);
  row[threadIdx.x] = 1.0f;
  y[threadIdx.x] = row[63 - threadIdx.x];
}

TEST_CASE("a missing barrier is a read of an unwritten cell") {
  for (const char* order : kOrders) {
    const Ordered scope(order);
    std::vector<float> y(64);
    check_failure(run({dim3(1), dim3(64)}, missing_barrier_kernel, y.data()),
                  "is read before it was written");
  }
}

__global__ void overtaken_kernel(float* y) {
  FIRESTEEL_SHARED(float, row, 64);
  for (int i = 0; i < 2; ++i) {
    row[threadIdx.x] = static_cast<float>(threadIdx.x) + static_cast<float>(i);
    __syncthreads();
    y[threadIdx.x] = row[63 - threadIdx.x];  // another thread may already be in the next round
  }
}
__global__ void two_writers_kernel(int mine) {
  FIRESTEEL_SHARED(int, cell, 1);
  cell[0] = mine == 0 ? 7 : static_cast<int>(threadIdx.x);
}
__global__ void shuffle_as_barrier_kernel(int* y, int synchronize) {
  FIRESTEEL_SHARED(int, row, 32);
  row[threadIdx.x] = 1;
  if (synchronize != 0) {
    __syncwarp();
  } else {
    y[threadIdx.x] = __shfl_xor_sync(kFullWarp, 1, 1);
  }
  y[threadIdx.x] = row[threadIdx.x ^ 1u];
}
__global__ void other_warp_kernel(int* y) {
  FIRESTEEL_SHARED(int, row, 64);
  row[threadIdx.x] = 1;
  __syncwarp();
  y[threadIdx.x] = row[threadIdx.x ^ 32u];
}
__global__ void shared_counter_kernel(int* y) {
  FIRESTEEL_SHARED(int, count, 1);
  if (threadIdx.x == 0) count[0] = 0;
  __syncthreads();
  atomicAdd(&count[0], 2);
  __syncthreads();
  y[threadIdx.x] = count[0];
}
__global__ void peer_race_kernel(int* y) {
  FIRESTEEL_SHARED(int, cell, 1);
  if (threadIdx.x == 0) cell[0] = cluster_rank();
  cluster_sync();
  if (threadIdx.x == 0) y[blockIdx.x] = cluster_peer(cell + 0, 1 - cluster_rank())[0];
  if (threadIdx.x == 0) cell[0] = 5;
  cluster_sync();
}

TEST_CASE("two threads at one cell, one of them writing, with no barrier between, are a race") {
  std::vector<float> y(64);
  std::vector<int> out(64);
  for (const char* order : kOrders) {
    const Ordered scope(order);
    check_failure(run({dim3(1), dim3(64)}, overtaken_kernel, y.data()), "race: row[");
    check_failure(run({dim3(1), dim3(32)}, two_writers_kernel, 1), "race: cell[0] is written");
    CHECK(run({dim3(1), dim3(32)}, two_writers_kernel, 0).ok());  // all write the same
    CHECK(run({dim3(1), dim3(32)}, shuffle_as_barrier_kernel, out.data(), 1).ok());
    check_failure(run({dim3(1), dim3(32)}, shuffle_as_barrier_kernel, out.data(), 0), "race: row[");
    CHECK(!run({dim3(1), dim3(64)}, other_warp_kernel, out.data()).ok());
    check_failure(run({dim3(2), dim3(32), 0, 2}, peer_race_kernel, out.data()), "race: cell[0]");
    CHECK(run({dim3(1), dim3(64)}, shared_counter_kernel, out.data()).ok());
    for (int count : out) CHECK(count == 128);
  }
}

__global__ void stale_kernel(int* y) {
  FIRESTEEL_SHARED(int, cell, 1);
  if (blockIdx.x == 0 && threadIdx.x == 0) cell[0] = 7;
  __syncthreads();
  if (threadIdx.x == 0) y[blockIdx.x] = cell[0];
}

TEST_CASE("a block does not see the shared memory of the block before it") {
  std::vector<int> y(2);
  check_failure(run({dim3(2), dim3(32)}, stale_kernel, y.data()),
                "block (1,0,0) thread (0,0,0): cell[0] is read before it was written");
}

__global__ void bounds_kernel(int at) {
  FIRESTEEL_SHARED(int, cells, 8);
  if (threadIdx.x == 3) cells[at] = 1;
}

TEST_CASE("shared arrays have bounds") {
  check_failure(run({dim3(1), dim3(32)}, bounds_kernel, 8), "cells[8] lies outside its 8 elements");
  check_failure(run({dim3(1), dim3(32)}, bounds_kernel, -1), "thread (3,0,0): cells[-1] lies");
  CHECK(run({dim3(1), dim3(32)}, bounds_kernel, 7).ok());
}

__global__ void half_barrier_kernel() {
  if (threadIdx.x < 32) __syncthreads();
}
__global__ void two_barriers_kernel() {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}
__global__ void late_barrier_kernel() {
  __syncthreads();
  if (threadIdx.x >= 32) return;
  __syncthreads();
}

TEST_CASE("divergent barriers are errors in every order") {
  for (const char* order : kOrders) {
    const Ordered scope(order);
    check_failure(run({dim3(1), dim3(64)}, half_barrier_kernel), "divergent barrier");
    check_failure(run({dim3(1), dim3(64)}, two_barriers_kernel), "divergent barrier");
    check_failure(run({dim3(1), dim3(64)}, late_barrier_kernel), "divergent barrier");
  }
  const Ordered scope("forward");
  const Status status = run({dim3(1), dim3(64)}, two_barriers_kernel);
  CHECK(status.message.find("thread (32,0,0)") != std::string::npos);
  CHECK(status.message.find("__syncthreads emulator.test.cc:") != std::string::npos);
}

__global__ void half_shuffle_kernel(int* out) {
  if (threadIdx.x < 16) out[threadIdx.x] = __shfl_xor_sync(kFullWarp, 1, 1);
}
__global__ void two_masks_kernel(int* out) {
  const unsigned mask = threadIdx.x < 16 ? 0xffffu : kFullWarp;
  out[threadIdx.x] = __shfl_xor_sync(mask, 1, 1);
}
__global__ void outside_mask_kernel(int* out) {
  out[threadIdx.x] = __shfl_sync(0x1u, 1, 0);
}
__global__ void foreign_lane_kernel(int* out) {
  if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(0xffffu, 1, 20);
}

TEST_CASE("divergent warps are errors in every order") {
  std::vector<int> out(32);
  for (const char* order : kOrders) {
    const Ordered scope(order);
    check_failure(run({dim3(1), dim3(32)}, half_shuffle_kernel, out.data()), "__shfl_xor_sync");
    check_failure(run({dim3(1), dim3(32)}, two_masks_kernel, out.data()), "divergent warp");
    check_failure(run({dim3(1), dim3(32)}, outside_mask_kernel, out.data()), "not in its own mask");
    check_failure(run({dim3(1), dim3(32)}, foreign_lane_kernel, out.data()), "reads lane 20");
  }
}

__global__ void deadlock_kernel(int* out) {
  if (threadIdx.x < 16) out[threadIdx.x] = __shfl_xor_sync(kFullWarp, 1, 1);
  __syncthreads();
}
__global__ void cluster_deadlock_kernel() {
  if (cluster_rank() == 0) cluster_sync();
}

TEST_CASE("a deadlock is reported with the places where threads wait") {
  for (const char* order : kOrders) {
    const Ordered scope(order);
    std::vector<int> out(64);
    const Status status = run({dim3(1), dim3(64)}, deadlock_kernel, out.data());
    check_failure(status, "deadlock");
    check_failure(status, "__shfl_xor_sync emulator.test.cc:");
    check_failure(status, "__syncthreads emulator.test.cc:");
    const Status cluster = run({dim3(2), dim3(32), 0, 2}, cluster_deadlock_kernel);
    check_failure(cluster, "deadlock");
    check_failure(cluster, "returned");
  }
}

__global__ void early_peer_kernel() {
  FIRESTEEL_SHARED(int, cell, 1);
  if (threadIdx.x == 0) cluster_peer(cell + 0, 1 - cluster_rank())[0] = 1;
}
__global__ void late_peer_kernel(int* out) {
  FIRESTEEL_SHARED(int, cell, 1);
  if (threadIdx.x == 0) cell[0] = 1;
  cluster_sync();
  if (cluster_rank() == 0) return;
  __syncthreads();
  out[threadIdx.x] = cluster_peer(cell + 0, 0)[0];
}
__global__ void no_peer_kernel() {
  FIRESTEEL_SHARED(int, cell, 1);
  cluster_peer(cell + 0, 2)[0] = 1;
}

TEST_CASE("a peer's memory is reached only while the peer runs") {
  std::vector<int> out(32);
  check_failure(run({dim3(2), dim3(32), 0, 2}, early_peer_kernel), "before a cluster barrier");
  check_failure(run({dim3(2), dim3(32), 0, 2}, late_peer_kernel, out.data()),
                "belongs to a block that has returned");
  check_failure(run({dim3(2), dim3(32), 0, 2}, no_peer_kernel), "no block of that rank");
}

// Meant to be caught by the emulator: no business of UndefinedBehaviorSanitizer.
#define FIRESTEEL_ON_PURPOSE __attribute__((no_sanitize("undefined")))

__global__ FIRESTEEL_ON_PURPOSE void wild_kernel(int* p) {
  if (threadIdx.x == 5) p[0] = 1;
}
__global__ void misaligned_kernel(float* p) {
  store_pack(p + 1, Pack<float>{});
}
__global__ FIRESTEEL_ON_PURPOSE void division_kernel(int* out, int by) {
  out[threadIdx.x] = 7 / by;
}

int recurse(volatile char* above, int depth) {
  volatile char frame[1024];
  frame[0] = static_cast<char>(above[0] + depth);
  return depth == 0 ? frame[0] : recurse(frame, depth - 1) + frame[0];
}
__global__ void overflow_kernel(int* out, int depth) {
  volatile char top[1] = {0};
  out[threadIdx.x] = recurse(top, depth);
}

TEST_CASE("what would end the process ends the launch") {
  alignas(16) float row[8] = {};
  std::vector<int> out(32);
  for (int again = 0; again < 3; ++again) {
    check_failure(run({dim3(2), dim3(32)}, wild_kernel, static_cast<int*>(nullptr)),
                  "thread (5,0,0): illegal memory access at (nil)");
    check_failure(run({dim3(2), dim3(32)}, misaligned_kernel, row), "is not aligned to 16 bytes");
    check_failure(run({dim3(2), dim3(32)}, division_kernel, out.data(), 0), "division by zero");
    check_failure(run({dim3(2), dim3(32)}, overflow_kernel, out.data(), 10000), "stack overflow");
    CHECK(run({dim3(2), dim3(32)}, division_kernel, out.data(), 2).ok());
  }
}

__global__ void empty_kernel() {}
__global__ void large_kernel() {
  FIRESTEEL_SHARED(double, large, 6145);
  large[0] = 0.0;
}

TEST_CASE("shapes that a card refuses are refused") {
  check_failure(run({dim3(1), dim3(100)}, empty_kernel), "whole warps");
  check_failure(run({dim3(1), dim3(1056)}, empty_kernel), "1 to 1024 threads");
  check_failure(run({dim3(1, 65536), dim3(32)}, empty_kernel), "65,535 blocks");
  check_failure(run({dim3(3), dim3(32), 0, 2}, empty_kernel), "does not divide the grid");
  check_failure(run({dim3(16), dim3(32), 0, 16}, empty_kernel), "larger than the card allows");
  check_failure(run({dim3(1), dim3(32), size_t{228} << 10}, empty_kernel), "shared memory");
  check_failure(run({dim3(1), dim3(32)}, large_kernel), "no room for shared array large");
  CHECK(run({dim3(0), dim3(32)}, empty_kernel).ok());
  {
    const Ordered scope("sideways");
    check_failure(run({dim3(1), dim3(32)}, empty_kernel), "FIRESTEEL_EMULATOR_ORDER");
  }
  setenv("FIRESTEEL_EMULATOR_CLUSTER", "1", 1);
  check_failure(run({dim3(2), dim3(32), 0, 2}, empty_kernel), "larger than the card allows");
  unsetenv("FIRESTEEL_EMULATOR_CLUSTER");
}

TEST_CASE("a cancelled engine launches nothing") {
  const std::atomic<bool> cancelled{true};
  Context context = emulated();
  context.cancelled = &cancelled;
  const Status status =
      launch(context, "the_kernel", LaunchShape{dim3(1), dim3(32)}, wild_kernel, nullptr);
  CHECK(status.code == Code::aborted);
}

// ---- the device
// ----------------------------------------------------------------------------------

TEST_CASE("device memory is aligned, starts as NaN, is bounded and comes back") {
  const std::atomic<bool> cancelled{false};
  ContextPtr context(nullptr, [](Context*) {});
  DeviceInfo info;
  REQUIRE(device_open(0, &cancelled, &context, &info).ok());
  CHECK(info.name == "emulated");
  CHECK(info.compute == 90);
  CHECK(context->max_cluster == 8);

  void* data = nullptr;
  REQUIRE(device_allocate(*context, 1000, &data).ok());
  CHECK(reinterpret_cast<uintptr_t>(data) % 256 == 0);
  std::vector<float> host(250, 0.0f);
  REQUIRE(copy_to_host(*context, host.data(), data, 1000).ok());
  for (float x : host) CHECK(x != x);

  host.assign(250, 3.0f);
  CHECK(copy_to_device(*context, data, host.data(), 1000).ok());
  host.assign(250, 0.0f);
  CHECK(copy_on_device(*context, static_cast<float*>(data) + 125, data, 500).ok());
  CHECK(copy_to_host(*context, host.data(), data, 1000).ok());
  for (float x : host) CHECK(x == 3.0f);

  CHECK(copy_to_device(*context, data, host.data(), 1001).code == Code::range);
  CHECK(copy_to_host(*context, host.data(), host.data(), 8).code == Code::range);
  CHECK(device_wait(*context).ok());
  device_free(*context, data, 1000);

  void* huge = nullptr;
  const Status refused = device_allocate(*context, info.memory_bytes + 1, &huge);
  CHECK(refused.code == Code::out_of_memory);
  CHECK(huge == nullptr);
  REQUIRE(device_allocate(*context, int64_t{1} << 20, &huge).ok());
  device_free(*context, huge, int64_t{1} << 20);
}

TEST_CASE("an emulated sm_80 has no clusters, and nonsense in the environment is an error") {
  const std::atomic<bool> cancelled{false};
  ContextPtr context(nullptr, [](Context*) {});
  DeviceInfo info;
  setenv("FIRESTEEL_EMULATOR_CLUSTER", "1", 1);
  REQUIRE(device_open(0, &cancelled, &context, &info).ok());
  CHECK(info.compute == 80);
  CHECK(context->max_cluster == 1);
  setenv("FIRESTEEL_EMULATOR_CLUSTER", "3", 1);
  CHECK(device_open(0, &cancelled, &context, &info).code == Code::range);
  unsetenv("FIRESTEEL_EMULATOR_CLUSTER");
  const Ordered scope("random:");
  CHECK(device_open(0, &cancelled, &context, &info).code == Code::range);
}

}  // namespace
}  // namespace firesteel
