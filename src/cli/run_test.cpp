// The command line without a model: what it prints where, and the exit status.
#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/fit.h"

#include "commands.h"
#include "engine_options.h"
#include "support/ran_program.h"
#include "support/temp_folder.h"

namespace ram::cli {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

Ran ram(std::vector<const char*> arguments) {
  return run_program(program(), std::move(arguments));
}

void expect_one_line_error(const Ran& ran, int status) {
  EXPECT_EQ(ran.status, status) << ran.err;
  EXPECT_EQ(ran.out, "");
  EXPECT_THAT(ran.err, StartsWith("ram: error: "));
  EXPECT_EQ(ran.err.find('\n'), ran.err.size() - 1) << ran.err;
}

TEST(Run, EveryCommandHasHelpWithItsExampleOnStdout) {
  for (const Command& command : program().commands) {
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
  for (const Command& command : program().commands) EXPECT_THAT(help.out, HasSubstr(command.help));
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
    for (const Command& command : program().commands) EXPECT_THAT(ran.out, HasSubstr(command.name));
    for (const char* option : {"allow-unsafe", "points", "rehash", "csv", "study"}) {
      EXPECT_THAT(ran.out, HasSubstr(option)) << shell;
    }
    EXPECT_THAT(ran.out, HasSubstr("squared measured published")) << shell;
    EXPECT_THAT(ran.out, HasSubstr("2:32 ")) << shell;
    EXPECT_THAT(ran.out, HasSubstr("embedding attention mlp")) << shell;
    EXPECT_THAT(ran.out, HasSubstr("completion models")) << shell;
  }
  expect_one_line_error(ram({"completion", "tcsh"}), 2);
}

TEST(Run, EveryOutputSaysThatItIsOne) {
  std::map<std::string, std::set<Takes>> outputs;
  for (const Command& command : program().commands) {
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

}  // namespace
}  // namespace ram::cli
