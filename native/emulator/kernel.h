// What a kernel sees of the emulator: its coordinates, rendezvous with other threads, and shared
// memory that is checked at every access.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <type_traits>

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

namespace firesteel {
namespace emulator {

// Where in the source a thread meets others; threads that meet must stand at the same place.
struct Site {
  const char* what;
  const char* file;
  int line;
};

// Ends the launch with this message; the thread does not run again.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

enum class WarpOp : int { sync, shuffle, shuffle_up, shuffle_down, shuffle_xor, ballot };
// All lanes of `mask` meet; the value of the source lane, or for ballot the mask of nonzero values.
uint64_t warp_meet(WarpOp op, unsigned mask, uint64_t value, int argument, int width, Site site);
// All 32 lanes of the warp meet; the last to come does `work`, once, on what each lane brought.
using WarpWork = void (*)(void* const (&lanes)[32]);
void warp_collect(void* mine, WarpWork work, Site site);
// All threads of the block meet; the number of nonzero predicates.
int block_barrier(bool predicate, Site site);

int cluster_rank();
int cluster_size();
void cluster_arrive(Site site);
void cluster_wait(Site site);

// Who touched a byte of shared memory last, and when: in meetings of threads, counted over all
// launches of the operating-system thread.
struct Mark {
  uint64_t written, read, read_before;
  uint16_t writer, reader, reader_before;  // `reader_before` is another thread than `reader`
  bool atomic;                             // the write
  bool in_flight;                          // the write is a copy that its thread did not await yet
};

// The shared memory of one block.
struct Arena {
  unsigned char* bytes;
  Mark* marks;  // one for each byte
  bool gone;    // the block has returned
};
// A copy into shared memory writes twice: when it starts, and when its thread has awaited it.
enum class Use : int { read, write, atomic, copy_start, copy_end };
// Fails where a card would give no defined value: a read of what the block has not written, and two
// threads at the same byte, one of them writing, with no barrier between. `value`: what a write is
// about to store; two threads may store the same.
void touch_shared(const Arena& arena, size_t offset, size_t size, Use use, const void* value,
                  const char* name, int64_t index);
// Copies to shared memory that take place behind the thread's back: until it waits for their group,
// what they write may neither be read nor written.
constexpr int kCopyBytes = 16;
void copy_start(const Arena& arena, size_t offset, const void* from, int bytes, const char* name,
                int64_t index);
void copy_commit();               // what was started since the last one becomes a group
void copy_wait(int groups_left);  // until at most so many of the newest groups are on their way
Arena* own_arena();
Arena* peer_arena(int rank);
size_t shared_offset(const void* key, const char* name, size_t bytes, size_t align);
size_t dynamic_shared_begin();
size_t dynamic_shared_bytes();

[[noreturn]] void fail_bounds(const char* name, int64_t index, int64_t count);
[[noreturn]] void fail_misaligned(const void* p, int bytes);

inline void require_aligned(const void* p, int bytes) {
  if (reinterpret_cast<uintptr_t>(p) % static_cast<unsigned>(bytes) != 0) fail_misaligned(p, bytes);
}

template <class T>
class SharedPtr;

// One element of shared memory.
template <class T>
class Cell {
 public:
  explicit Cell(const SharedPtr<T>& at) : at_(at) {}
  Cell(const Cell&) = default;
  operator T() const { return at_.read(); }
  const Cell& operator=(const T& value) const {
    at_.write(value);
    return *this;
  }
  const Cell& operator=(const Cell& other) const { return *this = static_cast<T>(other); }
  const Cell& operator+=(const T& b) const { return *this = static_cast<T>(at_.read() + b); }
  const Cell& operator-=(const T& b) const { return *this = static_cast<T>(at_.read() - b); }
  const Cell& operator*=(const T& b) const { return *this = static_cast<T>(at_.read() * b); }
  SharedPtr<T> operator&() const { return at_; }

 private:
  SharedPtr<T> at_;
};

template <class T>
class SharedPtr {
  static_assert(std::is_trivially_copyable<T>::value, "shared memory holds plain data");

 public:
  SharedPtr() = default;
  SharedPtr(Arena* arena, size_t begin, int64_t count, const char* name)
      : arena_(arena), begin_(begin), count_(count), name_(name) {}

  Cell<T> operator[](int64_t i) const { return Cell<T>(*this + i); }
  Cell<T> operator*() const { return Cell<T>(*this); }
  SharedPtr operator+(int64_t n) const {
    SharedPtr p = *this;
    p.index_ += n;
    return p;
  }
  SharedPtr operator-(int64_t n) const { return *this + -n; }
  SharedPtr& operator+=(int64_t n) { return *this = *this + n; }
  SharedPtr& operator++() { return *this += 1; }

  T read() const { return load(Use::read); }
  void write(const T& value) const {
    check();
    touch_shared(*arena_, offset(), sizeof(T), Use::write, &value, name_, index_);
    memcpy(arena_->bytes + offset(), &value, sizeof value);
  }
  // Neighbouring elements by one access.
  void read_run(T* to, int count) const {
    check(count);
    const size_t bytes = static_cast<size_t>(count) * sizeof(T);
    touch_shared(*arena_, offset(), bytes, Use::read, nullptr, name_, index_);
    memcpy(to, arena_->bytes + offset(), bytes);
  }
  void write_run(const T* from, int count) const {
    check(count);
    const size_t bytes = static_cast<size_t>(count) * sizeof(T);
    touch_shared(*arena_, offset(), bytes, Use::write, from, name_, index_);
    memcpy(arena_->bytes + offset(), from, bytes);
  }
  // The first `bytes` of the 16 from `from`, zeros after them.
  void copy_from(const void* from, int bytes) const {
    check(kCopyBytes / static_cast<int>(sizeof(T)));
    copy_start(*arena_, offset(), from, bytes, name_, index_);
  }
  // The new value is a function of the old one.
  template <class Function>
  T update(Function function) const {
    const T old = load(Use::atomic);
    const T value = function(old);
    memcpy(arena_->bytes + offset(), &value, sizeof value);
    return old;
  }
  // For alignment checks only.
  const void* address() const { return arena_->bytes + offset(); }
  SharedPtr in_arena(Arena* arena) const {
    SharedPtr p = *this;
    p.arena_ = arena;
    return p;
  }

 private:
  void check(int64_t count = 1) const {
    if (index_ < 0) fail_bounds(name_, index_, count_);
    if (index_ + count > count_) fail_bounds(name_, index_ + count - 1, count_);
  }
  T load(Use use) const {
    check();
    touch_shared(*arena_, offset(), sizeof(T), use, nullptr, name_, index_);
    T value;
    memcpy(&value, arena_->bytes + offset(), sizeof value);
    return value;
  }
  size_t offset() const {
    return static_cast<size_t>(static_cast<int64_t>(begin_) +
                               index_ * static_cast<int64_t>(sizeof(T)));
  }

  Arena* arena_ = nullptr;
  size_t begin_ = 0;
  int64_t index_ = 0, count_ = 0;
  const char* name_ = "";
};

template <class T>
SharedPtr<T> shared_array(const void* key, const char* name, int64_t count) {
  const size_t bytes = static_cast<size_t>(count) * sizeof(T);
  return {own_arena(), shared_offset(key, name, bytes, alignof(T)), count, name};
}

template <class T>
SharedPtr<T> dynamic_shared(size_t byte_offset) {
  const size_t total = dynamic_shared_bytes();
  if (byte_offset % alignof(T) != 0) {
    fail("dynamic shared memory at byte %zu is not aligned to %zu", byte_offset, alignof(T));
  }
  const size_t left = byte_offset < total ? total - byte_offset : 0;
  return {own_arena(), dynamic_shared_begin() + byte_offset, static_cast<int64_t>(left / sizeof(T)),
          "dynamic shared memory"};
}

template <class T>
SharedPtr<T> shared_of_peer(const SharedPtr<T>& p, int rank) {
  return p.in_arena(peer_arena(rank));
}

}  // namespace emulator
}  // namespace firesteel
