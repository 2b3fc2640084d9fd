// The command line without a model: what is printed where, and the exit status.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#ifdef __linux__
#include <sys/sysmacros.h>
#endif

#include "ram/error.h"
#include "ram/file.h"
#include "ram/fit.h"
#include "ram/progress.h"
#include "ram/text.h"

#include "commands.h"
#include "support/temp_folder.h"

namespace ram::cli {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

struct Ran {
  int status = 0;
  std::string out;
  std::string err;
};

std::string read_all(std::FILE* file) {
  std::string text;
  std::rewind(file);
  for (int c = std::fgetc(file); c != EOF; c = std::fgetc(file)) text += static_cast<char>(c);
  std::fclose(file);
  return text;
}

Ran ram(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "ram");
  const Io io = {.out = std::tmpfile(), .err = std::tmpfile()};
  Ran ran;
  ran.status = run(static_cast<int>(arguments.size()), arguments.data(), io);
  ran.out = read_all(io.out);
  ran.err = read_all(io.err);
  return ran;
}

void expect_one_line_error(const Ran& ran, int status) {
  EXPECT_EQ(ran.status, status) << ran.err;
  EXPECT_EQ(ran.out, "");
  EXPECT_THAT(ran.err, StartsWith("ram: error: "));
  EXPECT_EQ(ran.err.find('\n'), ran.err.size() - 1) << ran.err;
}

TEST(Run, EveryCommandHasHelpWithItsExampleOnStdout) {
  for (const Command& command : commands()) {
    const Ran ran = ram({command.name, "--help"});
    EXPECT_EQ(ran.status, 0) << command.name;
    EXPECT_THAT(ran.out, HasSubstr(command.example));
    EXPECT_THAT(ran.out, HasSubstr(std::string("Usage: ram ") + command.name + " ["));
    EXPECT_THAT(ran.out, EndsWith("\n"));
    EXPECT_THAT(ran.out, HasSubstr("--json"));
    EXPECT_EQ(ran.err, "");
  }
}

TEST(Run, HelpListsEveryCommandAndVersionIsOneLine) {
  const Ran help = ram({"--help"});
  EXPECT_EQ(help.status, 0);
  for (const Command& command : commands()) EXPECT_THAT(help.out, HasSubstr(command.help));
  const Ran version = ram({"--version"});
  EXPECT_EQ(version.status, 0);
  EXPECT_EQ(version.out, "ram " RAM_VERSION "\n");
  EXPECT_EQ(ram({"fit", "--version"}).out, version.out);
}

TEST(Run, AMisspeltCommandNamesTheNearest) {
  const Ran ran = ram({"quantise", "model", "--plan", "p.json"});
  expect_one_line_error(ran, 2);
  EXPECT_THAT(ran.err, HasSubstr("'quantise'"));
  EXPECT_THAT(ran.err, HasSubstr("did you mean quantize?"));
}

TEST(Run, AMisspeltOptionNamesTheNearestEvenWhereSomethingElseIsMissing) {
  const Ran ran = ram({"fit", "--bugdet=19GB"});
  expect_one_line_error(ran, 2);
  EXPECT_THAT(ran.err, HasSubstr("did you mean --budget?"));
  expect_one_line_error(ram({"plan", "model", "--bugdet", "19GB"}), 2);
}

TEST(Run, WhatIsMissingOrTooMuchIsNamed) {
  const Ran none = ram({});
  EXPECT_EQ(none.status, 2);
  EXPECT_EQ(none.out, "");
  const Ran missing = ram({"inspect"});
  expect_one_line_error(missing, 2);
  EXPECT_THAT(missing.err, HasSubstr("MODEL"));
  const Ran extra = ram({"inspect", "a", "b"});
  expect_one_line_error(extra, 2);
  EXPECT_THAT(extra.err, HasSubstr("'b'"));
}

TEST(Run, AModelMayBeNamedLikeACommand) {
  expect_one_line_error(ram({"inspect", "fit"}), 3);
}

TEST(Run, SizesThatDoNotSayWhichUnitAreRefusedBeforeTheModelIsOpened) {
  for (const char* size : {"19G", "-5", "0", "101%", "12QB"}) {
    const Ran ran = ram({"fit", "no/such", "-o", "out", "--budget", size});
    expect_one_line_error(ran, 2);
    EXPECT_THAT(ran.err, HasSubstr(size));
  }
}

TEST(Run, ThreadsAndMemoryOutsideTheirRangeAreRefused) {
  expect_one_line_error(ram({"analyze", "m", "--threads", "0"}), 2);
  expect_one_line_error(ram({"analyze", "m", "--threads", "two"}), 2);
  expect_one_line_error(ram({"analyze", "m", "--threads", "100000000000"}), 2);
  expect_one_line_error(ram({"analyze", "m", "--memory", "1MB"}), 2);
  expect_one_line_error(ram({"analyze", "m", "--memory", "50%"}), 2);
}

TEST(Run, MemoryBoundsTheThreads) {
  Common common;
  common.thread_count = 8;
  EXPECT_EQ(threads(common), 8);
  common.memory = std::to_string(kMemoryBase + 3 * kMemoryPerThread);
  EXPECT_EQ(threads(common), 3);
}

TEST(Run, CommonOptionsStandBeforeOrAfterTheCommand) {
  const testing::TempFolder folder;
  const std::string study = (folder / "s.db").string();
  const Ran before = ram({"--study", study.c_str(), "--json", "inspect", "no/such"});
  const Ran after = ram({"inspect", "no/such", "--json", "--study", study.c_str()});
  EXPECT_EQ(before.status, 3);
  EXPECT_THAT(before.out, StartsWith("{\n  \"error\": {\n    \"status\": 3,"));
  EXPECT_EQ(after.out, before.out);
  EXPECT_FALSE(std::filesystem::exists(study));
}

TEST(Run, CompletionKnowsEveryCommandAndOptionOfTheParser) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const Ran ran = ram({"completion", shell});
    EXPECT_EQ(ran.status, 0);
    EXPECT_EQ(ran.err, "");
    for (const Command& command : commands()) EXPECT_THAT(ran.out, HasSubstr(command.name));
    for (const char* option : {"allow-unsafe", "points", "rehash", "csv", "study"}) {
      EXPECT_THAT(ran.out, HasSubstr(option)) << shell;
    }
    EXPECT_THAT(ran.out, HasSubstr("squared measured ram")) << shell;
    EXPECT_THAT(ran.out, HasSubstr("2:32 ")) << shell;
    EXPECT_THAT(ran.out, HasSubstr("embedding attention mlp")) << shell;
    EXPECT_THAT(ran.out, HasSubstr("completion models")) << shell;
  }
  expect_one_line_error(ram({"completion", "tcsh"}), 2);
}

TEST(Run, ProgressSaysShareRateAndRest) {
  const Progress half = {.phase = "analyze", .done_bytes = 3000000000, .total_bytes = 5000000000};
  EXPECT_EQ(progress_text(half, 1000000000, 2), "analyze 60 %, 1.00 GB/s, 2.0 s left");
  EXPECT_EQ(progress_text({.phase = "write", .done_bytes = 0, .total_bytes = 0}, 0, 0), "write");
  const Progress slow{.phase = "ask", .done_bytes = 5, .total_bytes = 10, .unit = "questions"};
  EXPECT_EQ(progress_text(slow, 0, 10), "ask 50 %, 0.5 questions/s, 10 s left");
  EXPECT_EQ(format_seconds(0.123), "0.12 s");
  EXPECT_EQ(format_seconds(3.14), "3.1 s");
  EXPECT_EQ(format_seconds(200), "3 min 20 s");
  EXPECT_EQ(format_seconds(7500), "2 h 5 min");
}

TEST(Run, EveryOutputSaysThatItIsOne) {
  std::map<std::string, std::set<Takes>> outputs;
  for (const Command& command : commands()) {
    const Common common;
    Arguments::Values values;
    CLI::App app;
    const Arguments arguments(*app.add_subcommand(command.name), values);
    (void)command.setup(arguments, common);
    for (const OptionInfo& option : arguments.options()) {
      const bool written =
          std::find(option.names.begin(), option.names.end(), "-o") != option.names.end() ||
          option.names.front() == "--csv" || option.names.front() == "--prompts";
      if (!written) continue;
      EXPECT_TRUE(option.takes == Takes::kOutputFile || option.takes == Takes::kOutputFolder ||
                  option.takes == Takes::kOutputFolders)
          << command.name << " " << option.names.front();
      outputs[command.name].insert(option.takes);
    }
  }
  EXPECT_EQ(outputs.size(), 10U);
}

TEST(Run, WordsOfAShellAreQuotedWhereTheyMustBe) {
  EXPECT_EQ(shell_word("out-3.5GB/x_1"), "out-3.5GB/x_1");
  EXPECT_EQ(shell_word("my model"), "'my model'");
  EXPECT_EQ(shell_word("it's"), "'it'\\''s'");
  EXPECT_EQ(shell_word("$HOME;`x`"), "'$HOME;`x`'");
  EXPECT_EQ(shell_word(""), "''");
  EXPECT_EQ(shell_word("-rf"), "./-rf");
  EXPECT_EQ(shell_word("a\x1b[2J"), "'a\xEF\xBF\xBD[2J'");
}

TEST(Run, ALineOfProgressSaysWhichStageItIsOf) {
  const Io io = {.out = std::tmpfile(), .err = std::tmpfile()};
  Common common;
  common.io = io;
  common.stages = std::make_shared<Stages>();
  common.stages->names = {"analyze", "compress", "write"};
  for (const char* stage : {"compress", "no such", "write"}) {
    enter_stage(common, stage);
    common.shown -= std::chrono::milliseconds(static_cast<int>(1000 * kLogInterval));
    ProgressLine line(common);
    line.function()({.phase = "work", .done_bytes = 1, .total_bytes = 4});
  }
  EXPECT_THAT(read_all(io.err), ::testing::MatchesRegex("ram: stage 2 of 3: work 25 %.*\n"
                                                        "ram: stage 2 of 3: work 25 %.*\n"
                                                        "ram: stage 3 of 3: work 25 %.*\n"));
}

TEST(Run, ALogGetsALineAlsoWhereTheWorkDoesNotReport) {
  const Io io = {.out = std::tmpfile(), .err = std::tmpfile()};
  Common common;
  common.io = io;
  common.shown -= std::chrono::milliseconds(static_cast<int>(1000 * kLogInterval) - 500);
  {
    ProgressLine line(common);
    line.function()({.phase = "analyze", .done_bytes = 1, .total_bytes = 4});  // too soon
    std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  }
  {
    ProgressLine line(common);  // another step of the same run: not 10 s since the last line
    line.function()({.phase = "plan", .done_bytes = 1, .total_bytes = 4});
  }
  const std::string text = read_all(io.err);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
  EXPECT_THAT(text, StartsWith("ram: analyze 25 %"));
}

TEST(Run, AFullStandardOutputIsAFailedWrite) {
  // Linux's device 1:7 takes nothing. The node is the test's own: the system's is never touched.
  const testing::TempFolder folder;
  const std::string path = (folder.path() / "full").string();
  std::FILE* full = mknod(path.c_str(), S_IFCHR | 0600, makedev(1, 7)) == 0
                        ? std::fopen(path.c_str(), "w")
                        : nullptr;
  if (full == nullptr) GTEST_SKIP() << "skipped: no device can be made here";
  const Io io = {.out = full, .err = std::tmpfile()};
  const char* arguments[] = {"ram", "--version"};
  EXPECT_EQ(run(2, arguments, io), static_cast<int>(Code::kWriteFailed));
  EXPECT_THAT(read_all(io.err), EndsWith("run the same command again)\n"));
  std::fclose(full);
}

}  // namespace
}  // namespace ram::cli
