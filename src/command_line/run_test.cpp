// A program with two commands: what it prints where, and the exit status.
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#ifdef __linux__
#include <sys/sysmacros.h>
#endif

#include "ram/command_line.h"
#include "ram/error.h"

#include "support/ran_program.h"
#include "support/temp_folder.h"

namespace ram::cli {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

struct CopyOptions {
  std::string from;
  std::string to;
  int times = 1;
};

Action setup_copy(Arguments app, const Common& common) {
  auto options = std::make_shared<CopyOptions>();
  app.add_option("FROM", options->from, "what is copied").type_name("FILE").required();
  app.add_option("-o,--output", options->to, "where it goes")
      .type_name("FILE")
      .writes(Content::kPage);
  app.add_option("--times", options->times, "how often").type_name("N").range(1, 9);
  return [options, &common] {
    print_document(common, {{"from", options->from}, {"times", options->times}});
    return kDone;
  };
}

Action setup_fail(Arguments app, const Common&) {
  auto what = std::make_shared<std::string>();
  app.add_option("WHAT", *what, "how it goes wrong").type_name("usage|defect").required();
  return [what]() -> int {
    if (*what == "usage") fail(Code::kUsage, "two\nlines");
    throw std::runtime_error("a defect");
  };
}

constexpr Command kCommands[] = {{"copy", "copies a file", "ram copy a -o b", setup_copy},
                                 {"fail", "goes wrong", "ram fail usage", setup_fail}};
constexpr Meaning<int> kStatuses[] = {{0, "done"}, {2, "wrong"}};
constexpr Meaning<const char*> kEnvironment[] = {{"HOME", "the user's folder"}};
constexpr Program kProgram = {.summary = "copies files",
                              .example = "ram copy a -o b",
                              .commands = kCommands,
                              .statuses = kStatuses,
                              .environment = kEnvironment};

Ran ram(std::vector<const char*> arguments) {
  return run_program(kProgram, std::move(arguments));
}

TEST(CommandLine, RunsTheCommandWithItsOptions) {
  const Ran ran = ram({"copy", "a", "--times=3"});
  EXPECT_EQ(ran.status, 0) << ran.err;
  EXPECT_EQ(ran.out, "{\n  \"from\": \"a\",\n  \"times\": 3\n}\n");
  EXPECT_EQ(ran.err, "");
}

TEST(CommandLine, HelpIsMadeOfTheTables) {
  const Ran help = ram({"--help"});
  EXPECT_THAT(help.out, StartsWith("Copies files."));
  EXPECT_THAT(help.out, HasSubstr("goes wrong"));
  EXPECT_EQ(ram({"help", "copy"}).out, ram({"copy", "--help"}).out);
  EXPECT_THAT(ram({"help", "copy"}).out, HasSubstr("Example: ram copy a -o b"));
}

TEST(CommandLine, WhatIsWrongIsOneLineAndAStatus) {
  const Ran unknown = ram({"copi", "a"});
  EXPECT_EQ(unknown.status, 2);
  EXPECT_EQ(unknown.err,
            "ram: error: unknown command 'copi'; did you mean copy? (ram --help lists them)\n");
  EXPECT_THAT(ram({"copy", "a", "--times", "10"}).err, HasSubstr("10 is outside 1 to 9"));
  EXPECT_THAT(ram({"copy"}).err, HasSubstr("FILE is missing"));
  EXPECT_THAT(ram({"copy", "a", "--threads", "00001"}).err, HasSubstr("from 1 to 1024"));
  EXPECT_EQ(ram({"fail", "usage"}).err, "ram: error: two lines\n");
  EXPECT_EQ(ram({"fail", "defect"}).status, static_cast<int>(Code::kInternal));
}

TEST(CommandLine, WithJsonAnErrorIsADocumentToo) {
  const Ran ran = ram({"fail", "usage", "--json"});
  EXPECT_EQ(ran.status, 2);
  EXPECT_EQ(ran.out,
            "{\n  \"error\": {\n    \"status\": 2,\n    \"message\": \"two lines\"\n  }\n}\n");
}

TEST(CommandLine, AnInputIsNotWrittenOver) {
  const testing::TempFolder folder;
  const std::string file = (folder / "a").string();
  std::fclose(std::fopen(file.c_str(), "w"));
  const Ran ran = ram({"copy", file.c_str(), "-o", file.c_str()});
  EXPECT_EQ(ran.status, 2);
  EXPECT_THAT(ran.err, HasSubstr("the same command reads it (FROM)"));
}

/// A command that prints what is generated from the tables.
Action setup_print(Arguments app, const Common& common) {
  auto what = std::make_shared<std::string>();
  app.add_option("WHAT", *what, "bash, zsh, fish or man").required();
  return [what, app, &common] {
    print_data(common, *what == "man" ? manual_page(kProgram, app)
                                      : completion_script(kProgram, app, *what).value_or("none"));
    return kDone;
  };
}

TEST(CommandLine, TheManualAndTheScriptsNameEveryCommandAndOption) {
  std::vector<Command> commands(std::begin(kCommands), std::end(kCommands));
  commands.push_back({"print", "prints", "ram print man", setup_print});
  Program program = kProgram;
  program.commands = commands;
  for (const char* what : {"bash", "zsh", "fish", "man"}) {
    const Ran ran = run_program(program, {"print", what});
    EXPECT_EQ(ran.status, kDone);
    for (const char* word : {"copy", "times", "output", "study", "usage"}) {
      EXPECT_THAT(ran.out, HasSubstr(word)) << what;
    }
  }
  EXPECT_EQ(run_program(program, {"print", "tcsh"}).out, "none");
}

TEST(CommandLine, AFullStandardOutputIsAFailedWrite) {
  // Linux's device 1:7 (/dev/full) accepts no data. The test makes its own node and never touches
  // the system's.
  const testing::TempFolder folder;
  const std::string path = (folder.path() / "full").string();
  std::FILE* full = mknod(path.c_str(), S_IFCHR | 0600, makedev(1, 7)) == 0
                        ? std::fopen(path.c_str(), "w")
                        : nullptr;
  if (full == nullptr) GTEST_SKIP() << "skipped: no device can be made here";
  const Io io = {.out = full, .err = std::tmpfile()};
  const char* arguments[] = {"ram", "--version"};
  EXPECT_EQ(run(kProgram, 2, arguments, io), static_cast<int>(Code::kWriteFailed));
  EXPECT_THAT(read_all(io.err), EndsWith("run the same command again)\n"));
  std::fclose(full);
}

}  // namespace
}  // namespace ram::cli
