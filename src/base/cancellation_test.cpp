// A request stops the threads that work under it, and no others.
#include "ram/cancellation.h"

#include <atomic>
#include <optional>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "ram/error.h"
#include "ram/thread.h"

namespace ram {
namespace {

bool stopped() {
  try {
    check_interrupted();
    return false;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kInterrupted);
    return true;
  }
}

TEST(Cancellation, StopsWorkInItsScopeOnly) {
  EXPECT_FALSE(stopped());
  const Cancellation cancellation;
  cancellation.request();
  EXPECT_FALSE(stopped());
  {
    const CancelScope scope(cancellation);
    EXPECT_TRUE(stopped());
    {
      const CancelScope inner{Cancellation()};
      EXPECT_FALSE(stopped());
    }
    EXPECT_TRUE(stopped());
  }
  EXPECT_FALSE(stopped());
}

TEST(Cancellation, ACopyIsTheSameRequest) {
  const Cancellation one;
  Cancellation other;
  other = one;
  other.request();
  EXPECT_TRUE(one.requested());
  EXPECT_FALSE(Cancellation().requested());
}

TEST(Cancellation, ComesFromAnotherThread) {
  const Cancellation cancellation;
  const CancelScope scope(cancellation);
  std::thread([cancellation] { cancellation.request(); }).join();
  EXPECT_TRUE(stopped());
}

// A request stops the workers of the thread that has the scope, including those of a pool that was
// started in another scope. Concurrent requests do not stop each other's workers.
TEST(Cancellation, GoesWithTheWorkToOtherThreads) {
  const Cancellation requested;
  requested.request();
  const auto stopped_of = [](const auto& run) {
    std::atomic<int> count{0};
    run([&](int64_t, int) { count += stopped() ? 1 : 0; });
    return count.load();
  };
  constexpr int64_t kTasks = 100;
  const CancelScope outer{Cancellation()};
  ThreadPool pool(3);  // started under another scope
  const auto on_pool = [&pool](const auto& task) { pool.run(kTasks, task); };
  const auto on_new = [](const auto& task) { parallel_for(3, kTasks, task); };
  {
    const CancelScope scope(requested);
    EXPECT_EQ(stopped_of(on_pool), kTasks);
    EXPECT_EQ(stopped_of(on_new), kTasks);
  }
  EXPECT_EQ(stopped_of(on_pool), 0);
  EXPECT_EQ(stopped_of(on_new), 0);
  std::vector<std::thread> both;
  std::atomic<int> wrong{0};
  for (const bool asked : {true, false}) {
    both.emplace_back([&wrong, asked, requested, stopped_of] {
      const CancelScope scope(asked ? requested : Cancellation());
      ThreadPool own(2);
      for (int i = 0; i < 50; ++i) {
        const int found = stopped_of([&own](const auto& task) { own.run(kTasks, task); });
        wrong += found == (asked ? kTasks : 0) ? 0 : 1;
      }
    });
  }
  for (std::thread& thread : both) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(Cancellation, EndsParallelWorkWithItsError) {
  const Cancellation cancellation;
  const CancelScope scope(cancellation);
  std::atomic<int64_t> done{0};
  try {
    parallel_for(4, 1'000'000'000, [&](int64_t index, int) {
      check_interrupted();
      ++done;
      if (index == 1000) cancellation.request();
    });
    ADD_FAILURE() << "not stopped";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kInterrupted);
  }
  EXPECT_GE(done, 1000);
}

}  // namespace
}  // namespace ram
