// Effects of --memory: how many rows fit, which weights are kept, and what models side by side
// share.
#include <cstdint>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ram/engine.h"
#include "ram/error.h"

#include "support/model_logits.h"
#include "support/temp_folder.h"
#include "support/tiny_model.h"

namespace ram {
namespace {

using testing::kLittleMemory;
using testing::logits_of;
using testing::some_rows;
using testing::TempFolder;
using testing::TinyModel;
using testing::write_tiny_model;

TEST(LanguageModel, SaysHowMuchMemoryRowsNeed) {
  TempFolder folder;
  write_tiny_model(folder.path(), {});
  LanguageModel model(Checkpoint::open(folder.path().string()),
                      {.threads = 2, .memory_bytes = kLittleMemory});
  EXPECT_THROW(model.rows_at_once(2048), Error);
  LanguageModel roomy(Checkpoint::open(folder.path().string()),
                      {.threads = 2, .memory_bytes = int64_t{1} << 30});
  EXPECT_GT(roomy.rows_at_once(2048), 100);
}

TEST(LanguageModel, SharesMemoryWithModelsBesideIt) {
  TempFolder folder;
  write_tiny_model(folder.path(), {});
  const auto rows = [&](int64_t memory, int64_t models) {
    LanguageModel model(Checkpoint::open(folder.path().string()),
                        {.threads = 1, .memory_bytes = memory, .side_by_side = models});
    return model.rows_at_once(64);
  };
  constexpr int64_t kMemory = int64_t{600} << 20;
  const int64_t alone = rows(kMemory, 1);
  const int64_t shared = rows(kMemory, 4);
  EXPECT_GE(shared, 1);
  EXPECT_LT(shared, alone / 4);  // each has its own tables
  try {
    (void)rows(kMemory / 2, 4);
    FAIL();
  } catch (const Error& error) {
    const std::string said = error.what();
    EXPECT_NE(said.find("memory 314.6 MB, shared by 4 models: "), std::string::npos) << said;
  }
}

// Kept weights take memory that a row may need: more memory must not be refused where less is
// accepted.
TEST(LanguageModel, KeepsWeightsOnlyWhereThatLeavesRoomForARow) {
  TempFolder folder;
  TinyModel spec;
  spec.model_type = "qwen3_moe";
  spec.hidden = 256;
  spec.vocab = 8192;  // 16 MiB as multiplied
  write_tiny_model(folder.path(), spec);
  const auto opened = [&](int64_t memory) {
    return LanguageModel(Checkpoint::open(folder.path().string()),
                         {.threads = 1, .memory_bytes = memory});
  };
  constexpr int64_t kStep = int64_t{2} << 20;
  constexpr int64_t kLength = 64;
  bool taken = false;
  int let_go = 0;
  for (int64_t memory = int64_t{120} << 20; memory < int64_t{220} << 20; memory += kStep) {
    LanguageModel model = opened(memory);
    const bool kept = model.keeps_weights();
    try {
      EXPECT_GE(model.rows_at_once(kLength), 1);
      taken = true;
    } catch (const Error&) {
      EXPECT_FALSE(taken) << memory << " bytes are refused, fewer were not";
    }
    if (kept && taken && !model.keeps_weights()) ++let_go;
  }
  EXPECT_TRUE(taken);
  EXPECT_GT(let_go, 0) << "no size tested this case";
}

TEST(LanguageModel, GivesTheSameWhenItKeepsWeightsNoLonger) {
  TempFolder folder;
  TinyModel spec;
  spec.model_type = "qwen3_moe";
  write_tiny_model(folder.path(), spec);
  LanguageModel model(Checkpoint::open(folder.path().string()),
                      {.threads = 2, .memory_bytes = int64_t{200} << 20});
  const std::vector<TokenRow> rows = some_rows(2, 20, 96);
  ASSERT_TRUE(model.keeps_weights());
  const std::vector<float> kept = logits_of(model, rows);
  EXPECT_THROW(model.rows_at_once(200000), Error);
  ASSERT_FALSE(model.keeps_weights());
  EXPECT_EQ(logits_of(model, rows), kept);
}

}  // namespace
}  // namespace ram
