// Which folders may be replaced and which are already finished: no person's work is lost, and no
// folder is mistaken for another.
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__linux__)
#include <sched.h>
#include <sys/mount.h>
#endif

#include "test_support.h"

namespace ram::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

int64_t bytes_in(const fs::path& folder) {
  int64_t total = 0;
  for (const auto& [name, text] : contents(folder)) total += static_cast<int64_t>(text.size());
  return total;
}

std::string text_of(const fs::path& file) {
  return read_text_file(file, int64_t{1} << 30);
}

void write_text(const fs::path& file, const std::string& text) {
  std::ofstream(file, std::ios::binary | std::ios::trunc) << text;
}

/// Another text of the same length.
void flip(const fs::path& file, size_t at) {
  std::string text = text_of(file);
  text[at] = static_cast<char>(text[at] ^ 1);
  write_text(file, text);
}

/// Runs a test as a user for whom permissions apply, in the test's folder.
class AsNobody {
 public:
  explicit AsNobody(const fs::path& folder) {
    if (geteuid() != 0) return;
    constexpr uid_t kNobody = 65534;
    EXPECT_EQ(lchown(folder.c_str(), kNobody, kNobody), 0);
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
      EXPECT_EQ(lchown(entry.path().c_str(), kNobody, kNobody), 0);
    }
    EXPECT_EQ(seteuid(kNobody), 0);
    root_ = true;
  }
  ~AsNobody() {
    if (root_) {
      EXPECT_EQ(seteuid(0), 0);
    }
  }
  AsNobody(const AsNobody&) = delete;
  AsNobody& operator=(const AsNobody&) = delete;

 private:
  bool root_ = false;
};

class Place : public ::testing::Test {
 protected:
  std::string refused(const fs::path& place, bool force = true) {
    const auto before = contents(place);
    made.options.force = force;
    const Error error = error_of([&] { made.build(other, place); });
    EXPECT_EQ(error.code(), Code::kUsage) << error.what();
    EXPECT_TRUE(contents(place) == before);
    return error.what();
  }

  /// plan.json without a list of files, as `ram plan` and earlier versions write it.
  Plan unlisted() const {
    Plan without = plan;
    without.file_hashes.clear();
    return without;
  }

  Made made{{.hidden = 64}};
  Plan plan = made.plan();
  Plan other = made.plan(3);
  fs::path out = made.root / "out";
};

TEST_F(Place, AModelWithAPlanOfItsOwnIsNotReplaced) {
  const fs::path theirs = made.root / "theirs";
  fs::copy(made.source, theirs);
  write_text(theirs / "plan.json", render_plan(unlisted()));
  EXPECT_THAT(refused(theirs), HasSubstr("not replaced even with --force"));
}

TEST_F(Place, AFolderOfARamThatListedNoFilesIsReplacedIfItHasTheSizeThatItSays) {
  made.build(plan, out);
  Plan old = unlisted();
  do {
    old.total_bytes = bytes_in(out);
    write_text(out / "plan.json", render_plan(old));
  } while (bytes_in(out) != old.total_bytes);
  write_text(out / "README.md", text_of(out / "README.md") + "mine");
  EXPECT_THAT(refused(out), HasSubstr("ram did not write it; not replaced"));
  fs::resize_file(out / "README.md", fs::file_size(out / "README.md") - 4);
  made.options.force = true;
  EXPECT_EQ(made.build(other, out), BuildOutcome::kWritten);
}

TEST_F(Place, ASourceInAFolderThatARunEmptiesIsNotTouched) {
  for (const char* work : {".out.ram-partial", ".out.ram-encoded"}) {
    const fs::path source = made.root / work / "deep" / "source";
    fs::create_directories(source.parent_path());
    fs::copy(made.source, source);
    const auto before = contents(made.root.path());
    const Checkpoint inside = Checkpoint::open(source.string());
    const Error error = error_of([&] { check_out_folder(inside, out, false); });
    EXPECT_EQ(error.code(), Code::kUsage) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(work));
    EXPECT_TRUE(contents(made.root.path()) == before);
    fs::remove_all(made.root / work);
  }
}

TEST_F(Place, ASourceWhoseFilesAreLinksIntoAFolderThatARunEmptiesIsNotTouched) {
  const fs::path source = made.root / "links";
  const fs::path work = made.root / ".out.ram-partial";
  fs::copy(made.source, source);
  fs::create_directory(work);
  fs::rename(source / "model.safetensors", work / "blob");
  fs::create_symlink(work / "blob", source / "model.safetensors");
  const Checkpoint inside = Checkpoint::open(source.string());
  EXPECT_EQ(error_of([&] { check_out_folder(inside, out, false); }).code(), Code::kUsage);
  EXPECT_TRUE(fs::exists(work / "blob"));
}

TEST_F(Place, AnEditedTextIsNotLostWhateverItIs) {
  write_text(made.source / "chat_template.jinja", "{{ messages }}");
  made.checkpoint = std::make_unique<Checkpoint>(Checkpoint::open(made.source.string()));
  plan = made.plan();
  other = made.plan(3);
  made.build(plan, out);
  for (const char* name : {"chat_template.jinja", "config.json", "tokenizer_config.json",
                           "model.safetensors.index.json", "README.md"}) {
    const std::string text = text_of(out / name);
    for (const std::string& edited : {text + " ", text.substr(1)}) {
      write_text(out / name, edited);
      EXPECT_THAT(refused(out), HasSubstr(fmt::format("{}, which was edited", name)));
    }
    write_text(out / name, text);
  }
  Plan edited = parse_plan(text_of(out / "plan.json"), "plan.json");
  edited.request.veto_db = 8;
  write_text(out / "plan.json", render_plan(edited));
  EXPECT_THAT(refused(out), HasSubstr("plan.json, which was edited"));
}

TEST_F(Place, APlanThatCannotBeReadIsSaidToBeThatAndStays) {
  made.build(plan, out);
  write_text(out / "plan.json", "{");
  EXPECT_THAT(refused(out), HasSubstr("plan.json that cannot be read"));
  fs::remove(out / "plan.json");
  EXPECT_THAT(refused(out), HasSubstr("no plan.json"));
}

TEST_F(Place, AFolderWithADamagedByteIsNotThereAlready) {
  made.build(plan, out);
  EXPECT_EQ(made.build(plan, out), BuildOutcome::kAlreadyThere);
  const auto good = contents(out);
  for (const auto& [name, text] : good) {
    flip(out / name, text.size() - 2);
    made.options.force = false;
    EXPECT_THAT(error_of([&] { made.build(plan, out); }).what(), HasSubstr(name));
    write_text(out / name, text);
  }
  flip(out / "model.safetensors", good.at("model.safetensors").size() - 1);
  made.options.force = true;
  EXPECT_EQ(made.build(plan, out), BuildOutcome::kWritten);
  EXPECT_TRUE(contents(out) == good);
}

TEST_F(Place, ReadingAFolderThatIsThereIsShown) {
  made.build(plan, out);
  int64_t shown = 0;
  int64_t total = 0;
  const BuildOutcome outcome = made.build(plan, out, [&](const Progress& progress) {
    EXPECT_EQ(progress.phase, "compare");
    EXPECT_GT(progress.done, shown);
    shown = progress.done;
    total = progress.total;
  });
  EXPECT_EQ(outcome, BuildOutcome::kAlreadyThere);
  EXPECT_EQ(shown, static_cast<int64_t>(fs::file_size(out / "model.safetensors")));
  EXPECT_EQ(total, shown);
}

TEST_F(Place, ASourceWhoseCarriedFileChangedGivesAnotherFolder) {
  made.build(plan, out);
  flip(made.source / "tokenizer.json", 5);
  made.checkpoint = std::make_unique<Checkpoint>(Checkpoint::open(made.source.string()));
  EXPECT_THAT(error_of([&] { made.build(plan, out); }).what(), HasSubstr("tokenizer.json differs"));
  made.options.force = true;
  EXPECT_EQ(made.build(plan, out), BuildOutcome::kWritten);
  EXPECT_EQ(text_of(out / "tokenizer.json"), text_of(made.source / "tokenizer.json"));
}

#if defined(__linux__)
constexpr int kNoMounts = 77;

/// Runs an action in a child that has its own mount namespace, so that it needs no root.
/// @return its exit status: 0 if the action returns true; kNoMounts if the system does not allow
///         this user a mount namespace.
template <typename Action>
int with_a_folder_mounted(const fs::path& folder, const fs::path& at, const Action& action) {
  const pid_t child = fork();
  if (child == 0) {
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0 ||
        mount(folder.c_str(), at.c_str(), nullptr, MS_BIND, nullptr) != 0) {
      _exit(kNoMounts);
    }
    try {
      _exit(action() ? 0 : 1);
    } catch (const std::exception& error) {
      fmt::print(stderr, "{}\n", error.what());
    }
    _exit(2);
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_F(Place, AFolderAtWhichSomethingIsMountedIsRefusedBeforeWork) {
  const fs::path volume = made.root / "volume";
  fs::create_directory(out);
  for (const bool written : {false, true}) {
    if (written) made.build(plan, volume);
    if (!written) fs::create_directory(volume);
    const int status = with_a_folder_mounted(volume, out, [&] {
      try {
        check_out_folder(*made.checkpoint, out, true);
      } catch (const Error& error) {
        const std::string said = error.what();
        return error.code() == Code::kUsage && said.find("is a mount point") != said.npos &&
               said.find((out / "model").string()) != said.npos;
      }
      return false;
    });
    if (status == kNoMounts) GTEST_SKIP() << "skipped: this user cannot mount";
    EXPECT_EQ(status, 0) << written;
    if (!written) fs::remove(volume);
  }
  EXPECT_EQ(check_out_folder(*made.checkpoint, out, true), OutState::kThere);
}

TEST_F(Place, AWorkFolderThatIsMountedIsRefusedBeforeWork) {
  const fs::path work = made.root / ".out.ram-partial";
  const fs::path elsewhere = made.root / "elsewhere";
  fs::create_directory(work);
  fs::create_directory(elsewhere);
  const int status = with_a_folder_mounted(elsewhere, work, [&] {
    try {
      check_out_folder(*made.checkpoint, out, false);
    } catch (const Error& error) {
      return error.code() == Code::kWriteFailed &&
             std::string(error.what()).find(work.string()) != std::string::npos;
    }
    return false;
  });
  if (status == kNoMounts) GTEST_SKIP() << "skipped: this user cannot mount";
  EXPECT_EQ(status, 0);
  EXPECT_EQ(check_out_folder(*made.checkpoint, out, false), OutState::kBegun);
}
#endif

TEST_F(Place, AFolderThatThisUserCannotMoveIsRefusedBeforeWork) {
  made.build(plan, out);
  {
    const AsNobody nobody(made.root.path());
    const Checkpoint mine = Checkpoint::open(made.source.string());
    EXPECT_EQ(check_out_folder(mine, out, true), OutState::kThere);
    fs::permissions(out, fs::perms::owner_read | fs::perms::owner_exec);
    const Error error = error_of([&] { check_out_folder(mine, out, true); });
    EXPECT_EQ(error.code(), Code::kWriteFailed) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(out.string()));
    fs::permissions(out, fs::perms::all);
  }
  if (geteuid() != 0) GTEST_SKIP() << "skipped: another user's folder needs root";
  EXPECT_EQ(chown(made.root.path().c_str(), 0, 0), 0);
  EXPECT_EQ(chown(out.c_str(), 0, 0), 0);
  EXPECT_EQ(chmod(made.root.path().c_str(), S_ISVTX | 0777), 0);
  constexpr uid_t kNobody = 65534;
  ASSERT_EQ(seteuid(kNobody), 0);
  const Checkpoint mine = Checkpoint::open(made.source.string());
  const Error error = error_of([&] { check_out_folder(mine, out, true); });
  ASSERT_EQ(seteuid(0), 0);
  EXPECT_EQ(error.code(), Code::kWriteFailed) << error.what();
  EXPECT_THAT(error.what(), HasSubstr("another user"));
}

TEST_F(Place, ClutterThatCannotBeReadIsNotRead) {
  made.build(plan, out);
  for (const char* folder : {".Trashes", ".cache"}) {
    fs::create_directories(out / folder / "deep");
    write_text(out / folder / "deep" / "model.safetensors", "x");
  }
  const AsNobody nobody(made.root.path());
  made.checkpoint = std::make_unique<Checkpoint>(Checkpoint::open(made.source.string()));
  for (const char* folder : {".Trashes", ".cache"}) fs::permissions(out / folder, fs::perms::none);
  EXPECT_THAT(verify_folder(out, nullptr, nullptr, 1).problems, IsEmpty());
  EXPECT_EQ(made.build(plan, out), BuildOutcome::kAlreadyThere);
  made.options.force = true;
  EXPECT_EQ(made.build(other, out), BuildOutcome::kWritten);
  for (const auto& entry : fs::recursive_directory_iterator(made.root.path())) {
    if (entry.is_directory()) fs::permissions(entry, fs::perms::owner_all);
  }
}

}  // namespace
}  // namespace ram::testing
