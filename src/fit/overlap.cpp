// Whether a text has anything in common with what a model was calibrated on.
#include <optional>
#include <unordered_set>
#include <vector>

#include <fmt/format.h>

#include "ram/calibration_table.h"
#include "ram/error.h"
#include "ram/eval.h"
#include "ram/fit.h"
#include "ram/tokenizer.h"

#include "events.h"

namespace ram {

namespace fs = std::filesystem;

namespace {

// Rolling hashes of all runs of kSharedTokens ids.
constexpr int64_t kSharedTokens = 64;

template <typename Visit>
void visit_runs(std::span<const int32_t> ids, const Visit& visit) {
  constexpr uint64_t kBase = 0x9e3779b97f4a7c15U;
  uint64_t leaving = 1;  // kBase ^ (kSharedTokens - 1): the factor of a run's first id
  for (int64_t i = 1; i < kSharedTokens; ++i) leaving *= kBase;
  uint64_t hash = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i >= kSharedTokens) {
      hash -= leaving * (static_cast<uint64_t>(ids[i - kSharedTokens]) + 1);
    }
    hash = hash * kBase + static_cast<uint64_t>(ids[i]) + 1;
    if (i + 1 >= kSharedTokens) visit(hash, i + 1 - kSharedTokens);
  }
}

/// Hashes of all runs of ids of a calibration text, and of the ids after decoding and encoding it
/// again: the ids that a model drew need not be those of its text.
std::unordered_set<uint64_t> runs_of(const CalibrationRecord& text, const Tokenizer& tokenizer) {
  std::unordered_set<uint64_t> runs;
  const auto add = [&runs](uint64_t hash, size_t) { runs.insert(hash); };
  const auto length = static_cast<size_t>(text.row_length);
  for (size_t row = 0; row < text.ids.size(); row += length) {
    const auto ids = std::span(text.ids).subspan(row, length);
    visit_runs(ids, add);
    std::vector<TokenId> known;
    for (const TokenId id : ids) {
      if (id >= 0 && id < tokenizer.id_end()) known.push_back(id);
    }
    visit_runs(tokenizer.encode(tokenizer.decode(known, /*skip_special=*/true), Specials::kNone),
               add);
  }
  return runs;
}

// A model can be scored with any plan.json, but only one from ram says what the model was
// calibrated on.
std::optional<Plan> plan_in(const FitEvents& events, const fs::path& folder) {
  try {
    return read_plan(folder / "plan.json");
  } catch (const Error& error) {
    note(events, fmt::format("the calibration text of this model is unknown: {}", error.what()));
    return std::nullopt;
  }
}

}  // namespace

void refuse_same_text(const std::string& option, const std::string& calibration,
                      const fs::path& text) {
  if (calibration.empty() || calibration == "own" || calibration == "random") return;
  if (read_text(calibration).sha256 != read_text(text).sha256) return;
  fail(Code::kUsage, "{}: this text is what {} {} calibrates on: score it on another",
       text.string(), option, calibration);
}

void refuse_overlap(std::span<const std::string> models, const fs::path& text, Study& study,
                    const FitEvents& events) {
  std::optional<Text> read;
  for (const std::string& model : models) {
    const fs::path folder = find_model(model);
    std::error_code ignored;
    if (!fs::is_regular_file(folder / "plan.json", ignored)) continue;
    const std::optional<Plan> found = plan_in(events, folder);
    if (!found) continue;
    const Plan& plan = *found;
    const std::string& calibration = plan.request.calibration;
    if (calibration.empty()) continue;
    if (!read) read = read_text(text);
    if (calibration.find(read->sha256) != std::string::npos) {
      fail(
          Code::kUsage,
          "{}: this text is what {} was calibrated on (its plan.json says so): score it on another",
          text.string(), model);
    }
    const std::string spec = calibration_spec(*parse_calibration(calibration));
    const auto known = CalibrationTextTable(study).find(plan.fingerprint, spec);
    if (!known) continue;
    const Tokenizer tokenizer = Tokenizer::open(folder);
    const std::unordered_set<uint64_t> runs = runs_of(*known, tokenizer);
    visit_runs(tokenizer.encode(read->content, Specials::kNone), [&](uint64_t hash, size_t at) {
      if (!runs.contains(hash)) return;
      fail(
          Code::kUsage,
          "{}: {} tokens from token {} on are in the text that {} was calibrated on ({}): score it "
          "on another",
          text.string(), kSharedTokens, at, model, spec);
    });
  }
}

}  // namespace ram
