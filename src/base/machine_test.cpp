// What is known of the machine.
#include "ram/machine.h"

#include <gtest/gtest.h>

namespace ram {
namespace {

TEST(Machine, HasANameWithItsProcessorsAndMemory) {
  EXPECT_NE(machine_name().find(" processor"), std::string::npos) << machine_name();
  EXPECT_NE(machine_name().find("B, "), std::string::npos) << machine_name();
}

TEST(Machine, LimitsLeaveNoMoreThanThereIs) {
  EXPECT_GT(memory_bytes(), 1 << 20);
  EXPECT_LE(memory_bytes(), memory_limit_bytes());
  EXPECT_GE(default_threads(), 1);
}

TEST(Machine, APeakIsKnownAndNeverFalls) {
  const int64_t before = peak_resident_bytes();
  EXPECT_GT(before, 1 << 20);
  EXPECT_GE(peak_resident_bytes(), before);
}

}  // namespace
}  // namespace ram
