#include "ram/thread.h"

#include <atomic>
#include <vector>

#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ram/error.h"
#include "ram/hash.h"

#include "support/sanitizers.h"

namespace ram {
namespace {

TEST(Threads, EveryIndexIsDoneOnceWhateverTheNumberOfThreads) {
  for (const int threads : {1, 2, 7}) {
    std::vector<std::atomic<int>> done(1000);
    parallel_for(threads, 1000, [&](int64_t index, int worker) {
      ASSERT_LT(worker, threads);
      ++done[static_cast<size_t>(index)];
    });
    for (const auto& count : done) ASSERT_EQ(count, 1);
  }
  parallel_for(3, 0, [](int64_t, int) { FAIL() << "nothing to do"; });
}

TEST(Threads, TheFirstExceptionReachesTheCallerAndStopsTheRest) {
  std::atomic<int> done{0};
  EXPECT_THROW(parallel_for(2, 1000000,
                            [&](int64_t index, int) {
                              ++done;
                              if (index == 5) fail(Code::kCorrupt, "index {}", index);
                            }),
               Error);
  EXPECT_LT(done, 1000000);
}

TEST(ThreadPool, EveryIndexOfEveryCallIsDoneOnce) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (int64_t count = 0; count < 200; ++count) {
      std::vector<std::atomic<int>> done(static_cast<size_t>(count));
      pool.run(count, [&](int64_t index, int worker) {
        ASSERT_LT(worker, threads);
        ++done[static_cast<size_t>(index)];
      });
      for (const auto& times : done) ASSERT_EQ(times, 1);
    }
  }
}

TEST(ThreadPool, ACallFromInsideATaskStaysOnItsWorker) {
  ThreadPool pool(3);
  std::atomic<int> done{0};
  pool.run(8, [&](int64_t, int worker) {
    pool.run(10, [&](int64_t, int inner) {
      EXPECT_EQ(inner, worker);
      ++done;
    });
  });
  EXPECT_EQ(done, 80);
}

TEST(ThreadPool, AnExceptionReachesTheCallerAndThePoolGoesOn) {
  ThreadPool pool(2);
  EXPECT_THROW(pool.run(1000,
                        [](int64_t index, int) {
                          if (index == 3) fail(Code::kCorrupt, "index {}", index);
                        }),
               Error);
  std::atomic<int> done{0};
  pool.run(10, [&](int64_t, int) { ++done; });
  EXPECT_EQ(done, 10);
}

#if defined(__GLIBC__)
// In a child, since limits cannot be undone: 0 if both did every index once, on the expected number
// of workers.
template <typename Expected>
int status_with_stacks_of(size_t bytes, rlim_t memory, const Expected& expected) {
  const pid_t child = fork();
  if (child == 0) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, bytes);
    if (pthread_setattr_default_np(&attributes) != 0) _exit(10);
    const rlimit limit{.rlim_cur = memory, .rlim_max = memory};
    if (memory > 0 && setrlimit(RLIMIT_AS, &limit) != 0) _exit(11);
    std::vector<std::atomic<int>> done(500);
    const auto task = [&](int64_t index, int) { ++done[static_cast<size_t>(index)]; };
    try {
      parallel_for(8, 500, task);
      ThreadPool pool(8);
      for (int call = 0; call < 50; ++call) pool.run(500, task);
      for (const auto& times : done) {
        if (times != 51) _exit(12);
      }
      _exit(expected(pool.threads()) ? 0 : 13);
    } catch (...) {
      _exit(14);
    }
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

TEST(Threads, WhereNoneCanBeStartedTheCallerDoesTheWork) {
  EXPECT_EQ(status_with_stacks_of(size_t{1} << 46, 0, [](int threads) { return threads == 1; }), 0);
}

#if !RAM_SANITIZED  // sanitizers reserve terabytes
TEST(Threads, WhereSomeCanBeStartedTheseDoTheWork) {
  EXPECT_EQ(status_with_stacks_of(size_t{1} << 28, rlim_t{1} << 30,
                                  [](int threads) { return threads > 1 && threads < 8; }),
            0);
}
#endif
#endif

// Calls come before and after a worker falls asleep: none is missed.
TEST(ThreadPool, WakesItsWorkersHoweverLongTheyWaited) {
  alarm(240);  // a lost wake-up fails instead of hanging
  ThreadPool pool(4);
  for (int call = 0; call < 3000; ++call) {
    std::atomic<int> done{0};
    pool.run(8, [&](int64_t index, int) {
      if (call % 5 == 0 && index == 3) usleep(100);
      ++done;
    });
    ASSERT_EQ(done, 8);
    if (call % 3 == 0) usleep(static_cast<useconds_t>(call % 100));
  }
  alarm(0);
}

TEST(Hash, DoesNotDependOnHowTheBytesAreCut) {
  Hasher pieces;
  pieces.update("ab");
  pieces.update("");
  pieces.update("c");
  EXPECT_EQ(pieces.digest(), hash_text("abc"));
  EXPECT_NE(hash_text("abc"), hash_text("abd"));
  EXPECT_EQ(hash_text(""), "99aa06d3014798d86001c324468d497f");  // XXH3-128 of nothing, seed 0
}

// @source the examples of FIPS 180-4
TEST(Hash, Sha256IsTheStandards) {
  EXPECT_EQ(sha256_text("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_text(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

}  // namespace
}  // namespace ram
