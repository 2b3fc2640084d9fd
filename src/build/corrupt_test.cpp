// Files of unknown origin beside and in a finished folder: state.json of a run that was killed, and
// every JSON file that verify reads.
#include <fstream>

#include <gtest/gtest.h>

#include "staging.h"
#include "test_support.h"

namespace ram::testing {
namespace {

std::vector<fs::path> inputs(const char* kind) {
  std::vector<fs::path> files;
  for (const auto& entry :
       fs::directory_iterator(fs::path(RAM_SOURCE_DIR) / "tests" / "corrupt" / kind)) {
    files.push_back(entry.path());
  }
  EXPECT_GT(files.size(), 10U);
  return files;
}

void write(const fs::path& path, std::string_view text) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
}

void expect_line(std::string_view text) {
  EXPECT_EQ(text.find_first_of("\n\x1b"), std::string_view::npos) << text;
  EXPECT_LE(text.size(), 1000U) << text;
}

TEST(CorruptInputs, AStateThatCannotBeReadIsAsIfThereWereNone) {
  const TempFolder root;
  write(root / "outside", "0123456789");
  for (const fs::path& input : inputs("state")) {
    SCOPED_TRACE(input.filename().string());
    const OutPaths place = resolve_out_folder(root / "OUT");
    fs::create_directories(place.work / "folder");
    write(place.work / "folder" / "model.safetensors", "0123456789");
    write(place.work / "state.json", read_text_file(input, int64_t{1} << 20));
    Staging staging(place, "key");
    const bool kept = staging.finished("model.safetensors").has_value();
    EXPECT_EQ(kept, fs::exists(staging.folder() / "model.safetensors"));
    EXPECT_EQ(staging.finished_bytes(), kept ? 10 : 0);
    staging.discard();
    EXPECT_EQ(read_text_file(root / "outside", 100), "0123456789");
    EXPECT_FALSE(fs::exists(place.work));
  }
}

TEST(CorruptInputs, VerifySaysOfAnyFolderWhatIsWrongInLines) {
  const Made made({.layers = 1});
  const fs::path good = made.root / "good";
  made.build(made.plan(), good);
  ASSERT_TRUE(verify_folder(good, nullptr, nullptr, 1).problems.empty());
  for (const fs::path& input : inputs("folder")) {
    SCOPED_TRACE(input.filename().string());
    const fs::path out = made.root / "out";
    fs::remove_all(out);
    fs::copy(good, out);
    // Files one after another, each after a line "@@ NAME"; a name without text is a missing file.
    const std::string text = read_text_file(input, int64_t{1} << 20);
    for (size_t at = 0; at < text.size();) {
      const size_t line = text.find('\n', at);
      const size_t end = std::min(text.find("\n@@ ", line), text.size());
      const fs::path file = out / text.substr(at + 3, line - at - 3);
      write(file, text.substr(line + 1, end - line - 1));
      if (end <= line + 1) fs::remove(file);
      at = end + 1;
    }
    const VerifyReport report = verify_folder(out, nullptr, nullptr, 1);
    EXPECT_NE(report.problems.empty(), text.size() > 1);
    for (const std::string& problem : report.problems) expect_line(problem);
  }
}

}  // namespace
}  // namespace ram::testing
