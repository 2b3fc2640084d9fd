// Properties of the machine.
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

TEST(Machine, WhatMayBeUsedOfAMemoryIsWhatTheMemoryIsFor) {
  for (const int64_t used :
       {int64_t{0}, int64_t{1}, int64_t{31}, int64_t{1} << 20, int64_t{7} << 40}) {
    const int64_t memory = memory_bytes_for(used);
    EXPECT_LE(usable_memory_bytes(memory), used + 1);
    EXPECT_GE(usable_memory_bytes(memory + 1), used);
  }
  EXPECT_LT(usable_memory_bytes(1000), 1000);
}

TEST(Machine, APeakIsKnownAndNeverFalls) {
  const int64_t before = peak_resident_bytes();
  EXPECT_GT(before, 1 << 20);
  EXPECT_GE(peak_resident_bytes(), before);
}

}  // namespace
}  // namespace ram
