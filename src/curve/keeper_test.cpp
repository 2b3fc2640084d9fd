// What is kept when a file changes while it is read.
#include "keeper.h"

#include <fstream>

#include "test_support.h"

namespace ram {
namespace {

using testing::error_of;

class KeeperTest : public CurveTest {
 protected:
  void SetUp() override { write(small_model()); }

  /// A tensor of one of the files.
  static int tensor_of(const Checkpoint& checkpoint, int file) {
    for (size_t t = 0; t < checkpoint.tensors.size(); ++t) {
      if (checkpoint.tensors[t].file == file) return static_cast<int>(t);
    }
    return -1;
  }
  static void change(const InputFile& file) {
    std::ofstream(file.path(), std::ios::app | std::ios::binary) << ' ';
  }
  static CurveKey key(const std::string& hash) {
    return {
        .tensor_hash = hash, .part = "rows 0+1 x 1", .source = DType::kBF16, .dtype = DType::kBF16};
  }
  static size_t hashes(Study& study, const InputFile& file) {
    return CurveTable(study).tensor_hashes(file.path(), file.identity()).size();
  }
};

// For either file: the other's results are kept, and so are those that name content.
TEST_F(KeeperTest, AChangedFileCostsTheOthersNothing) {
  for (const int changed : {0, 1}) {
    write(small_model());
    const Checkpoint checkpoint = open();
    ASSERT_EQ(checkpoint.files.size(), 2U);
    Study study(folder_ / fmt::format("{}.db", changed));
    Keeper keeper(checkpoint, study, 1e9);
    for (const int file : {0, 1}) {
      const std::string hash = fmt::format("hash{}", file);
      keeper.add(tensor_of(checkpoint, file), hash, {{key(hash), PartCurve{}}}, 1);
    }
    change(checkpoint.files[static_cast<size_t>(changed)]);
    EXPECT_EQ(error_of([&] { keeper.commit(); }).code(), Code::kCorrupt);
    EXPECT_EQ(hashes(study, checkpoint.files[static_cast<size_t>(1 - changed)]), 1U) << changed;
    EXPECT_EQ(hashes(study, checkpoint.files[static_cast<size_t>(changed)]), 0U) << changed;
    const std::vector<CurveKey> keys = {key("hash0"), key("hash1")};
    EXPECT_EQ(CurveTable(study).curves(keys).size(), 2U);
    // Another worker finishes meanwhile: its result is kept too, while the error is handled.
    const int other = tensor_of(checkpoint, 1 - changed);
    keeper.add(other, "later", {{key("later"), PartCurve{}}}, 1);
    keeper.commit_on_error();
    const std::vector<CurveKey> later = {key("later")};
    EXPECT_EQ(CurveTable(study).curves(later).size(), 1U);
  }
}

}  // namespace
}  // namespace ram
