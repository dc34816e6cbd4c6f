// The threads of the blocks that run together, and where each of them waits.
#pragma once
#include <cuda_runtime.h>
#include <stdlib.h>
#include <string.h>

#include <memory>
#include <vector>

#include "emulator/device.h"
#include "emulator/fiber.h"

namespace firesteel {
namespace emulator {

constexpr int kWarp = 32;

inline bool same_place(const Site& a, const Site& b) {
  return a.line == b.line && strcmp(a.file, b.file) == 0 && strcmp(a.what, b.what) == 0;
}
inline const char* base_name(const char* path) {
  const char* slash = strrchr(path, '/');
  return slash == nullptr ? path : slash + 1;
}

struct Block;

// On its way to shared memory.
struct Copy {
  const Arena* arena;
  size_t offset;
  const char* name;
  int64_t index;
  uint64_t group;
  unsigned char bytes[kCopyBytes];
};

struct Lane {
  enum State : uint8_t { ready, at_warp, at_block, at_cluster, returned };

  Fiber fiber;
  uint3 thread_index, block_index;
  Block* block;
  int index;  // in the block
  State state;
  bool started;
  bool cluster_arrived;  // and has not waited yet
  uint64_t cluster_phase;
  Site site;  // where it waits
  // Of the warp meeting it waits in.
  unsigned mask;
  int argument, width;
  uint64_t value, result;
  void* brought;
  std::vector<Copy> copies;  // started and not awaited, oldest first
  uint64_t groups;           // of copies committed so far
};

// Bits are lanes.
struct Warp {
  uint32_t waiting;  // at a warp meeting
  uint32_t returned;
  uint64_t met;  // when all lanes last met at __syncwarp
};

struct Block {
  Arena arena;
  std::unique_ptr<unsigned char, decltype(&free)> memory{nullptr, free};  // marks, then bytes
  size_t capacity = 0;                                                    // of the arena
  size_t dirty = 0;  // leading bytes that a kernel may have written
  Lane* lanes;
  int rank;  // in the cluster
  int waiting, predicates, exited;
  Site site;     // of the barrier at which `waiting` threads wait
  uint64_t met;  // when the block last met at a barrier
  Warp warps[1024 / kWarp];
};

// All launches of one operating-system thread, one after the other.
class Scheduler {
 public:
  cudaError_t run(const cudaLaunchConfig_t& config, const void* function, Body body);

  // Called by the running lane.
  uint64_t warp_meet(WarpOp op, unsigned mask, uint64_t value, int argument, int width, Site site);
  void warp_collect(void* mine, WarpWork work, Site site);
  int block_barrier(bool predicate, Site site);
  void copy_start(const Arena& arena, size_t offset, const void* from, int bytes, const char* name,
                  int64_t index);
  void copy_commit();
  void copy_wait(int groups_left);
  void cluster_arrive(Site site);
  void cluster_wait(Site site);
  size_t shared_offset(const void* key, const char* name, size_t bytes, size_t align);
  Arena* peer_arena(int rank);
  void touch_shared(const Arena& arena, size_t offset, size_t size, Use use, const void* value,
                    const char* name, int64_t index);
  [[noreturn]] void fail(const char* message);
  void landed();  // on the launching thread's stack, by a jump out of the running lane

  Lane* current = nullptr;
  Lane* lanes() { return lanes_.data(); }
  Block* blocks() { return blocks_.data(); }
  int cluster = 1;
  size_t dynamic_bytes = 0;
  const StackPool& stacks() const { return stacks_; }

 private:
  cudaError_t prepare(const cudaLaunchConfig_t& config, const void* function);
  void run_grid();
  void run_cluster(uint64_t first_block);
  bool warp_arrive(unsigned mask, Site site);
  void start(Lane* lane);
  void yield();
  [[noreturn]] void leave();
  void fence_shared(const Block& block) const;
  static void lane_main();
  void lane_returned();
  void stuck();
  bool ordered(uint64_t time, uint16_t thread) const;
  void describe(const Lane& lane, char* out, size_t size) const;

  struct SharedArray {
    const void* key;
    size_t offset, bytes;
  };

  StackPool stacks_;
  std::vector<Lane> lanes_;
  std::vector<Block> blocks_;
  std::vector<SharedArray> layout_;
  std::vector<int> order_;
  std::vector<uint64_t> sequence_;  // of the grid's clusters
  Fiber home_;
  Body body_{};
  dim3 grid_, block_;
  Order turn_{Order::forward, 0};
  int threads_ = 0;  // per block
  int unfinished_ = 0;
  int cluster_waiting_ = 0;
  uint64_t cluster_phase_ = 0;
  uint64_t clock_ = 0;        // counts meetings
  uint64_t started_ = 0;      // when the running cluster started
  uint64_t cluster_met_ = 0;  // when it last met as a whole, or started
  size_t static_bytes_ = 0;
  bool failed_ = false;
  char message_[768];
};

Scheduler& scheduler();  // of this operating-system thread

// Runs `work` so that a memory fault, a division by zero or a trap in it ends in `caught(message)`
// instead of ending the process.
void run_guarded(Scheduler& s, void (*work)(Scheduler&), void (*caught)(Scheduler&, const char*));

}  // namespace emulator
}  // namespace firesteel
