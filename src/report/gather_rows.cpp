// Rows of a text: those that a folder shares with its original, and their statistics. Each folder
// has its own rows: one that was scored on few rows does not limit the others.
#include <algorithm>
#include <set>

#include "ram/score_table.h"

#include "subject.h"

namespace ram {
namespace {

using Scores = std::map<int64_t, RowScore>;

PairedDifference mean_kl(const std::vector<const RowDivergence*>& rows) {
  std::vector<double> sums;
  std::vector<int64_t> tokens;
  for (const RowDivergence* row : rows) {
    double sum = 0;
    for (const float kl : row->kl) sum += static_cast<double>(kl);
    sums.push_back(sum);
    tokens.push_back(std::max<int64_t>(1, std::ssize(row->kl)));
  }
  return paired_difference(sums, tokens);
}

template <typename Rows>
std::vector<const RowDivergence*> take(const std::map<int64_t, RowDivergence>& all,
                                       const Rows& rows) {
  std::vector<const RowDivergence*> taken;
  for (const int64_t row : rows) {
    const auto found = all.find(row);
    if (found != all.end()) taken.push_back(&found->second);
  }
  return taken;
}

void add_divergence(ReportModel& model, const std::map<int64_t, RowDivergence>& all) {
  const std::vector<const RowDivergence*> taken = take(all, indices_of(model));
  if (taken.size() != model.rows.size()) return;
  std::vector<double> kl;
  int64_t same = 0;
  for (const RowDivergence* row : taken) {
    kl.insert(kl.end(), row->kl.begin(), row->kl.end());
    same += row->same_top1;
  }
  if (kl.empty()) return;
  std::sort(kl.begin(), kl.end());
  model.kl = mean_kl(taken);
  model.kl_median = percentile(kl, 50);
  model.same_top1 = static_cast<double>(same) / static_cast<double>(kl.size());
}

void summarize(ReportModel& model) {
  std::vector<double> sums;
  std::vector<int64_t> tokens;
  for (const RowScore& row : model.rows) {
    sums.push_back(row.nll_sum);
    tokens.push_back(row.tokens);
  }
  if (!sums.empty()) model.summary = summarize_perplexity({sums, tokens});
}

// A folder is dominated if another on the same rows is no larger and closer to the original.
void find_dominated(std::vector<ReportModel>& models) {
  for (ReportModel& model : models) {
    if (!model.kl || model.partial) continue;
    model.dominated = std::any_of(models.begin(), models.end(), [&](const ReportModel& other) {
      return other.kl && !other.partial && other.record.bytes <= model.record.bytes &&
             other.kl->delta <= model.kl->delta &&
             (other.record.bytes < model.record.bytes || other.kl->delta < model.kl->delta);
    });
  }
}

}  // namespace

const RowScore* find_row(const ReportModel& model, int64_t row) {
  const auto found =
      std::lower_bound(model.rows.begin(), model.rows.end(), row,
                       [](const RowScore& score, int64_t wanted) { return score.row < wanted; });
  return found != model.rows.end() && found->row == row ? &*found : nullptr;
}

PairedDifference difference_of(const ReportModel& model, const ReportModel& other) {
  std::vector<double> differences;
  std::vector<int64_t> tokens;
  for (const RowScore& row : model.rows) {
    differences.push_back(row.nll_sum - find_row(other, row.row)->nll_sum);
    tokens.push_back(row.tokens);
  }
  return paired_difference(differences, tokens);
}

std::vector<int64_t> indices_of(const ReportModel& model) {
  std::vector<int64_t> rows;
  rows.reserve(model.rows.size());
  for (const RowScore& score : model.rows) rows.push_back(score.row);
  return rows;
}

void gather_rows(Study& study, const Subject& subject, ReportData& data) {
  if (!subject.key) return;
  data.text = subject.key->text;
  data.protocol = subject.key->protocol;
  const auto key_of = [&](const std::string& digest) {
    EvaluationKey key = *subject.key;
    key.model = digest;
    return key;
  };
  std::vector<Scores> scores;
  scores.reserve(data.models.size());
  for (const ReportModel& model : data.models) {
    scores.push_back(ScoreTable(study).scores(key_of(model.record.digest)));
  }
  const bool original = data.has_original && !scores.front().empty();
  std::set<int64_t> used;
  for (size_t m = original ? 1 : 0; m < data.models.size(); ++m) {
    for (const auto& [row, score] : scores[m]) {
      if (original && !scores.front().contains(row)) continue;
      data.models[m].rows.push_back(score);
      used.insert(row);
    }
  }
  if (original) {
    for (const auto& [row, score] : scores.front()) {
      if (used.empty() || used.contains(row)) data.models.front().rows.push_back(score);
    }
    data.rows = indices_of(data.models.front());
  } else {
    data.rows.assign(used.begin(), used.end());
  }
  for (size_t m = 0; m < data.models.size(); ++m) {
    ReportModel& model = data.models[m];
    if (model.rows.empty()) continue;
    summarize(model);
    model.partial = model.rows.size() < data.rows.size();
    if (m == 0 || !original) continue;
    model.difference = difference_of(model, data.models.front());
    add_divergence(model, ScoreTable(study).divergences(*subject.key, key_of(model.record.digest)));
  }
  for (const int64_t row : data.rows) {
    for (const Scores& own : scores) {
      const auto found = own.find(row);
      if (found == own.end()) continue;
      data.tokens += found->second.tokens;
      break;
    }
  }
  EvaluationKey rounded = *subject.key;
  rounded.precision = "bf16";
  const auto floor_rows = ScoreTable(study).divergences(*subject.key, rounded);
  const auto taken = take(floor_rows, data.rows);
  if (!taken.empty()) data.noise_floor = mean_kl(taken).delta;
  find_dominated(data.models);
}

}  // namespace ram
