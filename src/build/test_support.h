// A tiny model, its study and a plan with many formats, for the tests of this folder.
#pragma once

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ram/build.h"
#include "ram/curve.h"
#include "ram/error.h"
#include "ram/file.h"
#include "ram/hash.h"
#include "ram/plan.h"
#include "ram/progress.h"

#include "folder_job.h"
#include "support/error_of.h"
#include "support/temp_folder.h"
#include "support/tiny_model.h"

namespace ram::testing {

namespace fs = std::filesystem;

/// A model on disk with everything that is needed to build it.
struct Made {
  TinyModel model;
  TempFolder root;
  fs::path source = root / "source";
  std::unique_ptr<Checkpoint> checkpoint;
  std::unique_ptr<Study> study;
  ModelCurves curves;
  BuildOptions options = {.threads = 2};

  explicit Made(TinyModel wanted, DType dtype = DType::kBF16) : model(std::move(wanted)) {
    write_tiny_model(source, model);
    fs::create_directory(root / "study");
    checkpoint = std::make_unique<Checkpoint>(Checkpoint::open(source.string()));
    study = std::make_unique<Study>(root / "study" / "ram.db");
    curves = analyze(*checkpoint, *study, {.dtype = dtype, .threads = 2});
  }

  /// A plan that gives the units all sorts of formats, beginning with the `first`.
  Plan plan(size_t first = 0) const {
    Plan plan;
    plan.model_name = checkpoint->name;
    plan.fingerprint = curves.fingerprint;
    plan.dtype = curves.dtype;
    plan.request.dtype = curves.dtype;
    plan.request.budget_bytes = plan.budget_bytes = int64_t{1} << 40;
    size_t next = first;
    for (const Unit& unit : checkpoint->units) {
      plan.units.push_back(
          {.name = unit.name, .format = std::nullopt, .prior = std::nullopt, .gain = std::nullopt});
      const uint32_t formats = formats_for_cols(unit.cols);
      // Every seventh stays unquantized, although it could be quantized.
      if (!unit.quantizable || unit.role == Role::kRouter || formats == 0 || ++next % 7 == 0) {
        continue;
      }
      while ((formats >> (next % kFormatCount) & 1) == 0) ++next;
      plan.units.back().format = kAffineFormats[next % kFormatCount];
    }
    plan = complete_plan({.checkpoint = *checkpoint, .stored = curves, .simulated = nullptr}, plan);
    settle(plan);
    return plan;
  }

  /// Sets the total bytes with this test's shards; the number itself is part of the bytes.
  void settle(Plan& plan) const { settle(plan, *checkpoint); }
  void settle(Plan& plan, const Checkpoint& model_now) const {
    for (;;) {
      const int64_t total = layout_plan(model_now, plan, options.max_shard_bytes).total_bytes();
      if (total == plan.total_bytes) return;
      plan.total_bytes = total;
    }
  }

  BuildOutcome build(const Plan& plan, const fs::path& out, const ProgressFn& progress = {}) const {
    return build_folder(*checkpoint, plan, *study, out, options, progress);
  }
};

/// File name -> content, of a whole folder.
inline std::map<std::string, std::string> contents(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    files[entry.path().lexically_relative(folder).string()] =
        read_text_file(entry.path(), int64_t{1} << 30);
  }
  return files;
}

/// The names of a folder's entries.
inline std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace ram::testing
