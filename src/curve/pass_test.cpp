// Workers that compute while others wait: no wake-up is lost, in any interleaving.
#include "pass.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

#include "ram/thread.h"

#include "permits.h"
#include "test_support.h"

namespace ram {
namespace {

/// Ends the program if a test hangs, so that a lost wake-up is a failure instead of a long wait.
class Deadline {
 public:
  explicit Deadline(unsigned seconds) { alarm(seconds); }
  ~Deadline() { alarm(0); }
};

TEST(Permits, NoMoreThanThereAreAtATimeAndNobodyWaitsForEver) {
  const Deadline deadline(240);
  constexpr int kWorkers = 12;
  for (const int count : {1, 2, 3}) {
    Permits permits(count);
    std::atomic<int> inside{0};
    std::atomic<int> most{0};
    std::atomic<int64_t> turns{0};
    parallel_for(kWorkers, 30'000, [&](int64_t index, int worker) {
      if (index % 64 == worker) std::this_thread::sleep_for(std::chrono::microseconds(50));
      const Turn turn(permits);
      const int now = ++inside;
      int seen = most;
      while (now > seen && !most.compare_exchange_weak(seen, now)) {
      }
      ++turns;
      --inside;
    });
    EXPECT_EQ(turns, 30'000);
    EXPECT_LE(most, count);
  }
}

class PassTest : public CurveTest {};

// 1,000 runs with many interleavings: readers sometimes wait, as for a disk, and there are three
// workers for each that may compute.
TEST_F(PassTest, EndsAThousandTimesWithASlowReader) {
  const Deadline deadline(240);
  testing::TinyModel model = small_model();
  model.layers = 1;
  write(model);
  const Checkpoint checkpoint = open();
  const std::vector<TensorUse> uses = tensor_uses(checkpoint);
  std::vector<DirectReader> direct;
  direct.reserve(checkpoint.files.size());
  for (const InputFile& file : checkpoint.files) direct.emplace_back(file);
  const AnalyzeOptions options;
  for (int round = 0; round < 1000; ++round) {
    std::deque<TensorJob> jobs;
    for (const TensorUse& use : uses) jobs.emplace_back(checkpoint, use, options, false);
    std::atomic<size_t> done{0};
    std::atomic<int> reads{0};
    const int threads = 1 + round % 2;
    const auto slow = [&] {
      if (++reads % 7 == round % 7) std::this_thread::sleep_for(std::chrono::microseconds(200));
    };
    run_pass(
        jobs, threads, direct, "hash", {}, [&](TensorJob&) { ++done; }, slow);
    ASSERT_EQ(done, uses.size()) << "round " << round;
  }
}

}  // namespace
}  // namespace ram
