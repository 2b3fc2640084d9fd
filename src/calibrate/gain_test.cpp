// Measured gains are stored unit by unit, by any command.
#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ram/calibrate.h"
#include "ram/error.h"
#include "ram/progress.h"

#include "support/temp_folder.h"
#include "support/tiny_model.h"

namespace ram {
namespace {

using testing::TempFolder;
using testing::TinyModel;
using testing::write_tiny_model;

class Gains : public ::testing::Test {
 protected:
  void SetUp() override {
    write_tiny_model(folder_ / "model", spec_);
    text_ = random_text(spec_.vocab, {.rows = 5, .length = 24, .seed = 3});
    const Checkpoint checkpoint = Checkpoint::open((folder_ / "model").string());
    for (size_t u = 0; u < checkpoint.units.size(); ++u) {
      if (checkpoint.units[u].quantizable) units_.push_back(static_cast<int>(u));
    }
  }
  /// @return how many units were measured, not recalled.
  int64_t measure(const std::vector<int>& units, Study& study) {
    LanguageModel model(Checkpoint::open((folder_ / "model").string()), {.threads = 2});
    int64_t steps = 0;
    gains_ = measure_gains(model, "f", units, text_, {.dtype = DType::kBF16}, study,
                           [&](const Progress&) { ++steps; });
    return steps;
  }
  static std::set<std::string> kept(Study& study) {
    std::set<std::string> names;
    for (const StudyDocument& document : study.documents("gains")) {
      std::istringstream lines(document.text);
      for (std::string line; std::getline(lines, line);) {
        names.insert(line.substr(0, line.find(' ')));
      }
    }
    return names;
  }

  TempFolder folder_;
  TinyModel spec_;
  CalibrationText text_;
  std::vector<int> units_;
  EncoderGains gains_;
};

TEST_F(Gains, OfOtherUnitsAreNotForgotten) {
  Study study(folder_ / "a.db");
  measure(units_, study);
  const EncoderGains all = gains_;
  EXPECT_EQ(kept(study).size(), units_.size());
  const std::vector<int> some(units_.begin(), units_.begin() + 3);
  EXPECT_EQ(measure(some, study), 0);
  EXPECT_EQ(kept(study).size(), units_.size());
  EXPECT_EQ(measure(units_, study), 0);
  EXPECT_EQ(gains_.units, all.units);
}

TEST_F(Gains, OfAModelThatChangedMeanwhileAreNotKept) {
  Study study(folder_ / "a.db");
  LanguageModel model(Checkpoint::open((folder_ / "model").string()), {.threads = 2});
  const auto touch = [&](const Progress&) {
    std::filesystem::last_write_time(folder_ / "model" / "model.safetensors",
                                     std::filesystem::file_time_type());
  };
  EXPECT_THROW(measure_gains(model, "f", units_, text_, {.dtype = DType::kBF16}, study, touch),
               Error);
  EXPECT_TRUE(kept(study).empty());
}

// Two programs: each opened the study before the other stored anything.
TEST_F(Gains, OfTwoProgramsAreBothKept) {
  Study first(folder_ / "a.db");
  Study second(folder_ / "a.db");
  const auto middle = units_.begin() + std::ssize(units_) / 2;
  measure({units_.begin(), middle}, first);
  measure({middle, units_.end()}, second);
  EXPECT_EQ(kept(first).size(), units_.size());
  EXPECT_EQ(measure(units_, first), 0);
}

TEST_F(Gains, OfADamagedLineAreMeasuredAgain) {
  Study study(folder_ / "a.db");
  measure(units_, study);
  for (const StudyDocument& document : study.documents("gains")) {
    StudyDocument damaged = document;
    damaged.text.replace(damaged.text.size() - 2, 1, "x");
    study.put_document(damaged);
  }
  EXPECT_GE(measure(units_, study), 1);
  EXPECT_EQ(kept(study).size(), units_.size());
}

}  // namespace
}  // namespace ram
