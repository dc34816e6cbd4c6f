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
  Storage(std::shared_ptr<MemoryPool> pool, void* data, int64_t bytes, int64_t block)
      : pool_(std::move(pool)), data_(data), bytes_(bytes), block_(block) {}
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  void* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

  std::shared_ptr<const Status> failure;  // why the contents do not exist, or null
  std::shared_ptr<FaultRecord> faults;    // of the call that wrote the contents, or null

 private:
  std::shared_ptr<MemoryPool> pool_;
  void* data_;
  int64_t bytes_, block_;
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
  MemoryStats stats() const;

 private:
  friend class Storage;
  void release(void* data, int64_t block);
  void trim_locked(int64_t needed);

  std::shared_ptr<Context> context_;
  const int64_t limit_;
  mutable std::mutex mutex_;
  std::map<int64_t, std::vector<void*>> free_;  // block size -> blocks
  int64_t live_ = 0, pooled_ = 0, peak_ = 0;
};

}  // namespace firesteel
