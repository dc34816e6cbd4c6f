// Several engines, each fed by a thread of its own as by a worker, on the one pool of the process:
// what ThreadSanitizer watches (npm run test:sanitize). FIRESTEEL_STRESS multiplies the rounds.
#include <doctest/doctest.h>
#include <stdlib.h>
#include <string.h>

#include <random>

#include "runtime/cpu/context.h"
#include "runtime/stream.h"

namespace firesteel {
namespace {

int rounds(int least) {
  const char* factor = getenv("FIRESTEEL_STRESS");
  return factor == nullptr ? least : least * atoi(factor);
}

struct Opened {
  std::atomic<bool> cancelled{false};
  std::shared_ptr<Context> context;
  std::shared_ptr<MemoryPool> pool;
  std::unique_ptr<Stream> stream;

  Opened(int threads, int64_t limit) {
    ContextPtr made(nullptr, [](Context*) {});
    DeviceInfo info;
    if (!device_open(threads, &cancelled, &made, &info).ok()) abort();
    context = std::shared_ptr<Context>(std::move(made));
    pool = std::make_shared<MemoryPool>(context, limit);
    stream = std::make_unique<Stream>(context, &cancelled);
  }
};

using Numbers = std::shared_ptr<Storage>;
constexpr int kCount = 1000;

int* numbers(const Numbers& storage) {
  return static_cast<int*>(storage->data());
}

Numbers allocate(MemoryPool& pool) {
  Numbers storage;
  return pool.allocate(kCount * sizeof(int), &storage).ok() ? storage : nullptr;
}

// to = from + 1, split over the pool.
Task add_one(Numbers from, Numbers to, Code fails_with = Code::ok) {
  Task task;
  task.name = "add_one";
  task.accesses = {{from, true, false, false}, {to, false, true, true}};
  task.run = [from = numbers(from), to = numbers(to), fails_with](Context& context) {
    if (fails_with != Code::ok) return Status::error(fails_with, "told to fail");
    return context.parallel(kCount, 64, [=](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) to[i] = from[i] + 1;
    });
  };
  return task;
}

// Runs body(i) on `count` threads at once.
template <class Body>
void together(int count, Body body) {
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) threads.emplace_back([&body, i] { body(i); });
  for (std::thread& thread : threads) thread.join();
}

TEST_CASE("engines that share the pool each get the results of their own calls, in order") {
  std::atomic<int> wrong{0};
  together(4, [&wrong](int engine) {
    Opened opened(1 + engine, 1 << 20);
    std::mt19937 random(static_cast<unsigned>(engine));
    Numbers a = allocate(*opened.pool), b = allocate(*opened.pool);
    for (int round = 0; round < rounds(5); ++round) {
      std::fill_n(numbers(a), kCount, engine * 1000);
      const int calls = 40;
      for (int call = 0; call < calls; ++call) {
        opened.stream->submit(add_one(call % 2 == 0 ? a : b, call % 2 == 0 ? b : a),
                              random() % 3 == 0);
      }
      opened.stream->wait();
      for (int i = 0; i < kCount; ++i) wrong += numbers(a)[i] != engine * 1000 + calls;
    }
  });
  CHECK(wrong == 0);
}

TEST_CASE("an engine may go at any moment: every call is answered once, the others go on") {
  std::atomic<int> asked{0}, answered{0}, unexpected{0};
  together(4, [&](int engine) {
    for (int round = 0; round < rounds(8); ++round) {
      Opened opened(1 + (engine + round) % 4, 1 << 20);
      Numbers a = allocate(*opened.pool), b = allocate(*opened.pool);
      std::fill_n(numbers(a), kCount, 0);
      const int calls = 5 * (round % 5);
      for (int call = 0; call < calls; ++call) {
        Task task = add_one(a, b);
        task.done = [&](const std::shared_ptr<const Status>& failure) {
          ++answered;
          const bool known = failure == nullptr || failure->code == Code::disposed ||
                             failure->code == Code::aborted;
          unexpected += !known;
        };
        ++asked;
        opened.stream->submit(std::move(task), false);
      }
      if (round % 3 == 0) opened.cancelled = true;  // as a signal does, before the stream goes
      if (round % 3 == 1) opened.stream->wait();
    }
  });
  CHECK(answered == asked);
  CHECK(unexpected == 0);
}

TEST_CASE("poison reaches what reads a failed result and nothing else, on every engine at once") {
  std::atomic<int> wrong{0};
  together(3, [&wrong](int engine) {
    Opened opened(2, 1 << 20);
    std::mt19937 random(static_cast<unsigned>(engine) + 100);
    std::vector<Numbers> storages;
    for (int i = 0; i < 8; ++i) {
      storages.push_back(allocate(*opened.pool));
      std::fill_n(numbers(storages.back()), kCount, 0);
    }
    for (int round = 0; round < rounds(10); ++round) {
      std::vector<bool> poisoned(storages.size());
      for (size_t i = 0; i < storages.size(); ++i) {
        poisoned[i] = storages[i]->failure != nullptr;
      }
      for (int call = 0; call < 30; ++call) {
        const size_t from = random() % storages.size();
        const size_t to = (from + 1 + random() % (storages.size() - 1)) % storages.size();
        const bool fails = random() % 8 == 0;
        poisoned[to] = poisoned[from] || fails;
        opened.stream->submit(add_one(storages[from], storages[to], fails ? Code::range : Code::ok),
                              random() % 3 == 0);
      }
      opened.stream->wait();
      for (size_t i = 0; i < storages.size(); ++i) {
        wrong += (storages[i]->failure != nullptr) != poisoned[i];
      }
    }
  });
  CHECK(wrong == 0);
}

TEST_CASE("threads that allocate under one limit never exceed it and never share a block") {
  constexpr int64_t kLimit = 64 << 10;
  Opened opened(2, kLimit);
  std::atomic<int> refused{0}, wrong{0};
  together(4, [&](int thread) {
    std::mt19937 random(static_cast<unsigned>(thread) + 200);
    std::vector<Numbers> held;
    for (int step = 0; step < rounds(400); ++step) {
      const int64_t bytes = int64_t{1} << (8 + random() % 7);
      Numbers storage;
      if (opened.pool->allocate(bytes, &storage).ok()) {
        memset(storage->data(), thread, static_cast<size_t>(bytes));
        held.push_back(std::move(storage));
      } else {
        ++refused;
        held.clear();
      }
      if (!held.empty() && random() % 4 == 0) {
        const Numbers& any = held[random() % held.size()];
        const char* bytes_held = static_cast<const char*>(any->data());
        for (int64_t i = 0; i < any->bytes(); ++i) wrong += bytes_held[i] != thread;
        held.erase(held.begin());
      }
      const MemoryStats stats = opened.pool->stats();
      wrong += stats.live > kLimit || stats.live + stats.pooled > kLimit;
    }
  });
  CHECK(wrong == 0);
  CHECK(refused > 0);
  CHECK(opened.pool->stats().live == 0);
}

TEST_CASE("what an engine made outlives it, and is given back from any thread") {
  std::vector<Numbers> results;
  std::mutex mutex;
  std::weak_ptr<MemoryPool> pools[4];
  together(4, [&](int engine) {
    Opened opened(2, 1 << 20);
    pools[engine] = opened.pool;
    Numbers from = allocate(*opened.pool);
    std::fill_n(numbers(from), kCount, engine);
    for (int call = 0; call < 8; ++call) {
      Numbers to = allocate(*opened.pool);
      opened.stream->submit(add_one(from, to), false);
      const std::lock_guard<std::mutex> lock(mutex);
      results.push_back(to);
    }
    opened.stream->wait();
  });
  REQUIRE(results.size() == 32);
  for (const Numbers& result : results) {
    const int first = numbers(result)[0];
    CHECK(first >= 1);
    CHECK(first <= 4);
    for (int i = 0; i < kCount; ++i) REQUIRE(numbers(result)[i] == first);
  }
  together(4, [&](int thread) {
    for (size_t i = static_cast<size_t>(thread); i < results.size(); i += 4) results[i].reset();
  });
  for (const auto& pool : pools) CHECK(pool.expired());
}

}  // namespace
}  // namespace firesteel
