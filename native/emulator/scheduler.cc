#include "emulator/scheduler.h"

#include <stdio.h>
#include <string.h>

#include <algorithm>
#include <iterator>
#include <random>

#include "runtime/sanitizer.h"

__thread uint3 threadIdx, blockIdx;
__thread dim3 blockDim, gridDim;

namespace firesteel {
namespace emulator {

Scheduler& scheduler() {
  static thread_local Scheduler the;
  return the;
}

namespace {

constexpr size_t kSharedAlign = 128;

// Fresh shared memory is NaN in every float format, and -1 as an integer.
void reset(Block* block, size_t bytes) {
  allow_access(block->arena.bytes, block->capacity);
  memset(block->arena.bytes, 0xff, bytes);
}

}  // namespace

cudaError_t Scheduler::prepare(const cudaLaunchConfig_t& config, const void* function) {
  grid_ = config.gridDim;
  block_ = config.blockDim;
  const uint64_t threads = uint64_t{block_.x} * block_.y * block_.z;
  const auto refuse = [](const char* why) {
    return error(cudaErrorInvalidConfiguration, "%s", why);
  };
  if (threads == 0 || threads > 1024) return refuse("a block has 1 to 1024 threads");
  if (threads % kWarp != 0) return refuse("a block is whole warps of 32 threads");
  if (block_.z > 64) return refuse("a block has at most 64 threads along z");
  if (grid_.x == 0 || grid_.y == 0 || grid_.z == 0) return refuse("the grid is empty");
  if (grid_.x > 0x7fffffffu) return refuse("the grid has at most 2^31 - 1 blocks along x");
  if (grid_.y > 65535 || grid_.z > 65535) {
    return refuse("the grid has at most 65,535 blocks along y and z");
  }
  cluster = 1;
  for (unsigned i = 0; i < config.numAttrs; ++i) {
    const auto& size = config.attrs[i].val.clusterDim;
    if (size.y != 1 || size.z != 1) return refuse("clusters lie along x");
    if (size.x == 0 || size.x > static_cast<unsigned>(max_cluster())) {
      return refuse("the cluster is larger than the card allows");
    }
    if (grid_.x % size.x != 0) return refuse("the cluster size does not divide the grid");
    cluster = static_cast<int>(size.x);
  }
  if (config.dynamicSmemBytes > dynamic_shared_limit(function)) {
    return refuse("more dynamic shared memory than cudaFuncSetAttribute allowed the kernel");
  }
  turn_ = order_from_environment();
  if (turn_.kind == Order::invalid) {
    return refuse("expected forward, reverse or random:SEED in FIRESTEEL_EMULATOR_ORDER");
  }
  threads_ = static_cast<int>(threads);
  dynamic_bytes = config.dynamicSmemBytes;
  layout_.clear();
  static_bytes_ = 0;

  const size_t lanes = static_cast<size_t>(threads_) * static_cast<size_t>(cluster);
  if (!stacks_.reserve(lanes)) {
    return error(cudaErrorMemoryAllocation, "the host refused stacks for %zu threads", lanes);
  }
  lanes_.resize(lanes);
  if (blocks_.size() < static_cast<size_t>(cluster)) blocks_.resize(static_cast<size_t>(cluster));
  const size_t capacity =
      kStaticShared + (dynamic_bytes + kSharedAlign - 1) / kSharedAlign * kSharedAlign;
  for (int b = 0; b < cluster; ++b) {
    Block& block = blocks_[static_cast<size_t>(b)];
    if (block.capacity < capacity) {
      // calloc leaves pages that nobody touches unmapped, which is most of the marks.
      block.memory.reset(
          static_cast<unsigned char*>(calloc(capacity * (sizeof(Mark) + 1) + kSharedAlign, 1)));
      block.capacity = 0;
      if (block.memory == nullptr) {
        return error(cudaErrorMemoryAllocation, "the host refused shared memory");
      }
      block.arena.marks = reinterpret_cast<Mark*>(block.memory.get());
      const uintptr_t raw = reinterpret_cast<uintptr_t>(block.arena.marks + capacity);
      block.arena.bytes =
          reinterpret_cast<unsigned char*>((raw + kSharedAlign - 1) / kSharedAlign * kSharedAlign);
      block.capacity = capacity;
      block.dirty = capacity;
    }
    block.lanes = &lanes_[static_cast<size_t>(b) * static_cast<size_t>(threads_)];
    block.rank = b;
  }
  order_.resize(lanes);
  for (size_t i = 0; i < lanes; ++i) {
    order_[i] = static_cast<int>(turn_.kind == Order::reverse ? lanes - 1 - i : i);
  }
  return cudaSuccess;
}

cudaError_t Scheduler::run(const cudaLaunchConfig_t& config, const void* function, Body body) {
  if (current != nullptr) fail("a kernel launches a kernel");
  const cudaError_t refused = prepare(config, function);
  if (refused != cudaSuccess) return refused;
  body_ = body;
  failed_ = false;
  blockDim = block_;
  gridDim = grid_;
  run_guarded(
      *this, [](Scheduler& s) { s.run_grid(); },
      [](Scheduler& s, const char* what) {
        s.failed_ = true;
        const uint3 b = s.current->block_index, t = s.current->thread_index;
        snprintf(s.message_, sizeof s.message_, "block (%u,%u,%u) thread (%u,%u,%u): %s", b.x, b.y,
                 b.z, t.x, t.y, t.z, what);
      });
  current = nullptr;
  if (failed_) {
    for (Lane& lane : lanes_) fiber_forget(&lane.fiber);
  }
  return failed_ ? error(cudaErrorLaunchFailure, "%s", message_) : cudaSuccess;
}

void Scheduler::run_grid() {
  const uint64_t blocks = uint64_t{grid_.x} * grid_.y * grid_.z;
  const uint64_t clusters = blocks / static_cast<unsigned>(cluster);
  sequence_.resize(clusters);  // a member: a trap leaves this function without destructors
  for (uint64_t i = 0; i < clusters; ++i) {
    sequence_[i] = turn_.kind == Order::reverse ? clusters - 1 - i : i;
  }
  if (turn_.kind == Order::random) {
    std::mt19937_64 random(turn_.seed);
    std::shuffle(sequence_.begin(), sequence_.end(), random);
  }
  for (uint64_t c : sequence_) {
    run_cluster(c * static_cast<unsigned>(cluster));
    if (failed_) return;
  }
}

void Scheduler::run_cluster(uint64_t first_block) {
  started_ = cluster_met_ = ++clock_;
  for (int b = 0; b < cluster; ++b) {
    Block& block = blocks_[static_cast<size_t>(b)];
    block.met = started_;
    std::fill(std::begin(block.warps), std::end(block.warps), Warp{0, 0, started_});
    reset(&block, block.dirty);
    fence_shared(block);
    block.dirty = dynamic_bytes > 0 ? block.capacity : static_bytes_;
    block.arena.gone = false;
    block.waiting = block.predicates = block.exited = 0;
    const uint64_t number = first_block + static_cast<unsigned>(b);
    const uint3 at{static_cast<unsigned>(number % grid_.x),
                   static_cast<unsigned>(number / grid_.x % grid_.y),
                   static_cast<unsigned>(number / grid_.x / grid_.y)};
    for (int t = 0; t < threads_; ++t) {
      Lane& lane = block.lanes[t];
      const unsigned n = static_cast<unsigned>(t);
      lane.thread_index = {n % block_.x, n / block_.x % block_.y, n / block_.x / block_.y};
      lane.block_index = at;
      lane.block = &block;
      lane.index = t;
      lane.state = Lane::ready;
      lane.started = false;
      lane.cluster_arrived = false;
      lane.cluster_phase = 0;
      lane.copies.clear();
      lane.groups = 0;
    }
  }
  unfinished_ = threads_ * cluster;
  cluster_waiting_ = 0;
  cluster_phase_ = 0;

  std::mt19937_64 random(turn_.seed + first_block);
  while (unfinished_ > 0) {
    if (turn_.kind == Order::random) std::shuffle(order_.begin(), order_.end(), random);
    bool progress = false;
    for (int i : order_) {
      Lane& lane = lanes_[static_cast<size_t>(i)];
      if (lane.state != Lane::ready) continue;
      progress = true;
      if (!lane.started) start(&lane);
      current = &lane;
      threadIdx = lane.thread_index;
      blockIdx = lane.block_index;
      fiber_switch(&home_, &lane.fiber);
      if (failed_) return;
    }
    if (!progress) {
      stuck();
      return;
    }
  }
}

void Scheduler::start(Lane* lane) {
  lane->started = true;
  fiber_start(&lane->fiber, stacks_.stack(static_cast<size_t>(lane - lanes_.data())), lane_main);
}

void Scheduler::yield() {
  fiber_switch(&current->fiber, &home_);
}

void Scheduler::leave() {
  fiber_leave(&current->fiber, &home_);
}

void Scheduler::landed() {
  fiber_landed(&current->fiber, &home_);
}

// Shared arrays are reached through bounds of their own; this is for what goes round them.
void Scheduler::fence_shared(const Block& block) const {
  forbid_access(block.arena.bytes, block.capacity);
  for (const SharedArray& array : layout_) {
    allow_access(block.arena.bytes + array.offset, array.bytes);
  }
  allow_access(block.arena.bytes + kStaticShared, dynamic_bytes);
}

void Scheduler::lane_main() {
  Scheduler& s = scheduler();
  s.body_.call(s.body_.bound);
  s.lane_returned();
}

void Scheduler::lane_returned() {
  Block& block = *current->block;
  if (block.waiting > 0) {
    char text[256];
    snprintf(text, sizeof text,
             "divergent barrier: the thread returned while others wait at %s %s:%d",
             block.site.what, base_name(block.site.file), block.site.line);
    fail(text);
  }
  current->state = Lane::returned;
  block.warps[current->index / kWarp].returned |= uint32_t{1} << current->index % kWarp;
  --unfinished_;
  if (++block.exited == threads_) block.arena.gone = true;
  leave();
}

void Scheduler::fail(const char* message) {
  if (current == nullptr) {
    fprintf(stderr, "firesteel emulator: %s\n", message);
    abort();
  }
  const uint3 b = current->block_index, t = current->thread_index;
  snprintf(message_, sizeof message_, "block (%u,%u,%u) thread (%u,%u,%u): %s", b.x, b.y, b.z, t.x,
           t.y, t.z, message);
  failed_ = true;
  leave();
}

void Scheduler::describe(const Lane& lane, char* out, size_t size) const {
  const uint3 b = lane.block_index;
  if (lane.state == Lane::returned) {
    snprintf(out, size, "block (%u,%u,%u) thread %d returned", b.x, b.y, b.z, lane.index);
  } else {
    snprintf(out, size, "block (%u,%u,%u) thread %d waits at %s %s:%d", b.x, b.y, b.z, lane.index,
             lane.site.what, base_name(lane.site.file), lane.site.line);
  }
}

// Nobody can go on. One line for each place at which threads stand.
void Scheduler::stuck() {
  failed_ = true;
  size_t used = static_cast<size_t>(snprintf(message_, sizeof message_, "deadlock: "));
  std::vector<const Lane*> told;
  for (const Lane& lane : lanes_) {
    bool known = false;
    for (const Lane* other : told) {
      known = known || (other->state == lane.state && other->block == lane.block &&
                        (lane.state == Lane::returned || same_place(other->site, lane.site)));
    }
    if (known || told.size() == 4 || used + 200 > sizeof message_) continue;
    if (!told.empty()) used += static_cast<size_t>(snprintf(message_ + used, 3, "; "));
    describe(lane, message_ + used, sizeof message_ - used);
    used += strlen(message_ + used);
    told.push_back(&lane);
  }
}

cudaError_t run(const cudaLaunchConfig_t& config, const void* function, Body body) {
  return scheduler().run(config, function, body);
}

}  // namespace emulator
}  // namespace firesteel
