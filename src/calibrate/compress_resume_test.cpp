// Compressing goes on from any unit, and gives the codes of an undisturbed run.
#include <optional>
#include <vector>

#include <gtest/gtest.h>

#include "ram/calibrate.h"

#include "support/sanitizers.h"
#include "support/temp_folder.h"
#include "support/tiny_model.h"

namespace ram {
namespace {

/// Compresses a model in turn, then again with prefixes of the units known.
void check_prefixes(const testing::TinyModel& spec) {
  const testing::TempFolder folder;
  testing::write_tiny_model(folder.path(), spec);
  LanguageModel model(Checkpoint::open(folder.path().string()), {.threads = 2});
  std::vector<UnitFormat> formats;
  for (const Unit& unit : model.checkpoint().units) {
    formats.push_back(unit.quantizable ? UnitFormat(AffineFormat{4, 32}) : std::nullopt);
  }
  const CalibrationText text = random_text(spec.vocab, {.rows = 5, .length = 24, .seed = 5});
  const CompressOptions options{.sequential = true};
  std::vector<CompressedUnit> whole;
  compress_units(model, formats, text, options, {},
                 [&](const CompressedUnit& unit) { whole.push_back(unit); });
  for (size_t done = 1; done < whole.size(); done += RAM_SANITIZED ? 4 : 2) {
    size_t next = done;
    compress_units(
        model, formats, text, options,
        [&](int unit) -> std::optional<CompressedUnit> {
          for (size_t i = 0; i < done; ++i) {
            if (whole[i].unit == unit) return whole[i];
          }
          return std::nullopt;
        },
        [&](const CompressedUnit& unit) {
          ASSERT_LT(next, whole.size());
          EXPECT_EQ(unit.unit, whole[next].unit);
          EXPECT_EQ(unit.parts, whole[next].parts) << "unit " << unit.unit << " after " << done;
          ++next;
        });
    EXPECT_EQ(next, whole.size());
  }
}

TEST(CompressResume, GoesOnFromAnyUnitOfADenseModel) {
  check_prefixes({});
  check_prefixes({.tied = true});
}

TEST(CompressResume, GoesOnFromAnyUnitOfAMixture) {
  check_prefixes({.model_type = "qwen2_moe", .expert_width = 64});
}

}  // namespace
}  // namespace ram
