// Memory of one engine: blocks are pooled by size class, bounded by a limit, and counted, so that
// running out is an error and not a killed process.
#pragma once
#include <stdint.h>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "runtime/device.h"
#include "runtime/fault.h"
#include "runtime/status.h"

namespace firesteel {

class MemoryPool;

struct FaultRecord;

// A refcounted block. `failure` and `faults` belong to the stream: only its running task reads and
// writes them.
class Storage {
 public:
  Storage(std::shared_ptr<MemoryPool> pool, int64_t bytes)
      : pool_(std::move(pool)), bytes_(bytes) {}
  // Memory of the host that somebody lends, who knows when it is no longer used.
  Storage(void* data, int64_t bytes, void* lender) : lender(lender), data_(data), bytes_(bytes) {}
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  void* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

  std::shared_ptr<const Status> failure;  // why the contents do not exist, or null
  std::shared_ptr<FaultRecord> faults;    // of the call that wrote the contents, or null
  int handles = 0;  // JavaScript's, which alone counts them; with the last one goes its accounting
  void* const lender = nullptr;  // null: the pool's memory

 private:
  friend class MemoryPool;
  std::shared_ptr<MemoryPool> pool_;  // null: lent memory
  void* data_ = nullptr;
  int64_t bytes_, block_ = 0;
};

struct FaultRecord {
  std::string call;
  std::shared_ptr<Storage> word;  // holds one FaultWord
  bool reported = false;
};

struct MemoryStats {
  int64_t live, pooled, peak, limit;
};

class MemoryPool : public std::enable_shared_from_this<MemoryPool> {
 public:
  // Keeps the device open as long as any block lives.
  MemoryPool(std::shared_ptr<Context> context, int64_t limit)
      : context_(std::move(context)), limit_(limit) {}
  ~MemoryPool();

  // What an allocation of `bytes` takes of the limit.
  static int64_t block_bytes(int64_t bytes);

  // Contents are undefined. bytes = 0 is a valid, distinct storage.
  Status allocate(int64_t bytes, std::shared_ptr<Storage>* out);
  // What is said of `bytes` that are not to be had. `why`: where it is not the limit.
  Status refusal(int64_t bytes, const std::string& why) const;
  MemoryStats stats() const;

 private:
  friend class Storage;
  // Blocks of one size. `free` has room for all of them: giving one back allocates nothing, so that
  // it cannot fail.
  struct SizeClass {
    std::vector<void*> free;
    size_t blocks = 0;
  };
  Status take_locked(int64_t bytes, Storage* storage);
  Status refusal_locked(int64_t bytes, const std::string& why) const;
  void release(void* data, int64_t block) noexcept;
  void trim_locked(int64_t needed);

  std::shared_ptr<Context> context_;
  const int64_t limit_;
  mutable std::mutex mutex_;
  std::map<int64_t, SizeClass> classes_;  // by block size
  int64_t live_ = 0, pooled_ = 0, peak_ = 0;
};

}  // namespace firesteel
