// How memory is shared before a run: within the given total, enough for each use, otherwise
// refused.
#include <cstdint>
#include <string>

#include <gtest/gtest.h>

#include "ram/calibrate.h"
#include "ram/error.h"

#include "support/temp_folder.h"
#include "support/tiny_model.h"

namespace ram {
namespace {

using testing::TempFolder;
using testing::TinyModel;
using testing::write_tiny_model;

constexpr int64_t kMega = int64_t{1} << 20;

class ShareMemory : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    TinyModel spec;
    spec.model_type = GetParam();
    write_tiny_model(folder_.path(), spec);
  }
  Checkpoint open() const { return Checkpoint::open(folder_.path().string()); }
  CalibrationMemory share(int64_t total, int threads, int64_t rows, int64_t length) const {
    return share_memory(open(), total, threads, rows, length);
  }
  /// The least memory that is not refused, to a kilobyte.
  int64_t least(int threads, int64_t rows, int64_t length) const {
    int64_t low = 0;
    int64_t high = int64_t{1} << 40;
    while (high - low > 1024) {
      const int64_t middle = (low + high) / 2;
      try {
        (void)share(middle, threads, rows, length);
        high = middle;
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), Code::kUsage);
        low = middle;
      }
    }
    return high;
  }

  TempFolder folder_;
};

INSTANTIATE_TEST_SUITE_P(Models, ShareMemory, ::testing::Values("llama", "qwen3_moe"));

TEST_P(ShareMemory, GivesAwayNoMoreThanThereIs) {
  const int64_t least_bytes = least(2, 16, 64);
  for (const int64_t total : {least_bytes, least_bytes + 1, 2 * least_bytes, int64_t{1} << 36}) {
    const CalibrationMemory shared = share(total, 2, 16, 64);
    EXPECT_GT(shared.model, 0);
    EXPECT_GT(shared.variants, 0);
    EXPECT_GT(shared.moments, 0);
    // Variants and moments never exist at the same time.
    EXPECT_LE(shared.model + shared.variants, total);
    EXPECT_LE(shared.model + shared.moments, total);
  }
}

TEST_P(ShareMemory, NeedsMoreForMoreRowsLongerRowsAndMoreThreads) {
  const int64_t one = least(1, 8, 64);
  EXPECT_GT(least(1, 512, 64), one);
  EXPECT_GT(least(1, 8, 1024), one);
  EXPECT_GT(least(8, 8, 64), one);
}

TEST_P(ShareMemory, SaysWhatIsNeededAndWhatWouldNeedLess) {
  try {
    (void)share(kMega, 2, 16, 64);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kUsage);
    const std::string said = error.what();
    for (const char* word : {"16 rows", "64 tokens", "--calibration-rows", "--threads"}) {
      EXPECT_NE(said.find(word), std::string::npos) << said;
    }
  }
}

// The model's share is enough for a pass over the rows; a row of own text, which is written
// earlier, may use all memory.
TEST_P(ShareMemory, LeavesRoomForAPassAndBeforeItForDecoding) {
  const int64_t total = least(2, 16, 64);
  const CalibrationMemory shared = share(total, 2, 16, 64);
  LanguageModel model(open(), {.threads = 2, .memory_bytes = shared.model});
  EXPECT_GE(model.rows_at_once(64), 1);
  EXPECT_LE(model.decoding_bytes(64), total);
  EXPECT_GE(model.decoders_at_once(64), 1);
}

}  // namespace
}  // namespace ram
