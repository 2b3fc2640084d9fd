// A handmade study for the tests of the report.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ram/answer_table.h"
#include "ram/error.h"
#include "ram/report.h"
#include "ram/score_table.h"

#include "support/temp_folder.h"

namespace ram {

inline EvaluationKey key_of(const std::string& model, const std::string& precision = "f32",
                            const std::string& text = "text",
                            const std::string& protocol = "length 4 rule 1") {
  return {.model = model, .precision = precision, .text = text, .protocol = protocol};
}

inline std::string plan_text(const std::string& method, int64_t bytes) {
  return R"({"ram_plan": 1, "model": {"name": "m", "fingerprint": "print"}, "method": ")" + method +
         R"(", "encoder": "mlx", "budget_bytes": 900, "total_bytes": )" + std::to_string(bytes) +
         R"(, "min_safe_bytes": 300, "objective": 0.5, "lower_bound": 0.4, "units": [)"
         R"({"name": "model.layers.0.mlp.up_proj", "format": "4:64", "bytes": 20, "weights": 32,)"
         R"( "nrmse": 0.1}, {"name": "lm_head", "format": "bf16", "bytes": 64, "weights": 32,)"
         R"( "nrmse": 0}]})";
}

/// An original, and folders with given losses and divergences per row.
class ReportTest : public ::testing::Test {
 protected:
  void name_model(const std::string& digest, const std::string& name, int64_t bytes) {
    EvaluatedModelTable(*study_).put({.digest = digest,
                                      .name = name,
                                      .model_type = "llama",
                                      .folder = "/secret/place/" + name,
                                      .bytes = bytes,
                                      .bits_per_weight = static_cast<double>(bytes) / 100});
  }
  void add_model(const std::string& digest, const std::string& name, int64_t bytes,
                 const std::vector<double>& nll) {
    name_model(digest, name, bytes);
    EvaluatedRows rows{.key = key_of(digest), .scores = {}};
    for (size_t i = 0; i < nll.size(); ++i) {
      rows.scores.push_back({.row = static_cast<int64_t>(10 * i), .tokens = 3, .nll_sum = nll[i]});
    }
    ScoreTable(*study_).put({&rows, 1}, {});
  }
  void add_divergence(const std::string& digest, float kl, const std::string& precision = "f32") {
    DivergentRows apart{
        .reference = key_of("original"), .model = key_of(digest, precision), .rows = {}};
    for (int64_t row = 0; row < 4; ++row) {
      apart.rows.push_back({.row = 10 * row, .same_top1 = 2, .kl = {kl, kl, kl + 1e-3F}});
    }
    ScoreTable(*study_).put({}, {&apart, 1});
  }
  /// A folder compared with the original on rows of one text, each row with this loss and
  /// divergence.
  void compare(const std::string& reference, const std::string& digest,
               const std::vector<int64_t>& rows, double nll, float kl,
               const std::string& text = "text", const std::string& protocol = "length 4 rule 1") {
    const EvaluationKey from = key_of(reference, "f32", text, protocol);
    const EvaluationKey to = key_of(digest, "f32", text, protocol);
    EvaluatedRows scores{.key = to, .scores = {}};
    EvaluatedRows originals{.key = from, .scores = {}};
    DivergentRows apart{.reference = from, .model = to, .rows = {}};
    for (const int64_t row : rows) {
      const double wave = 0.01 * static_cast<double>(row % 7);
      scores.scores.push_back({.row = row, .tokens = 3, .nll_sum = nll + wave});
      originals.scores.push_back({.row = row, .tokens = 3, .nll_sum = 3 + wave / 2});
      apart.rows.push_back({.row = row, .same_top1 = 2, .kl = {kl, kl, kl * 1.1F}});
    }
    ScoreTable(*study_).put(std::vector{scores, originals}, {&apart, 1});
  }
  /// Answers to questions from `first` on, right where `right` says so.
  void answer(const std::string& model, const std::string& task, int64_t first, int64_t count,
              const std::function<bool(int64_t)>& right,
              const std::string& protocol = "no examples, at most 512 tokens, rule 1",
              int64_t choices = 4) {
    std::vector<TaskAnswer> answers;
    for (int64_t i = first; i < first + count; ++i) {
      answers.push_back({.question = i,
                         .group = "",
                         .answer = 0,
                         .choice = right(i) ? 0 : 1,
                         .log_likelihoods = std::vector<double>(static_cast<size_t>(choices), -1)});
    }
    AnswerTable(*study_).put(
        {.key =
             {.model = model, .precision = "f32", .task = task, .data = "d", .protocol = protocol},
         .metric = "acc",
         .questions = 5000},
        answers);
  }
  void fill() {
    add_model("original", "base", 1600, {3, 4, 5, 6});
    add_model("small", "small", 400, {3.1, 4.1, 5.3, 6.1});
    add_model("large", "large", 500, {3.2, 4.2, 5.4, 6.2});
    add_divergence("small", 0.1F);
    add_divergence("large", 0.2F);
    add_divergence("original", 0.0F, "bf16");
    study_->put_document({.kind = "plan", .key = "small", .text = plan_text("squared", 400)});
    study_->put_document({.kind = "plan", .key = "large", .text = plan_text("uniform", 500)});
  }
  Error error_of(const ReportOptions& options = {}) {
    try {
      make_report(*study_, options);
    } catch (const Error& error) {
      return error;
    }
    return {Code{}, "no error"};
  }

  testing::TempFolder folder_;
  std::optional<Study> study_{folder_ / "ram.db"};
};

}  // namespace ram
