// Where threads meet, and the shared memory they share.
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <algorithm>

#include "emulator/scheduler.h"

namespace firesteel {
namespace emulator {

int Scheduler::block_barrier(bool predicate, Site site) {
  Block& block = *current->block;
  char text[384];
  if (block.exited > 0) {
    snprintf(text, sizeof text,
             "divergent barrier: %d threads of the block returned before %s %s:%d", block.exited,
             site.what, base_name(site.file), site.line);
    fail(text);
  }
  if (block.waiting > 0 && !same_place(block.site, site)) {
    snprintf(text, sizeof text,
             "divergent barrier: the thread is at %s %s:%d while others wait at %s %s:%d",
             site.what, base_name(site.file), site.line, block.site.what,
             base_name(block.site.file), block.site.line);
    fail(text);
  }
  block.site = site;
  block.predicates += predicate ? 1 : 0;
  Lane* lane = current;
  if (++block.waiting < threads_) {
    lane->state = Lane::at_block;
    lane->site = site;
    yield();
    return static_cast<int>(lane->result);
  }
  for (int t = 0; t < threads_; ++t) {
    block.lanes[t].state = Lane::ready;
    block.lanes[t].result = static_cast<uint64_t>(block.predicates);
  }
  block.waiting = block.predicates = 0;
  block.met = ++clock_;
  return static_cast<int>(lane->result);
}

// Waits until all lanes of the mask have come. True for the last of them, while the others still
// wait.
bool Scheduler::warp_arrive(unsigned mask, Site site) {
  Lane* lane = current;
  Warp& warp = lane->block->warps[lane->index / kWarp];
  Lane* lanes = lane->block->lanes + lane->index / kWarp * kWarp;
  const int self = lane->index % kWarp;
  const uint32_t own = uint32_t{1} << self;
  char text[384];
  if ((mask & own) == 0) {
    snprintf(text, sizeof text, "%s %s:%d: lane %d is not in its own mask %08x", site.what,
             base_name(site.file), site.line, self, mask);
    fail(text);
  }
  if ((warp.returned & mask) != 0) {
    snprintf(text, sizeof text, "divergent warp: lane %d returned before %s %s:%d",
             __builtin_ctz(warp.returned & mask), site.what, base_name(site.file), site.line);
    fail(text);
  }
  // Those who wait agree with each other, so of the lanes of the mask one is enough.
  uint32_t others = warp.waiting & mask;
  others = (others & -others) | (warp.waiting & ~mask);
  for (; others != 0; others &= others - 1) {
    const int i = __builtin_ctz(others);
    const Lane& other = lanes[i];
    const bool meets = (mask >> i & 1u) != 0 || (other.mask & own) != 0;
    if (!meets || (other.mask == mask && same_place(other.site, site))) continue;
    snprintf(text, sizeof text,
             "divergent warp: lane %d is at %s %s:%d with mask %08x while lane %d waits at %s "
             "%s:%d with mask %08x",
             self, site.what, base_name(site.file), site.line, mask, i, other.site.what,
             base_name(other.site.file), other.site.line, other.mask);
    fail(text);
  }
  lane->mask = mask;
  lane->site = site;
  warp.waiting |= own;
  if ((warp.waiting & mask) != mask) {
    lane->state = Lane::at_warp;
    yield();
    return false;
  }
  warp.waiting &= ~mask;
  return true;
}

void Scheduler::warp_collect(void* mine, WarpWork work, Site site) {
  constexpr unsigned kAll = 0xffffffffu;
  current->brought = mine;
  if (!warp_arrive(kAll, site)) return;
  Lane* lanes = current->block->lanes + current->index / kWarp * kWarp;
  void* brought[kWarp];
  for (int i = 0; i < kWarp; ++i) {
    brought[i] = lanes[i].brought;
    lanes[i].state = Lane::ready;
  }
  work(brought);
}

uint64_t Scheduler::warp_meet(WarpOp op, unsigned mask, uint64_t value, int argument, int width,
                              Site site) {
  Lane* lane = current;
  lane->value = value;
  lane->argument = argument;
  lane->width = width;
  if (!warp_arrive(mask, site)) return lane->result;
  Warp& warp = lane->block->warps[lane->index / kWarp];
  Lane* lanes = lane->block->lanes + lane->index / kWarp * kWarp;
  // Only __syncwarp orders memory; shuffles and votes do not.
  if (op == WarpOp::sync) warp.met = ++clock_;
  uint64_t ballot = 0;
  for (int i = 0; i < kWarp; ++i) {
    if ((mask >> i & 1u) != 0 && lanes[i].value != 0) ballot |= uint64_t{1} << i;
  }
  for (int i = 0; i < kWarp; ++i) {
    if ((mask >> i & 1u) == 0) continue;
    Lane& each = lanes[i];
    each.state = Lane::ready;
    if (op == WarpOp::sync) continue;
    if (op == WarpOp::ballot) {
      each.result = ballot;
      continue;
    }
    const int segment = i / each.width * each.width;
    int source = i;
    if (op == WarpOp::shuffle) source = segment + (each.argument & (each.width - 1));
    if (op == WarpOp::shuffle_up && i - each.argument >= segment) source = i - each.argument;
    if (op == WarpOp::shuffle_down && i + each.argument < segment + each.width) {
      source = i + each.argument;
    }
    if (op == WarpOp::shuffle_xor && (i ^ each.argument) < segment + each.width) {
      source = i ^ each.argument;
    }
    if ((mask >> source & 1u) == 0) {
      char text[384];
      snprintf(text, sizeof text, "%s %s:%d: lane %d reads lane %d, which is not in mask %08x",
               site.what, base_name(site.file), site.line, i, source, mask);
      fail(text);
    }
    each.result = lanes[source].value;
  }
  return lane->result;
}

void Scheduler::cluster_arrive(Site site) {
  if (current->cluster_arrived) fail("cluster_arrive twice without cluster_wait between");
  current->cluster_arrived = true;
  current->cluster_phase = cluster_phase_;
  current->site = site;
  if (++cluster_waiting_ < threads_ * cluster) return;
  cluster_waiting_ = 0;
  ++cluster_phase_;
  cluster_met_ = ++clock_;
  for (Lane& lane : lanes_) {
    if (lane.state == Lane::at_cluster) lane.state = Lane::ready;
  }
}

void Scheduler::cluster_wait(Site site) {
  Lane* lane = current;
  if (!lane->cluster_arrived) fail("cluster_wait without cluster_arrive");
  lane->site = site;
  if (lane->cluster_phase == cluster_phase_) {
    lane->state = Lane::at_cluster;
    yield();
  }
  lane->cluster_arrived = false;
}

size_t Scheduler::shared_offset(const void* key, const char* name, size_t bytes, size_t align) {
  for (const SharedArray& array : layout_) {
    if (array.key == key) return array.offset;
  }
  // The same place in every block of the launch, so that a peer's array is found by its offset.
  const size_t offset = (static_bytes_ + align - 1) / align * align;
  if (offset + bytes > kStaticShared || offset + bytes + dynamic_bytes > kShared) {
    char text[256];
    snprintf(text, sizeof text, "no room for shared array %s of %zu bytes after %zu", name, bytes,
             static_bytes_ + dynamic_bytes);
    fail(text);
  }
  layout_.push_back({key, offset, bytes});
  static_bytes_ = offset + bytes;
  for (int b = 0; b < cluster; ++b) {
    Block& block = blocks_[static_cast<size_t>(b)];
    block.dirty = std::max(block.dirty, static_bytes_);
    allow_access(block.arena.bytes + offset, bytes);
  }
  return offset;
}

// Whether what the thread did at that time comes before what the running thread does now.
bool Scheduler::ordered(uint64_t time, uint16_t thread) const {
  const Lane& other = lanes_[thread];
  if (&other == current || time < cluster_met_) return true;
  if (other.block != current->block) return false;
  if (time < current->block->met) return true;
  const int warp = current->index / kWarp;
  return other.index / kWarp == warp && time < current->block->warps[warp].met;
}

void Scheduler::touch_shared(const Arena& arena, size_t offset, size_t size, Use use,
                             const void* value, const char* name, int64_t index) {
  char text[256];
  const long long i = index;
  if (arena.gone) {
    snprintf(text, sizeof text, "%s belongs to a block that has returned", name);
    fail(text);
  }
  const auto race = [&](const char* did, uint16_t thread) {
    const Lane& other = lanes_[thread];
    snprintf(
        text, sizeof text,
        "race: %s[%lld] is %s, and thread %d of block (%u,%u,%u) %s it with no barrier between",
        name, i, use == Use::read ? "read" : "written", other.index, other.block_index.x,
        other.block_index.y, other.block_index.z, did);
    fail(text);
  };
  const uint16_t self = static_cast<uint16_t>(current - lanes_.data());
  const bool same = value != nullptr && memcmp(arena.bytes + offset, value, size) == 0;
  for (Mark* mark = arena.marks + offset; mark != arena.marks + offset + size; ++mark) {
    const bool was_written = mark->written >= started_;
    if ((use == Use::read || use == Use::atomic) && !was_written) {
      snprintf(text, sizeof text, "%s[%lld] is read before it was written", name, i);
      fail(text);
    }
    if (was_written && mark->in_flight && use != Use::copy_end) {
      snprintf(text, sizeof text, "%s[%lld] is %s while thread %d has not awaited a copy into it",
               name, i, use == Use::read ? "read" : "written", lanes_[mark->writer].index);
      fail(text);
    }
    const bool harmless = same || (use == Use::atomic && mark->atomic);
    if (was_written && !harmless && !ordered(mark->written, mark->writer)) {
      race("wrote", mark->writer);
    }
    if (use == Use::read) {
      if (mark->reader != self || mark->read < started_) {
        mark->reader_before = mark->reader;
        mark->read_before = mark->read;
        mark->reader = self;
      }
      mark->read = clock_;
      continue;
    }
    if (mark->read >= started_ && !ordered(mark->read, mark->reader)) race("read", mark->reader);
    if (mark->read_before >= started_ && !ordered(mark->read_before, mark->reader_before)) {
      race("read", mark->reader_before);
    }
    mark->written = clock_;
    mark->writer = self;
    mark->atomic = use == Use::atomic;
    mark->in_flight = use == Use::copy_start;
  }
}

Arena* Scheduler::peer_arena(int rank) {
  if (rank < 0 || rank >= cluster) fail("cluster_peer: no block of that rank");
  Block& peer = blocks_[static_cast<size_t>(rank)];
  if (&peer != current->block && cluster_phase_ == 0) {
    fail("cluster_peer before a cluster barrier: the peer may not have started");
  }
  return &peer.arena;
}

// ---- what kernels call
// ---------------------------------------------------------------------------

void fail(const char* format, ...) {
  char text[384];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  scheduler().fail(text);
}

uint64_t warp_meet(WarpOp op, unsigned mask, uint64_t value, int argument, int width, Site site) {
  return scheduler().warp_meet(op, mask, value, argument, width, site);
}
void warp_collect(void* mine, WarpWork work, Site site) {
  scheduler().warp_collect(mine, work, site);
}
int block_barrier(bool predicate, Site site) {
  return scheduler().block_barrier(predicate, site);
}
void cluster_arrive(Site site) {
  scheduler().cluster_arrive(site);
}
void cluster_wait(Site site) {
  scheduler().cluster_wait(site);
}
int cluster_rank() {
  return scheduler().current->block->rank;
}
int cluster_size() {
  return scheduler().cluster;
}

Arena* own_arena() {
  return &scheduler().current->block->arena;
}
Arena* peer_arena(int rank) {
  return scheduler().peer_arena(rank);
}
size_t shared_offset(const void* key, const char* name, size_t bytes, size_t align) {
  return scheduler().shared_offset(key, name, bytes, align);
}
size_t dynamic_shared_begin() {
  return kStaticShared;
}
size_t dynamic_shared_bytes() {
  return scheduler().dynamic_bytes;
}

void fail_bounds(const char* name, int64_t index, int64_t count) {
  fail("%s[%lld] lies outside its %lld elements", name, static_cast<long long>(index),
       static_cast<long long>(count));
}
void touch_shared(const Arena& arena, size_t offset, size_t size, Use use, const void* value,
                  const char* name, int64_t index) {
  scheduler().touch_shared(arena, offset, size, use, value, name, index);
}
void fail_misaligned(const void* p, int bytes) {
  fail("%p is not aligned to %d bytes", p, bytes);
}

}  // namespace emulator
}  // namespace firesteel
