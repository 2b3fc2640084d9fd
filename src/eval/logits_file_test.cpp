#include "ram/logits_file.h"

#include <vector>

#include <gtest/gtest.h>

#include "ram/error.h"
#include "ram/file.h"

#include "support/temp_folder.h"
#include "support/tiny_model.h"

namespace ram {
namespace {

TEST(LogitsFile, HoldsEachRowAsItIsByItself) {
  const testing::TempFolder folder;
  testing::write_tiny_model(folder / "model", {.vocab = 96});
  LanguageModel model(Checkpoint::open((folder / "model").string()),
                      {.threads = 2, .memory_bytes = int64_t{1} << 30});
  const std::vector<TokenRow> rows = {{1, 2, 3}, {4, 5, 6}};
  const TensorSpec both = write_logits(model, rows, folder / "both");
  EXPECT_EQ(both.shape, (std::vector<int64_t>{2, 3, 96}));
  write_logits(model, std::span(rows).subspan(1), folder / "second");
  const auto values = [&](const char* name) {
    const std::string file = read_text_file(folder / name, int64_t{1} << 20);
    return file.substr(file.size() - 3 * 96 * 4);  // the logits of the last row
  };
  EXPECT_EQ(values("both"), values("second"));
  const std::string whole = read_text_file(folder / "both", int64_t{1} << 20);
  const std::string first = whole.substr(whole.size() - 2 * 3 * 96 * 4, 3 * 96 * 4);
  EXPECT_NE(first, values("both"));
  EXPECT_NE(first, std::string(first.size(), '\0'));
}

TEST(LogitsFile, IsNotThereWhereAnIdIsNot) {
  const testing::TempFolder folder;
  testing::write_tiny_model(folder / "model", {.vocab = 96});
  LanguageModel model(Checkpoint::open((folder / "model").string()),
                      {.threads = 2, .memory_bytes = int64_t{1} << 30});
  const std::vector<TokenRow> rows = {{1, 96}};
  EXPECT_THROW(write_logits(model, rows, folder / "out"), Error);
  EXPECT_FALSE(std::filesystem::exists(folder / "out"));
}

}  // namespace
}  // namespace ram
