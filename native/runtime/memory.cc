#include "runtime/memory.h"

#include <algorithm>

#include "runtime/sanitizer.h"

namespace firesteel {
Storage::~Storage() {
  pool_->release(data_, block_);
}

MemoryPool::~MemoryPool() {
  for (auto& [block, list] : free_) {
    for (void* data : list) device_free(*context_, data, block);
  }
}

// Four classes per power of two: at most 25 % of a block is unused, and a training step that
// allocates the same shapes again finds its blocks.
int64_t MemoryPool::block_bytes(int64_t bytes) {
  int64_t power = 256;
  while (power < bytes && power < (int64_t{1} << 40)) power *= 2;
  if (power <= 1024) return power;
  const int64_t step = power / 8;  // classes 5/8, 6/8, 7/8, 8/8 of the power of two
  return (bytes + step - 1) / step * step;
}

Status MemoryPool::allocate(int64_t bytes, std::shared_ptr<Storage>* out) {
  const int64_t block = block_bytes(bytes);
  void* data = nullptr;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    auto found = free_.find(block);
    if (found != free_.end() && !found->second.empty()) {
      data = found->second.back();
      found->second.pop_back();
      pooled_ -= block;
    } else {
      if (live_ + pooled_ + block > limit_) trim_locked(live_ + pooled_ + block - limit_);
      if (block > limit_ - live_) {
        return Status::error(Code::out_of_memory,
                             "expected at most " + std::to_string(limit_ - live_) +
                                 " more bytes (limit " + std::to_string(limit_) + ", in use " +
                                 std::to_string(live_) + ") but " + std::to_string(bytes) +
                                 " were asked for");
      }
      Status status = device_allocate(*context_, block, &data);
      if (!status.ok() && pooled_ > 0) {
        trim_locked(pooled_);
        status = device_allocate(*context_, block, &data);
      }
      if (!status.ok()) return status;
    }
    // A pooled block is as good as freed, and its end lies beyond what was asked for.
    allow_access(data, static_cast<size_t>(bytes));
    forbid_access(static_cast<char*>(data) + bytes, static_cast<size_t>(block - bytes));
    live_ += block;
    peak_ = std::max(peak_, live_);
  }
  *out = std::make_shared<Storage>(shared_from_this(), data, bytes, block);
  return {};
}

void MemoryPool::release(void* data, int64_t block) {
  forbid_access(data, static_cast<size_t>(block));
  std::lock_guard<std::mutex> lock(mutex_);
  free_[block].push_back(data);
  live_ -= block;
  pooled_ += block;
}

void MemoryPool::trim_locked(int64_t needed) {
  // Largest blocks first: fewest calls for the bytes.
  for (auto it = free_.rbegin(); it != free_.rend() && needed > 0; ++it) {
    while (!it->second.empty() && needed > 0) {
      device_free(*context_, it->second.back(), it->first);
      it->second.pop_back();
      pooled_ -= it->first;
      needed -= it->first;
    }
  }
}

MemoryStats MemoryPool::stats() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return {live_, pooled_, peak_, limit_};
}

}  // namespace firesteel
