// All solves of a plan share one time limit.
#include <chrono>
#include <thread>

#include <gtest/gtest.h>

#include "assemble.h"

namespace ram {
namespace {

using Clock = std::chrono::steady_clock;

TEST(SharedTime, IsNotMoreForManySolvesThanForOne) {
  const auto start = Clock::now();
  const SharedTime time(0.3);
  for (int solve = 0; solve < 26; ++solve) {
    const double share = time.next_share_s();
    EXPECT_LE(share, 0.15);
    std::this_thread::sleep_for(std::chrono::duration<double>(share));
  }
  const std::chrono::duration<double> taken = Clock::now() - start;
  EXPECT_LT(taken.count(), 2);  // 26 whole limits would be 7.8
}

TEST(SharedTime, IsNeverNegativeAndTakesAnyLimit) {
  EXPECT_EQ(SharedTime(0).next_share_s(), 0);
  EXPECT_EQ(SharedTime(-1).next_share_s(), 0);
  EXPECT_GT(SharedTime(1e300).next_share_s(), 1e8);
  const SharedTime over(1e-9);
  std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(over.next_share_s(), 0);
}

}  // namespace
}  // namespace ram
