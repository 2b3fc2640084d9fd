// Progress of long work in a log.
#include "ram/progress.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/console.h"
#include "ram/text.h"

#include "support/ran_program.h"

namespace ram::cli {
namespace {

using ::testing::StartsWith;

TEST(Progress, ProgressSaysShareRateAndRest) {
  const Progress half = {.phase = "analyze", .done = 3000000000, .total = 5000000000};
  EXPECT_EQ(progress_text(half, 1000000000, 2), "analyze 60 %, 1.00 GB/s, 2.0 s left");
  EXPECT_EQ(progress_text({.phase = "write", .done = 0, .total = 0}, 0, 0), "write");
  const Progress slow{.phase = "ask", .done = 5, .total = 10, .counted = "questions"};
  EXPECT_EQ(progress_text(slow, 0, 10), "ask 50 %, 0.5 questions/s, 10 s left");
  EXPECT_EQ(format_seconds(0.123), "0.12 s");
  EXPECT_EQ(format_seconds(3.14), "3.1 s");
  EXPECT_EQ(format_seconds(200), "3 min 20 s");
  EXPECT_EQ(format_seconds(7500), "2 h 5 min");
}

TEST(Progress, ALineOfProgressSaysWhichStageItIsOf) {
  const Io io = {.out = std::tmpfile(), .err = std::tmpfile()};
  Common common;
  common.io = io;
  common.stages = std::make_shared<Stages>();
  common.stages->names = {"analyze", "compress", "write"};
  for (const char* stage : {"compress", "no such", "write"}) {
    enter_stage(common, stage);
    common.shown -= std::chrono::milliseconds(static_cast<int>(1000 * kLogInterval));
    ProgressLine line(common);
    line.function()({.phase = "work", .done = 1, .total = 4});
  }
  EXPECT_THAT(read_all(io.err), ::testing::MatchesRegex("ram: stage 2 of 3: work 25 %.*\n"
                                                        "ram: stage 2 of 3: work 25 %.*\n"
                                                        "ram: stage 3 of 3: work 25 %.*\n"));
}

TEST(Progress, ALogGetsALineAlsoWhereTheWorkDoesNotReport) {
  const Io io = {.out = std::tmpfile(), .err = std::tmpfile()};
  Common common;
  common.io = io;
  common.shown -= std::chrono::milliseconds(static_cast<int>(1000 * kLogInterval) - 500);
  {
    ProgressLine line(common);
    line.function()({.phase = "analyze", .done = 1, .total = 4});  // too soon
    std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  }
  {
    ProgressLine line(common);  // another step of the same run, less than 10 s after the last line
    line.function()({.phase = "plan", .done = 1, .total = 4});
  }
  const std::string text = read_all(io.err);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
  EXPECT_THAT(text, StartsWith("ram: analyze 25 %"));
}

}  // namespace
}  // namespace ram::cli
