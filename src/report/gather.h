// The content of a report, read from the study and computed once.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ram/answers.h"
#include "ram/report.h"
#include "ram/results.h"
#include "ram/score_table.h"
#include "ram/statistics.h"
#include "ram/study.h"

#include "plot.h"

namespace ram {

/// One unit of a plan.
struct PlannedPiece {
  std::string name;
  std::string format;  ///< "4:64", "bf16"
  int64_t bytes = 0;
  int64_t weights = 0;
  double nrmse = 0;
};

/// The part of plan.json that is shown.
struct ReportPlan {
  std::string method;
  std::string encoder;
  std::string calibration;  ///< the text it was calibrated on; empty: none
  std::string fingerprint;  ///< of the source
  int64_t budget_bytes = 0;
  int64_t total_bytes = 0;
  int64_t min_safe_bytes = 0;
  double objective = 0;
  double lower_bound = 0;
  std::vector<PlannedPiece> units;
};

/// A folder that was run.
struct ReportModel {
  EvaluatedModel record;
  std::string label;  ///< the name; with a digit if two models share it
  Series series = Series::kOther;
  std::optional<ReportPlan> plan;
  /// Rows of the report's text, by index. If there is an original, a folder has the rows that both
  /// were scored on, and the original has the rows of all folders. Empty: not scored on the text.
  std::vector<RowScore> rows;
  bool partial = false;  ///< fewer rows than the original, so its means cover other rows
  PerplexitySummary summary;
  /// Difference from the original on these rows.
  std::optional<PairedDifference> difference;
  std::optional<PairedDifference> kl;  ///< delta is the mean
  double kl_median = 0;
  double same_top1 = 0;
  bool dominated = false;  ///< another folder is no larger and has a smaller KL
};

/// One task, asked by one protocol.
struct ReportTask {
  TaskRecord record;  ///< of the first model
  int64_t asked = 0;  ///< the most questions that any of them answered
  std::vector<size_t> models;
  std::vector<AnswerSummary> summaries;  ///< in the order of models, each over its own questions
  std::vector<AnswerPair> pairs;  ///< by positions in models; on the questions that both answered
  /// Verdict on the models that answered the most questions; nothing if these are not the same
  /// questions.
  std::optional<LadderVerdict> verdict;
  std::vector<size_t> judged;  ///< positions in models, of the verdict's steps
};

/// Something in the study that the page does not show.
struct LeftOut {
  std::string name;
  std::string why;  ///< "scored on other.txt"
};

struct ReportData {
  std::vector<ReportModel> models;  ///< the original first, then by size
  bool has_original = false;  ///< the first model is the one that the others were compared with
  std::string text;           ///< SHA-256 of the text; empty: none was scored
  std::string text_name;      ///< name of its file, or the beginning of the digest
  std::string protocol;
  std::vector<int64_t> rows;  ///< of the original, or of any model if there is none; ascending
  int64_t tokens = 0;         ///< in these rows
  std::vector<LeftOut> left_out;
  std::optional<double> noise_floor;
  std::vector<SweepRecord> sweeps;
  std::vector<CurvesRecord::Unit> curves;
  std::vector<std::pair<size_t, NoiseRecord>> noises;  ///< with the position of its model
  std::optional<FeedbackRecord> feedback;
  std::vector<MeasuredSweepRecord> measured_sweeps;
  std::vector<ReportTask> tasks;
  std::vector<RunRecord> runs;
  std::string study;
  uint64_t seed = 42;
};

/// @return the score of the row with that index, or nullptr.
const RowScore* find_row(const ReportModel& model, int64_t row);

/// @return the difference of two models' losses on the first's rows. @pre The other has these rows
///         too.
PairedDifference difference_of(const ReportModel& model, const ReportModel& other);

/// The rows that a model was scored on, by index.
std::vector<int64_t> indices_of(const ReportModel& model);

/// The rule at the end of a protocol, "... rule 2"; 0 if there is none.
int64_t rule_of(const std::string& protocol);

/// @throws as make_report
ReportData gather(Study& study, const ReportOptions& options);

}  // namespace ram
