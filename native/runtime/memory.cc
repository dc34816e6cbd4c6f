#include "runtime/memory.h"

#include <algorithm>

#include "runtime/sanitizer.h"

namespace firesteel {
Storage::~Storage() {
  if (pool_ != nullptr && data_ != nullptr) pool_->release(data_, block_);
}

MemoryPool::~MemoryPool() {
  for (auto& [block, size_class] : classes_) {
    for (void* data : size_class.free) device_free(*context_, data, block);
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
  auto storage = std::make_shared<Storage>(shared_from_this(), bytes);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    Status status = take_locked(bytes, storage.get());
    if (!status.ok()) return status;
  }
  *out = std::move(storage);
  return {};
}

Status MemoryPool::take_locked(int64_t bytes, Storage* storage) {
  const int64_t block = block_bytes(bytes);
  SizeClass& size_class = classes_[block];
  void* data = nullptr;
  if (!size_class.free.empty()) {
    data = size_class.free.back();
    size_class.free.pop_back();
    pooled_ -= block;
  } else {
    if (size_class.free.capacity() <= size_class.blocks) {
      size_class.free.reserve(std::max<size_t>(8, 2 * size_class.blocks));
    }
    if (live_ + pooled_ + block > limit_) trim_locked(live_ + pooled_ + block - limit_);
    if (block > limit_ - live_) return refusal_locked(bytes, "");
    Status status = device_allocate(*context_, block, &data);
    if (!status.ok() && pooled_ > 0) {
      trim_locked(pooled_);
      status = device_allocate(*context_, block, &data);
    }
    if (status.code == Code::out_of_memory) return refusal_locked(bytes, status.message);
    if (!status.ok()) return status;
    ++size_class.blocks;
  }
  // A pooled block is as good as freed, and its end lies beyond what was asked for.
  allow_access(data, static_cast<size_t>(bytes));
  forbid_access(static_cast<char*>(data) + bytes, static_cast<size_t>(block - bytes));
  storage->data_ = data;
  storage->block_ = block;
  live_ += block;
  peak_ = std::max(peak_, live_);
  return {};
}

Status MemoryPool::refusal(int64_t bytes, const std::string& why) const {
  std::lock_guard<std::mutex> lock(mutex_);
  return refusal_locked(bytes, why);
}

Status MemoryPool::refusal_locked(int64_t bytes, const std::string& why) const {
  std::string message = "expected at most " + std::to_string(std::max<int64_t>(0, limit_ - live_)) +
                        " more bytes (limit " + std::to_string(limit_) + ", in use " +
                        std::to_string(live_) + ") but " + std::to_string(bytes) +
                        " were asked for";
  if (!why.empty()) message += ": " + why;
  return Status::error(Code::out_of_memory, std::move(message));
}

void MemoryPool::release(void* data, int64_t block) noexcept {
  forbid_access(data, static_cast<size_t>(block));
  std::lock_guard<std::mutex> lock(mutex_);
  classes_.find(block)->second.free.push_back(data);
  live_ -= block;
  pooled_ += block;
}

void MemoryPool::trim_locked(int64_t needed) {
  // Largest blocks first: fewest calls for the bytes.
  for (auto it = classes_.rbegin(); it != classes_.rend() && needed > 0; ++it) {
    auto& [block, size_class] = *it;
    while (!size_class.free.empty() && needed > 0) {
      device_free(*context_, size_class.free.back(), block);
      size_class.free.pop_back();
      --size_class.blocks;
      pooled_ -= block;
      needed -= block;
    }
  }
}

MemoryStats MemoryPool::stats() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return {live_, pooled_, peak_, limit_};
}

}  // namespace firesteel
