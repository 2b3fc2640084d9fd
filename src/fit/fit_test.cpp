// Fits through the library: with events, cancelled, resumed, and several at once.
#include "ram/fit.h"

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/cancellation.h"
#include "ram/error.h"
#include "ram/file.h"

#include "support/temp_folder.h"
#include "support/tiny_model.h"

namespace ram {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using testing::TempFolder;
using testing::TinyModel;

using Files = std::map<std::string, std::string>;

Files files_in(const fs::path& folder) {
  Files files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) {
      files[entry.path().lexically_relative(folder).string()] =
          read_text_file(entry.path(), int64_t{1} << 30);
    }
  }
  return files;
}

/// A model on disk, with its own study and OUT.
class Fitting {
 public:
  Fitting(const fs::path& root, const TinyModel& spec) : root_(root), source_(root / "model") {
    testing::write_tiny_model(source_, spec);
  }

  FitRequest request() const {
    FitRequest request;
    request.plan.bits_per_weight = 4.5;
    request.out = root_ / "out";
    request.resources.threads = 2;
    return request;
  }

  /// As request(), after which the model is run: gradients and error feedback on a few rows.
  FitRequest calibrated(const Checkpoint& checkpoint) const {
    FitRequest calibrated = request();
    calibrated.plan.method = Method::kMeasured;
    calibrated.plan.encoder = Encoder::kFeedback;
    calibrated.calibration.text = "random";
    calibrated.calibration.rows = {.rows = 4, .length = 32};
    calibrated.calibration.coefficients = CoefficientSource::kGradient;
    calibrated.resources.engine = {.threads = 2, .memory_bytes = int64_t{1} << 30};
    announce_calibration(checkpoint, calibrated.calibration, calibrated.plan);
    return calibrated;
  }

  FitResult run(const FitEvents& events = {}) const {
    const Checkpoint checkpoint = Checkpoint::open(source_.string());
    Study study(root_ / "ram.db");
    return fit(checkpoint, study, request(), events);
  }

  FitResult run_calibrated(const FitEvents& events = {}) const {
    const Checkpoint checkpoint = Checkpoint::open(source_.string());
    Study study(root_ / "ram.db");
    return fit(checkpoint, study, calibrated(checkpoint), events);
  }

  Files out() const { return files_in(root_ / "out"); }
  const fs::path& root() const { return root_; }

 private:
  fs::path root_;
  fs::path source_;
};

TinyModel experts() {
  return {.model_type = "qwen3_moe", .hidden = 64, .layers = 2, .experts = 4, .expert_width = 64};
}

/// Two models, each twice: to be fitted alone, and beside the other.
struct TwoModels {
  TwoModels() {
    for (const TinyModel& spec : {TinyModel{}, experts()}) {
      alone.emplace_back(folders[alone.size()].path(), spec);
      beside.emplace_back(folders[2 + beside.size()].path(), spec);
    }
  }
  std::vector<TempFolder> folders = std::vector<TempFolder>(4);
  std::vector<Fitting> alone;
  std::vector<Fitting> beside;
};

TEST(Fit, TellsOfItsStagesAndEndsInAVerifiedFolder) {
  const TempFolder folder;
  const Fitting fitting(folder.path(), {});
  std::vector<std::string> stages;
  int progress = 0;
  FitEvents events;
  events.stage = [&](std::string_view stage) { stages.emplace_back(stage); };
  events.progress = [&](const Progress&) { ++progress; };
  const FitResult result = fitting.run(events);
  ASSERT_TRUE(result.planned.plan);
  EXPECT_EQ(result.outcome, BuildOutcome::kWritten);
  EXPECT_THAT(result.report.problems, ElementsAre());
  EXPECT_THAT(stages, ElementsAre("analyze", "write", "verify"));
  EXPECT_EQ(stages, fit_stages(fitting.request().plan, {}));
  EXPECT_GT(progress, 3);
  EXPECT_FALSE(result.calibration);
  EXPECT_EQ(fitting.run().outcome, BuildOutcome::kAlreadyThere);
}

TEST(Fit, CancelledFromAnotherThreadItGoesOnToTheSameBytes) {
  const TempFolder whole;
  const Fitting undisturbed(whole.path(), experts());
  undisturbed.run();
  // At the beginning of each stage, and at some progress reports.
  for (const int at : {1, 2, 3, 5, 8, 12}) {
    const TempFolder folder;
    const Fitting fitting(folder.path(), experts());
    const Cancellation cancellation;
    int reports = 0;
    FitEvents events;
    events.progress = [&](const Progress&) {
      if (++reports == at) std::thread([cancellation] { cancellation.request(); }).join();
    };
    bool cancelled = false;
    try {
      const CancelScope scope(cancellation);
      fitting.run(events);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kInterrupted) << error.what();
      cancelled = true;
    }
    EXPECT_TRUE(cancelled) << at;
    const FitResult result = fitting.run();
    EXPECT_THAT(result.report.problems, ElementsAre()) << at;
    EXPECT_EQ(fitting.out(), undisturbed.out()) << at;
  }
}

TEST(Fit, TwoAtOnceGiveWhatEachGivesAloneAndAreStoppedAlone) {
  const TwoModels models;
  const std::vector<Fitting>& alone = models.alone;
  const std::vector<Fitting>& beside = models.beside;
  for (const Fitting& fitting : alone) fitting.run();
  // The second is cancelled as soon as it begins, which does not affect the first.
  const Cancellation second;
  std::vector<std::thread> threads;
  std::vector<Code> codes(2, Code::kInternal);
  for (size_t i = 0; i < 2; ++i) {
    threads.emplace_back([&, i] {
      const CancelScope scope(i == 1 ? second : Cancellation());
      FitEvents events;
      events.progress = [&, i](const Progress&) {
        if (i == 1) second.request();
      };
      try {
        beside[i].run(events);
      } catch (const Error& error) {
        codes[i] = error.code();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(codes[0], Code::kInternal) << "did not finish";
  EXPECT_EQ(codes[1], Code::kInterrupted);
  threads.clear();
  for (size_t i = 0; i < 2; ++i) {
    threads.emplace_back([&, i] { beside[i].run(); });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(beside[i].out(), alone[i].out()) << i;
}

TEST(Fit, TwoThatRunTheirModelsAtOnceGiveWhatEachGivesAlone) {
  const TwoModels models;
  const std::vector<Fitting>& alone = models.alone;
  const std::vector<Fitting>& beside = models.beside;
  for (const Fitting& fitting : alone) EXPECT_TRUE(fitting.run_calibrated().calibration);
  // The second is stopped in its midst, and goes on while the first still runs or has ended.
  std::vector<std::thread> threads;
  for (size_t i = 0; i < 2; ++i) {
    threads.emplace_back([&, i] {
      const Cancellation cancellation;
      FitEvents events;
      events.progress = [&, i](const Progress& progress) {
        if (i == 1 && progress.phase == std::string_view("compress")) cancellation.request();
      };
      try {
        const CancelScope scope(cancellation);
        beside[i].run_calibrated(events);
        EXPECT_EQ(i, 0U) << "was not stopped";
      } catch (const Error& error) {
        EXPECT_EQ(i, 1U);
        EXPECT_EQ(error.code(), Code::kInterrupted) << error.what();
      }
      if (i == 1) beside[i].run_calibrated();
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(beside[i].out(), alone[i].out()) << i;
}

}  // namespace
}  // namespace ram
