// Builds that end early: kills, Ctrl-C, full disks, bad weights, unusable places. OUT is then
// complete or absent, and the next run continues.
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ram/build.h"
#include "ram/file_fault.h"
#include "ram/progress.h"

#if defined(__linux__)
#include <sys/mount.h>
#endif

#include "test_support.h"

namespace ram::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int kOtherFailure = 99;

/// Runs an action in a child. @return its exit status: an Error's code, or 0. The child must not
/// use the parent's study. No other thread may run at the fork: it could hold the allocator's lock.
template <typename Action>
pid_t start_child(const Action& action) {
  const pid_t child = fork();
  if (child != 0) return child;
  int status = 0;
  try {
    action();
  } catch (const Error& error) {
    status = static_cast<int>(error.code());
    // Not fmt::print: it throws if stderr is a file that has reached the file size limit.
    std::fputs(fmt::format("{}\n", error.what()).c_str(), stderr);
  } catch (...) {
    status = kOtherFailure;
  }
  _exit(status);
}

int wait_for(pid_t child) {
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return status;
}

/// For a child: opens the model anew, as a new run of the program would.
void build_anew(const Made& made, const Plan& plan, const fs::path& out) {
  Study study(made.root / "study" / "ram.db");
  const Checkpoint checkpoint = Checkpoint::open(made.source.string());
  build_folder(checkpoint, plan, study, out, made.options);
}

Error interrupted() {
  return Error(Code::kInterrupted, "interrupted");
}

fs::path work_of(const fs::path& out) {
  return out.parent_path() / fmt::format(".{}.ram-partial", out.filename().string());
}

class Crash : public ::testing::Test {
 protected:
  Crash() : made({.hidden = 64}) {
    made.options.max_shard_bytes = 9000;
    plan = made.plan();
  }

  Made made;
  Plan plan;
  fs::path out = made.root / "out";
};

TEST_F(Crash, AFolderBuiltThroughManyKillsIsTheUnbrokenOne) {
  const auto start = std::chrono::steady_clock::now();
  made.build(plan, made.root / "unbroken");
  const auto whole_us = static_cast<unsigned>(std::chrono::duration_cast<std::chrono::microseconds>(
                                                  std::chrono::steady_clock::now() - start)
                                                  .count());
  const auto unbroken = contents(made.root / "unbroken");
  ASSERT_GT(unbroken.size(), 9U);
  std::minstd_rand random(20240917);
  int kills = 0;
  for (int run = 0; !fs::exists(out); ++run) {
    ASSERT_LT(run, 500) << "never ends";
    const pid_t child = start_child([&] { build_anew(made, plan, out); });
    // Short at first, so that many runs are needed; then longer, so that the loop ends.
    usleep(static_cast<useconds_t>(random() %
                                   (whole_us / 10 + whole_us / 40 * static_cast<unsigned>(run))));
    kill(child, SIGKILL);
    const int status = wait_for(child);
    kills += WIFSIGNALED(status) ? 1 : 0;
    if (WIFEXITED(status)) {
      ASSERT_EQ(WEXITSTATUS(status), 0);
    }
  }
  EXPECT_GT(kills, 4);
  EXPECT_TRUE(contents(out) == unbroken);
  // The next run removes whatever the last one left.
  made.build(plan, out);
  EXPECT_THAT(names_in(made.root.path()), ElementsAre("out", "source", "study", "unbroken"));
}

TEST_F(Crash, AfterCtrlCTheFinishedShardsAreTakenUp) {
  int64_t whole = 0;
  const Error error = error_of([&] {
    made.build(plan, out, [&](const Progress& progress) {
      whole = progress.total;
      if (progress.done > whole / 2) throw interrupted();
    });
  });
  EXPECT_EQ(error.code(), Code::kInterrupted);
  EXPECT_FALSE(fs::exists(out));
  int64_t rest = 0;
  made.build(plan, out, [&](const Progress& progress) { rest = progress.total; });
  EXPECT_LT(rest, whole * 6 / 10);
  EXPECT_GT(rest, 0);
  made.build(plan, made.root / "unbroken");
  EXPECT_TRUE(contents(out) == contents(made.root / "unbroken"));
  EXPECT_FALSE(fs::exists(work_of(out)));
}

TEST_F(Crash, CtrlCBeforeAnythingIsFinishedLeavesNothing) {
  error_of([&] {
    made.build(plan, made.root / "new" / "out", [](const Progress&) { throw interrupted(); });
  });
  EXPECT_THAT(names_in(made.root.path()), ElementsAre("source", "study"));
}

TEST_F(Crash, WhatAnotherPlanLeftIsNotTakenUp) {
  const auto half = [](const Progress& progress) {
    if (progress.done > progress.total / 2) throw interrupted();
  };
  error_of([&] { made.build(plan, out, half); });
  EXPECT_TRUE(fs::exists(work_of(out)));
  const Plan other = made.plan(5);
  made.build(other, out);
  made.build(other, made.root / "unbroken");
  EXPECT_TRUE(contents(out) == contents(made.root / "unbroken"));
}

TEST_F(Crash, WhatWasFinishedFromATouchedSourceIsNotTakenUp) {
  error_of([&] {
    made.build(plan, out, [](const Progress& progress) {
      if (progress.done > progress.total / 2) throw interrupted();
    });
  });
  TinyModel changed = made.model;
  changed.seed = 77;
  write_tiny_model(made.source, changed);
  const pid_t child = start_child([&] { build_anew(made, plan, out); });
  EXPECT_EQ(wait_for(child), 0);
  const pid_t whole = start_child([&] { build_anew(made, plan, made.root / "unbroken"); });
  EXPECT_EQ(wait_for(whole), 0);
  EXPECT_TRUE(contents(out) == contents(made.root / "unbroken"));
}

TEST_F(Crash, ADamagedStateIsAsIfThereWereNone) {
  for (const char* state : {"", "{", "[]", R"({"ram_build": 1, "key": "x", "files": {}})"}) {
    error_of([&] {
      made.build(plan, out, [](const Progress& progress) {
        if (progress.done > progress.total / 2) throw interrupted();
      });
    });
    write_file_atomic(work_of(out) / "state.json", state);
    EXPECT_EQ(made.build(plan, out), BuildOutcome::kWritten);
    EXPECT_THAT(verify_folder(out, made.checkpoint.get(), made.study.get(), 1).problems, IsEmpty());
    fs::remove_all(out);
  }
}

TEST_F(Crash, AFormerFolderStrandedInTheTwoStepExchangeComesBack) {
  made.build(plan, out);
  const auto before = contents(out);
  fs::create_directories(work_of(out));
  fs::rename(out, work_of(out) / "replaced");
  const Error error = error_of([&] { made.build(made.plan(5), out); });
  EXPECT_EQ(error.code(), Code::kUsage);
  EXPECT_TRUE(contents(out) == before);
}

TEST_F(Crash, TwoProgramsDoNotWriteOneFolder) {
  made.options.threads = 1;  // start_child forks while it writes
  bool tried = false;
  made.build(plan, out, [&](const Progress&) {
    if (std::exchange(tried, true)) return;
    const int status = wait_for(start_child([&] { build_anew(made, plan, out); }));
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), static_cast<int>(Code::kUsage));
  });
  EXPECT_TRUE(tried);
  EXPECT_THAT(verify_folder(out, nullptr, made.study.get(), 1).problems, IsEmpty());
}

TEST_F(Crash, AWriteThatFailsLeavesTheFormerFolderAndNothingElse) {
  made.build(made.plan(5), out);
  const auto before = contents(out);
  made.options.force = true;
  const pid_t child = start_child([&] {
    Study study(made.root / "study" / "ram.db");
    // From the first shard on, no file may grow beyond this: the second fails as on a full disk.
    signal(SIGXFSZ, SIG_IGN);
    build_folder(*made.checkpoint, plan, study, out, made.options, [](const Progress&) {
      const rlimit limit = {.rlim_cur = 1000, .rlim_max = 1000};
      if (setrlimit(RLIMIT_FSIZE, &limit) != 0) _exit(kOtherFailure);
    });
  });
  const int status = wait_for(child);
  EXPECT_EQ(WEXITSTATUS(status), static_cast<int>(Code::kWriteFailed));
  EXPECT_TRUE(contents(out) == before);
  EXPECT_THAT(names_in(made.root.path()), ElementsAre("out", "source", "study"));
}

TEST_F(Crash, ADiskThatIsFullKeepsWhatIsFinished) {
  const Error error = error_of([&] {
    int finished = 0;
    set_file_fault([&](FileStep step, const fs::path& path, int64_t&) {
      if (step == FileStep::kRename && path.filename() == "state.json") ++finished;
      return finished >= 2 && step == FileStep::kReserve ? ENOSPC : 0;
    });
    made.build(plan, out);
  });
  set_file_fault({});
  EXPECT_EQ(error.code(), Code::kWriteFailed);
  EXPECT_THAT(error.what(), HasSubstr(work_of(out).string()));
  EXPECT_FALSE(fs::exists(out));
  // The two shards, and nothing unfinished that takes space on the full disk.
  EXPECT_EQ(names_in(work_of(out) / "folder").size(), 2U);
  int64_t written = 0;
  made.build(plan, out, [&](const Progress& progress) {
    if (progress.phase == std::string("write")) written = progress.total;
  });
  EXPECT_LT(written, made.checkpoint->bytes());
  made.build(plan, made.root / "unbroken");
  EXPECT_TRUE(contents(out) == contents(made.root / "unbroken"));
}

TEST_F(Crash, AFinishedShardThatWasDamagedIsWrittenAgain) {
  error_of([&] {
    made.build(plan, out, [&](const Progress& progress) {
      if (progress.done > progress.total / 2) throw interrupted();
    });
  });
  const std::vector<std::string> kept = names_in(work_of(out) / "folder");
  ASSERT_FALSE(kept.empty());
  for (const std::string& name : kept) {
    const fs::path path = work_of(out) / "folder" / name;
    std::string text = read_text_file(path, 1 << 20);
    text.back() = static_cast<char>(text.back() ^ 1);  // of the same size, as on a bad disk
    write_file_atomic(path, text);
  }
  made.build(plan, out);
  made.build(plan, made.root / "unbroken");
  EXPECT_TRUE(contents(out) == contents(made.root / "unbroken"));
}

TEST_F(Crash, AFileThatComesIntoOutMeanwhileIsNotLost) {
  made.build(made.plan(5), out);
  made.options.force = true;
  const Error error = error_of([&] {
    made.build(plan, out, [&](const Progress&) { write_file_atomic(out / "notes.txt", "mine"); });
  });
  EXPECT_EQ(error.code(), Code::kUsage);
  EXPECT_THAT(error.what(), HasSubstr("notes.txt"));
  EXPECT_EQ(read_text_file(out / "notes.txt", 10), "mine");
  fs::remove(out / "notes.txt");
  EXPECT_EQ(made.build(plan, out), BuildOutcome::kWritten);
}

#if defined(__linux__)
/// A small separate file system, if this user may mount one.
class SmallDisk {
 public:
  SmallDisk(const fs::path& place, const std::string& options) : place_(place) {
    fs::create_directories(place);
    mounted_ = mount("tmpfs", place.c_str(), "tmpfs", 0, options.c_str()) == 0;
  }
  ~SmallDisk() {
    if (mounted_) umount(place_.c_str());
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  bool mounted() const { return mounted_; }

 private:
  fs::path place_;
  bool mounted_ = false;
};

TEST_F(Crash, ADiskTooSmallIsMetBeforeItHappens) {
  const SmallDisk disk(made.root / "disk", "size=64k");
  if (!disk.mounted()) GTEST_SKIP() << "skipped: a tmpfs cannot be mounted by this user";
  const Error error = error_of([&] { made.build(plan, made.root / "disk" / "a" / "out"); });
  EXPECT_EQ(error.code(), Code::kWriteFailed);
  EXPECT_THAT(error.what(), HasSubstr("missing"));
  EXPECT_THAT(names_in(made.root / "disk"), IsEmpty());
}

TEST_F(Crash, ADiskThatFillsUpMeanwhileIsSurvived) {
  const SmallDisk disk(made.root / "disk", "size=1m");
  if (!disk.mounted()) GTEST_SKIP() << "skipped: a tmpfs cannot be mounted by this user";
  bool filled = false;
  const Error error = error_of([&] {
    made.build(plan, made.root / "disk" / "out", [&](const Progress&) {
      if (std::exchange(filled, true)) return;
      OutputFile big(made.root / "disk" / "big");
      big.reserve(free_bytes(made.root / "disk") - 8192);
      big.finish();
    });
  });
  EXPECT_EQ(error.code(), Code::kWriteFailed);
  EXPECT_THAT(names_in(made.root / "disk"), ::testing::IsSubsetOf({"big", ".out.ram-partial"}));
  fs::remove(made.root / "disk" / "big");
  EXPECT_EQ(made.build(plan, made.root / "disk" / "out"), BuildOutcome::kWritten);
}

TEST(Space, ThatIsEnoughForTheRestIsEnoughToGoOn) {
  Made made({.hidden = 256});
  made.options.max_shard_bytes = 150'000;
  const Plan plan = made.plan();
  const SmallDisk disk(made.root / "disk", "size=4m");
  if (!disk.mounted()) GTEST_SKIP() << "skipped: a tmpfs cannot be mounted by this user";
  const fs::path out = made.root / "disk" / "out";
  const auto leave = [&](int64_t bytes) {
    fs::remove(made.root / "disk" / "big");
    OutputFile big(made.root / "disk" / "big");
    big.reserve(free_bytes(made.root / "disk") - bytes);
    big.finish();
  };
  // Bytes that a build says it needs when it is refused.
  const auto needed = [&](const fs::path& folder) {
    const std::string said = error_of([&] { made.build(plan, folder); }).what();
    const size_t end = said.find(" bytes needed");
    if (end == std::string::npos) throw std::runtime_error(said);
    return std::stoll(said.substr(said.rfind(' ', end - 1) + 1));
  };
  leave(4096);
  const int64_t whole = needed(out);
  fs::remove(made.root / "disk" / "big");
  const Error stopped = error_of([&] {
    made.build(plan, out, [&](const Progress&) {
      for (const auto& entry : fs::recursive_directory_iterator(made.root / "disk")) {
        const std::string name = entry.path().filename().string();
        if (name.starts_with("model-00002-of")) fail(Code::kInterrupted, "after a shard");
      }
    });
  });
  ASSERT_EQ(stopped.code(), Code::kInterrupted) << stopped.what();
  leave(4096);
  const int64_t rest = needed(out);
  EXPECT_LT(rest, whole);
  constexpr int64_t kPages = 16 * 4096;  // the ends of files
  ASSERT_LT(rest + kPages, whole) << "too little was finished to tell";
  leave(rest + kPages);
  EXPECT_THROW((void)made.build(plan, made.root / "disk" / "other"), Error);
  EXPECT_EQ(made.build(plan, out), BuildOutcome::kWritten);
}

TEST_F(Crash, AReadOnlyPlaceIsNamed) {
  const SmallDisk disk(made.root / "disk", "size=1m,ro");
  if (!disk.mounted()) GTEST_SKIP() << "skipped: a tmpfs cannot be mounted by this user";
  const Error error = error_of([&] { made.build(plan, made.root / "disk" / "out"); });
  EXPECT_EQ(error.code(), Code::kWriteFailed);
  EXPECT_THAT(error.what(), HasSubstr((made.root / "disk").string()));
}
#endif

TEST_F(Crash, AWeightThatIsNotFiniteIsNamedAndNothingStays) {
  for (const bool carried : {false, true}) {
    Made good({.model_type = "qwen2", .hidden = 64});
    const Plan ours = good.plan();
    TinyModel bad = good.model;
    const std::string name =
        carried ? "model.layers.1.self_attn.k_proj.bias" : "model.layers.1.mlp.up_proj.weight";
    bad.edit = [&](const std::string& tensor, std::vector<float>& values) {
      if (tensor == name) values[carried ? 5 : 64 * 3 + 7] = std::nanf("");
    };
    write_tiny_model(good.source, bad);
    const Checkpoint checkpoint = Checkpoint::open(good.source.string());
    const Error error = error_of(
        [&] { build_folder(checkpoint, ours, *good.study, good.root / "out", good.options); });
    EXPECT_EQ(error.code(), Code::kCorrupt);
    EXPECT_THAT(error.what(), HasSubstr(name));
    EXPECT_THAT(error.what(), HasSubstr(carried ? "row 0, column 5" : "row 3, column 7"));
    EXPECT_THAT(names_in(good.root.path()), ElementsAre("source", "study"));
  }
}

TEST_F(Crash, PlacesThatCannotBeAreRefusedAndStayAsTheyAre) {
  std::vector<fs::path> mixed;
  write_file_atomic(made.root / "file", "text");
  fs::create_directory(made.root / "empty");
  fs::create_directory(made.root / "other");
  write_file_atomic(made.root / "other" / "precious", "text");
  // It looks like a model, but ram did not write it.
  fs::create_directory(made.root / "looks");
  write_file_atomic(made.root / "looks" / "config.json", "{}");
  write_file_atomic(made.root / "looks" / "a.safetensors", "x");
  write_file_atomic(made.root / "looks" / "thesis.doc", "x");
  // ram wrote it, and then someone put their own files there.
  for (const char* name : {"notes.txt", "deep/notes.txt", ".git/HEAD", "more.safetensors"}) {
    const fs::path ours = made.root / fmt::format("ours{}", names_in(made.root.path()).size());
    made.build(made.plan(5), ours);
    fs::create_directories((ours / name).parent_path());
    write_file_atomic(ours / name, "mine");
    mixed.push_back(ours);
  }
  mixed.push_back(made.root / "linked");
  made.build(made.plan(5), mixed.back());
  fs::create_directory_symlink(made.root / "other", mixed.back() / "link");
  mixed.push_back(made.root / "edited");
  made.build(made.plan(5), mixed.back());
  write_file_atomic(mixed.back() / "README.md", "my own words");
  fs::create_directory_symlink(made.root / "nowhere", made.root / "dangling");
  fs::create_directory_symlink(made.source, made.root / "to-source");
  const auto before = contents(made.root.path());
  const auto refused = [&](const fs::path& place, bool force) {
    made.options.force = force;
    const Error error = error_of([&] { made.build(plan, place); });
    EXPECT_EQ(error.code(), Code::kUsage) << place << ": " << error.what();
    return std::string(error.what());
  };
  for (const bool force : {false, true}) {
    refused("", force);
    refused("/", force);
    refused(made.root / "file", force);
    refused(made.root / "other", force);
    refused(made.root / "looks", force);
    for (const fs::path& ours : mixed) refused(ours, force);
    refused(made.root / "dangling", force);
    EXPECT_THAT(refused(made.source, force), HasSubstr("source"));
    EXPECT_THAT(refused(made.source / "sub" / "out", force), HasSubstr("inside the source"));
    EXPECT_THAT(refused(made.root / "to-source" / "out", force), HasSubstr("inside the source"));
    EXPECT_THAT(refused(made.root.path(), force), HasSubstr("inside the output"));
  }
  refused(made.root / "empty", false);
  auto after = contents(made.root.path());
  for (const auto& [name, text] : before) {
    if (!name.starts_with("study")) {
      EXPECT_TRUE(after[name] == text) << name;
    }
  }
  made.options.force = true;
  EXPECT_EQ(made.build(plan, made.root / "empty"), BuildOutcome::kWritten);
}

TEST_F(Crash, WhatSystemsLeaveInOutIsNobodysWork) {
  made.build(plan, out);
  fs::create_directories(out / ".cache" / "huggingface");
  for (const char* name :
       {".DS_Store", "._config.json", ".gitattributes", ".cache/huggingface/x"}) {
    write_file_atomic(out / name, "x");
  }
  EXPECT_EQ(made.build(plan, out), BuildOutcome::kAlreadyThere);
  EXPECT_TRUE(fs::exists(out / ".DS_Store"));
  made.options.force = true;
  EXPECT_EQ(made.build(made.plan(5), out), BuildOutcome::kWritten);
  EXPECT_FALSE(fs::exists(out / ".DS_Store"));
  fs::create_directory(made.root / "new");
  write_file_atomic(made.root / "new" / ".DS_Store", "x");
  EXPECT_EQ(made.build(plan, made.root / "new"), BuildOutcome::kWritten);
}

TEST_F(Crash, TheCurrentFolderIsNotReplaced) {
  made.build(made.plan(5), out);
  const fs::path here = fs::current_path();
  fs::current_path(out);
  made.options.force = true;
  const Error error = error_of([&] { made.build(plan, "."); });
  fs::current_path(here);
  EXPECT_EQ(error.code(), Code::kUsage);
  EXPECT_THAT(error.what(), HasSubstr("current folder"));
}

}  // namespace
}  // namespace ram::testing
