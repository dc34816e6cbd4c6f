// The stream and its memory, on the CPU device: order, poison, inline work, shutdown, limits.
#include "runtime/stream.h"

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>

#include "runtime/cpu/context.h"

namespace firesteel {
namespace {

struct Fixture {
  std::atomic<bool> cancelled{false};
  std::shared_ptr<Context> context;
  std::shared_ptr<MemoryPool> pool;
  std::unique_ptr<Stream> stream;

  explicit Fixture(int64_t limit = 1 << 20) {
    ContextPtr opened(nullptr, [](Context*) {});
    DeviceInfo info;
    REQUIRE(device_open(2, &cancelled, &opened, &info).ok());
    context = std::shared_ptr<Context>(std::move(opened));
    pool = std::make_shared<MemoryPool>(context, limit);
    stream = std::make_unique<Stream>(context, &cancelled);
  }

  std::shared_ptr<Storage> block(int64_t bytes = 256) {
    std::shared_ptr<Storage> storage;
    REQUIRE(pool->allocate(bytes, &storage).ok());
    return storage;
  }

  Task task(const char* name, std::vector<Access> accesses, std::function<Status()> run) {
    Task made;
    made.name = name;
    made.accesses = std::move(accesses);
    made.run = [run](Context&) { return run(); };
    return made;
  }
};

Access reads(std::shared_ptr<Storage> s) {
  return {s, true, false, false};
}
Access writes(std::shared_ptr<Storage> s) {
  return {s, false, true, true};
}

TEST_CASE("tasks run in the order of submission, queued or inline") {
  Fixture f;
  std::vector<int> order;
  for (int i = 0; i < 200; ++i) {
    f.stream->submit(f.task("step", {},
                            [&order, i] {
                              order.push_back(i);
                              return Status{};
                            }),
                     i % 3 == 0);
  }
  f.stream->wait();
  REQUIRE(order.size() == 200);
  for (int i = 0; i < 200; ++i) CHECK(order[i] == i);
}

TEST_CASE("a small task on an idle stream has run when submit returns") {
  Fixture f;
  bool ran = false;
  f.stream->submit(f.task("small", {},
                          [&ran] {
                            ran = true;
                            return Status{};
                          }),
                   true);
  CHECK(ran);
}

TEST_CASE("a failed task poisons its outputs and what consumes them, and nothing else") {
  Fixture f;
  auto a = f.block(), b = f.block(), c = f.block(), d = f.block();
  bool consumer_ran = false, other_ran = false;
  f.stream->submit(
      f.task("broken", {writes(a)}, [] { return Status::error(Code::range, "told to fail"); }),
      false);
  f.stream->submit(f.task("consumer", {reads(a), writes(b)},
                          [&] {
                            consumer_ran = true;
                            return Status{};
                          }),
                   false);
  f.stream->submit(f.task("other", {reads(c), writes(d)},
                          [&] {
                            other_ran = true;
                            return Status{};
                          }),
                   false);
  f.stream->wait();
  CHECK_FALSE(consumer_ran);
  CHECK(other_ran);
  REQUIRE(b->failure);
  CHECK(b->failure->code == Code::range);
  CHECK(b->failure->message == "broken: told to fail");  // the call that failed, not the consumer
  CHECK_FALSE(d->failure);
  // Overwriting the whole block makes it usable again.
  f.stream->submit(f.task("rewrite", {writes(a)}, [] { return Status{}; }), false);
  f.stream->wait();
  CHECK_FALSE(a->failure);
}

TEST_CASE("shutting down reports to what has not run and joins the conductor") {
  Fixture f;
  std::atomic<int> disposed{0};
  std::atomic<bool> started{false};
  f.stream->submit(f.task("long", {},
                          [&] {
                            started = true;
                            while (!f.cancelled) std::this_thread::yield();
                            return Status::error(Code::aborted, "cancelled");
                          }),
                   false);
  while (!started) std::this_thread::yield();
  for (int i = 0; i < 5; ++i) {
    Task waiting = f.task("waiting", {}, [] { return Status{}; });
    waiting.done = [&](const std::shared_ptr<const Status>& s) {
      disposed += s && s->code == Code::disposed;
    };
    f.stream->submit(std::move(waiting), false);
  }
  f.stream.reset();
  CHECK(disposed == 5);
}

// Caps the address space where it is now: no room for the stack of another thread.
struct NoMoreThreads {
  rlimit before;
  NoMoreThreads() {
    getrlimit(RLIMIT_AS, &before);
    long pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    const rlimit capped{static_cast<rlim_t>(pages * sysconf(_SC_PAGESIZE)) + (1 << 20),
                        before.rlim_max};
    setrlimit(RLIMIT_AS, &capped);
  }
  ~NoMoreThreads() { setrlimit(RLIMIT_AS, &before); }
};

// Why the address space cannot be capped in this process, or null.
const char* why_uncapped() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return "a sanitizer needs address space of its own";
#else
  const NoMoreThreads limit;
  constexpr size_t kMore = 16 << 20;
  void* more = mmap(nullptr, kMore, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (more == MAP_FAILED) return nullptr;
  munmap(more, kMore);
  return "RLIMIT_AS has no effect here, as under QEMU";
#endif
}

TEST_CASE(
    "a system without another thread: calls still run, an engine that needs threads is refused") {
  if (const char* why = why_uncapped()) {
    MESSAGE("skipped: " << std::string(why));
    return;
  }
  constexpr int kMany = 64;  // more than the C library keeps stacks of ended threads for
  std::vector<std::unique_ptr<Fixture>> fixtures;
  for (int i = 0; i < kMany; ++i) fixtures.push_back(std::make_unique<Fixture>());
  int ran = 0;
  std::atomic<bool> cancelled{false};
  ContextPtr opened(nullptr, [](Context*) {});
  DeviceInfo info;
  Status refused;
  {
    NoMoreThreads limit;
    for (auto& f : fixtures) {
      Task task;
      task.run = [&](Context&) { return ++ran, Status{}; };
      f->stream->submit(std::move(task), false);
      f->stream->wait();
    }
    refused = device_open(kMany, &cancelled, &opened, &info);
  }
  CHECK(ran == kMany);
  CHECK(refused.code == Code::out_of_memory);
  CHECK(refused.message.find("64 threads") != std::string::npos);
}

TEST_CASE("a caller far ahead waits instead of queueing without end") {
  Fixture f;
  std::atomic<int> ran{0};
  int most_ahead = 0;
  for (int i = 0; i < 2000; ++i) {
    f.stream->submit(f.task("step", {},
                            [&ran] {
                              ++ran;
                              return Status{};
                            }),
                     false);
    most_ahead = std::max(most_ahead, i + 1 - ran);
  }
  f.stream->wait();
  CHECK(ran == 2000);
  CHECK(most_ahead <= 257);  // 256 queued and the one that runs
}

TEST_CASE("the pool refuses what exceeds its limit, stays usable and reuses blocks") {
  Fixture f(1 << 16);
  std::shared_ptr<Storage> large, small;
  const Status refused = f.pool->allocate(1 << 17, &large);
  CHECK(refused.code == Code::out_of_memory);
  CHECK_FALSE(large);
  REQUIRE(f.pool->allocate(40000, &small).ok());
  void* first = small->data();
  small.reset();
  CHECK(f.pool->stats().live == 0);
  CHECK(f.pool->stats().pooled > 0);
  REQUIRE(f.pool->allocate(40000, &small).ok());
  CHECK(small->data() == first);
  // Pooled blocks of another class make room when the limit is near.
  small.reset();
  REQUIRE(f.pool->allocate(60000, &large).ok());
  CHECK(f.pool->stats().live + f.pool->stats().pooled <= 1 << 16);
}

TEST_CASE("parallel covers every item once, at any number of threads") {
  for (int threads : {1, 2, 4, 7}) {
    std::atomic<bool> cancelled{false};
    ContextPtr opened(nullptr, [](Context*) {});
    DeviceInfo info;
    REQUIRE(device_open(threads, &cancelled, &opened, &info).ok());
    std::vector<std::atomic<int>> hits(1000);
    REQUIRE(opened
                ->parallel(1000, 7,
                           [&](int64_t begin, int64_t end) {
                             for (int64_t i = begin; i < end; ++i) ++hits[i];
                           })
                .ok());
    for (const auto& hit : hits) CHECK(hit == 1);
  }
}

}  // namespace
}  // namespace firesteel
