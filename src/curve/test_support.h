// Shared by the tests of curve: bitwise comparison of curves, child processes, and small models.
#pragma once

#include <functional>
#include <string>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ram/curve.h"
#include "ram/error.h"

#include "support/cold_file.h"
#include "support/error_of.h"
#include "support/temp_folder.h"
#include "support/tiny_model.h"

namespace ram {

/// A model small enough to be measured quickly: packed experts, norms that are only carried, two
/// files.
inline testing::TinyModel small_model() {
  testing::TinyModel model;
  model.model_type = "qwen3_moe";
  model.hidden = 128;
  model.expert_layout = testing::ExpertLayout::kPacked;
  model.shards = 2;
  return model;
}

/// The same with tensors of several chunks, the last one partial, and an expert that starts in one
/// chunk and ends in the next.
inline testing::TinyModel chunked_model() {
  testing::TinyModel model = small_model();
  model.hidden = 256;
  model.vocab = 2200;
  model.layers = 1;
  model.experts = 6;
  model.expert_width = 192;
  model.tied = true;
  return model;
}

inline bool same(const Distortion& a, const Distortion& b) {
  return a.sum_squares == b.sum_squares && a.squared_error == b.squared_error;
}

/// Compares every bit, and the fingerprint.
inline void expect_same(const ModelCurves& a, const ModelCurves& b) {
  EXPECT_EQ(a.fingerprint, b.fingerprint);
  ASSERT_EQ(a.units.size(), b.units.size());
  for (size_t u = 0; u < a.units.size(); ++u) {
    const UnitCurve& x = a.units[u];
    const UnitCurve& y = b.units[u];
    EXPECT_EQ(x.formats, y.formats);
    ASSERT_EQ(x.parts.size(), y.parts.size()) << "unit " << u;
    for (size_t p = 0; p < x.parts.size(); ++p) {
      EXPECT_TRUE(same(x.parts[p], y.parts[p])) << "unit " << u << " part " << p;
    }
    EXPECT_TRUE(same(x.pooled, y.pooled)) << "unit " << u;
  }
}

/// Runs an action in a child process; its exit status is the action's result, 99 if it threw.
inline pid_t start_child(const std::function<int()>& action) {
  const pid_t child = fork();
  if (child != 0) return child;
  int status = 99;
  try {
    status = action();
  } catch (...) {
  }
  _exit(status);
}

/// @return the child's exit status; -1 if it was killed.
inline int wait_for(pid_t child) {
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/// A model in a separate folder, and studies beside it.
class CurveTest : public ::testing::Test {
 protected:
  std::filesystem::path model_folder() const { return folder_ / "model"; }

  void write(const testing::TinyModel& model) { testing::write_tiny_model(model_folder(), model); }

  Checkpoint open() const { return Checkpoint::open(model_folder().string()); }

  ModelCurves run(Study& study, const AnalyzeOptions& options = {}) {
    return analyze(open(), study, options, {}, &stats_);
  }

  /// With a new study: nothing is known before.
  ModelCurves run_fresh(const AnalyzeOptions& options = {}) {
    Study study(folder_ / fmt::format("fresh{}.db", ++fresh_));
    return run(study, options);
  }

  testing::TempFolder folder_;
  AnalyzeStats stats_;  // of the last run
  int fresh_ = 0;
};

}  // namespace ram
