// Opens models, runs blocks of rows, and finds their earlier results in the study.
#include "runner.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <numeric>

#include <fmt/format.h>

#include "ram/cancellation.h"
#include "ram/error.h"
#include "ram/progress.h"
#include "ram/text.h"

#include "scores.h"

namespace ram {
namespace {

using Clock = std::chrono::steady_clock;

/// Version of the arithmetic that scores rows: after a change, results of older versions are not
/// found.
constexpr int kScoringRule = 1;

// Blocks grow while they take less than this many seconds: short enough to lose, long enough to
// amortise reading the weights.
constexpr double kLongBlock = 120;
constexpr int64_t kFirstBlockTokens = 16'384;
// More models than this side by side would leave each too little memory.
constexpr size_t kModelsAtOnce = 5;

struct Engines {
  std::vector<LanguageModel> models;
  std::vector<HiddenRows> hidden;
};

void run_block(Engines& engines, std::span<const TokenRow> rows,
               const std::function<void(const LogitPiece&, int)>& visit) {
  std::vector<LogitSource> sources;
  engines.hidden.clear();
  for (LanguageModel& model : engines.models) {
    engines.hidden.push_back(model.embed(rows));
    model.run_layers(engines.hidden.back(), 0, model.layers());
  }
  for (size_t m = 0; m < engines.models.size(); ++m) {
    sources.push_back({.model = &engines.models[m], .hidden = &engines.hidden[m]});
  }
  visit_logits(sources, visit);
}

/// What the study has of one model, by row.
struct Known {
  std::map<int64_t, RowScore> scores;
  std::map<int64_t, RowDivergence> divergences;
};

std::vector<Known> look_up(std::span<const Scored> models, Study& study) {
  std::vector<Known> known;
  for (size_t m = 0; m < models.size(); ++m) {
    Known entry{.scores = ScoreTable(study).scores(models[m].key), .divergences = {}};
    if (m > 0) entry.divergences = ScoreTable(study).divergences(models[0].key, models[m].key);
    known.push_back(std::move(entry));
  }
  return known;
}

bool has_row(const Known& known, size_t model, int64_t row) {
  return known.scores.contains(row) && (model == 0 || known.divergences.contains(row));
}

// Scores some of the drawn rows (positions in `text`) and stores them in one transaction.
void score_block(const TextRows& text, std::span<const size_t> positions,
                 std::span<const Scored> models, Study& study, const Runner& runner) {
  std::vector<TokenRow> rows;
  for (const size_t position : positions) rows.push_back(text.rows[position]);
  BlockScores scores(rows, static_cast<int>(models.size()));
  runner.run(rows, [&](const LogitPiece& piece, int) { scores.add(piece); });
  std::vector<EvaluatedRows> evaluated;
  std::vector<DivergentRows> divergent;
  for (size_t m = 0; m < models.size(); ++m) {
    EvaluatedRows block{.key = models[m].key, .scores = {}};
    DivergentRows apart{.reference = models[0].key, .model = models[m].key, .rows = {}};
    for (size_t i = 0; i < positions.size(); ++i) {
      const int64_t index = text.indices[positions[i]];
      block.scores.push_back(scores.score(static_cast<int>(m), static_cast<int64_t>(i)));
      block.scores.back().row = index;
      if (m == 0) continue;
      apart.rows.push_back(scores.divergence_of(static_cast<int>(m), static_cast<int64_t>(i)));
      apart.rows.back().row = index;
    }
    evaluated.push_back(std::move(block));
    if (m > 0) divergent.push_back(std::move(apart));
  }
  ScoreTable(study).put(evaluated, divergent);
}

/// Models that lack the same rows are scored together: the reference is then run only once for
/// them.
struct Group {
  std::vector<size_t> rows;  // positions in the text
  std::vector<Scored> models;
};

std::vector<Group> group_missing(const TextRows& text, std::span<const Scored> models,
                                 const std::vector<Known>& known) {
  std::map<std::vector<size_t>, std::vector<size_t>> lacking;
  for (size_t m = 0; m < models.size(); ++m) {
    std::vector<size_t> missing;
    for (size_t i = 0; i < text.indices.size(); ++i) {
      if (!has_row(known[m], m, text.indices[i])) missing.push_back(i);
    }
    if (!missing.empty()) lacking[std::move(missing)].push_back(m);
  }
  std::vector<Group> groups;
  for (const auto& [rows, members] : lacking) {
    std::vector<size_t> others = members;
    std::erase(others, size_t{0});
    // The reference alone lacks rows only if no model lacks the same.
    if (others.empty()) groups.push_back({rows, {models[0]}});
    for (size_t begin = 0; begin < others.size(); begin += kModelsAtOnce - 1) {
      Group group{rows, {models[0]}};
      const size_t end = std::min(others.size(), begin + kModelsAtOnce - 1);
      for (size_t i = begin; i < end; ++i) group.models.push_back(models[others[i]]);
      groups.push_back(std::move(group));
    }
  }
  return groups;
}

/// Another program may remove a model while its rows are computed: that is not a defect.
[[noreturn]] void fail_lost_row(const Study& study, int64_t row) {
  fail(Code::kMissing,
       "study {}: it lost row {} of this model while others were computed (ram studies rm?): run "
       "the same command again",
       study.path().string(), row);
}

int64_t tokens_of(const Group& group, int64_t length) {
  return std::ssize(group.rows) * length * std::ssize(group.models);
}

}  // namespace

OpenedModel open_model(const std::string& name, Study& study, const ProgressFn& progress) {
  Checkpoint checkpoint = Checkpoint::open(name, Quantized::kAccept);
  Tokenizer tokenizer = Tokenizer::open(checkpoint.folder);
  EvaluatedModel record = evaluated_model(checkpoint, study, progress);
  return {name, std::move(checkpoint), std::move(tokenizer), std::move(record)};
}

void keep_text_name(const Text& text, Study& study) {
  const std::string name = std::filesystem::path(text.path).filename().string();
  try {
    study.put_document({.kind = "text", .key = text.sha256, .text = printable(name)});
  } catch (const Error& error) {
    // A read-only study may have all rows: its numbers can be shown without the name.
    if (error.code() != Code::kWriteFailed) throw;
  }
}

EvaluationKey evaluation_key(const OpenedModel& model, Precision precision, const TextRows& text) {
  return {.model = model.record.digest,
          .precision = std::string(precision_name(precision)),
          .text = text.text_sha256,
          .protocol = fmt::format("{} rule {}", text.protocol(), kScoringRule)};
}

MakeRunner engine_runner(const TextRows& text, const EngineOptions& options) {
  return [&text, options](std::span<const Scored> models) {
    const auto engines = std::make_shared<Engines>();
    Runner runner;
    runner.rows_at_once = std::numeric_limits<int64_t>::max();
    for (const Scored& scored : models) {
      // Opened again: the engine takes the checkpoint, and one model may run in two precisions.
      engines->models.emplace_back(Checkpoint::open(scored.model->name, Quantized::kAccept),
                                   EngineOptions{.precision = scored.precision,
                                                 .threads = options.threads,
                                                 .memory_bytes = options.memory_bytes,
                                                 .side_by_side = std::ssize(models)});
      runner.rows_at_once =
          std::min(runner.rows_at_once, engines->models.back().rows_at_once(text.length));
    }
    const std::vector<Scored> all(models.begin(), models.end());
    runner.run = [engines, all](std::span<const TokenRow> rows,
                                const std::function<void(const LogitPiece&, int)>& visit) {
      run_block(*engines, rows, visit);
      // Stored rows identify models by their content at opening.
      for (const Scored& scored : all) scored.model->checkpoint.check_unchanged();
    };
    return runner;
  };
}

int64_t complete_rows(const TextRows& text, std::span<const Scored> models, Study& study,
                      const MakeRunner& make, const ProgressFn& progress) {
  const std::vector<Group> groups = group_missing(text, models, look_up(models, study));
  int64_t done = 0;
  int64_t total = 0;
  std::vector<bool> computed(text.rows.size(), false);
  for (const Group& group : groups) total += tokens_of(group, text.length);
  for (const Group& group : groups) {
    const Runner runner = make(group.models);
    int64_t block = std::max<int64_t>(1, kFirstBlockTokens / text.length);
    for (int64_t begin = 0; begin < std::ssize(group.rows);) {
      check_interrupted();
      if (progress) {
        progress({.phase = "evaluate", .done = done, .total = total, .counted = "tokens"});
      }
      const int64_t rest = std::ssize(group.rows) - begin;
      const int64_t size = std::min({block, runner.rows_at_once, rest});
      const auto start = Clock::now();
      score_block(text, std::span(group.rows).subspan(begin, size), group.models, study, runner);
      const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
      if (seconds < kLongBlock) block = std::min(2 * block, runner.rows_at_once);
      begin += size;
      done += size * text.length * std::ssize(group.models);
    }
    for (const size_t row : group.rows) computed[row] = true;
  }
  return std::ssize(text.rows) - std::count(computed.begin(), computed.end(), true);
}

Perplexity collect(const TextRows& text, const Scored& scored, Study& study) {
  const std::map<int64_t, RowScore> known = ScoreTable(study).scores(scored.key);
  Perplexity perplexity;
  perplexity.model = scored.model->record;
  perplexity.precision = scored.precision;
  perplexity.max_positions = scored.model->checkpoint.config.max_positions;
  for (const int64_t index : text.indices) {
    const auto found = known.find(index);
    if (found == known.end()) fail_lost_row(study, index);
    if (found->second.tokens != text.length - 1) {
      fail(Code::kCorrupt, "study {}: damaged (row {} has {} tokens); remove it to evaluate again",
           study.path().string(), index, found->second.tokens);
    }
    perplexity.rows.push_back(found->second);
  }
  std::vector<double> nll_sums;
  std::vector<int64_t> tokens;
  perplexity.summary = summarize_perplexity(perplexity.losses(nll_sums, tokens));
  constexpr size_t kExcerptWidth = 60;
  for (const int64_t position : perplexity.summary.worst) {
    const auto p = static_cast<size_t>(position);
    const RowScore& row = perplexity.rows[p];
    perplexity.worst.push_back(
        {.row = row.row,
         .perplexity = std::exp(row.nll_sum / static_cast<double>(row.tokens)),
         .excerpt = excerpt(scored.model->tokenizer, text.rows[p], kExcerptWidth)});
  }
  return perplexity;
}

Losses Perplexity::losses(std::vector<double>& nll_sums, std::vector<int64_t>& tokens) const {
  nll_sums.clear();
  tokens.clear();
  for (const RowScore& row : rows) {
    nll_sums.push_back(row.nll_sum);
    tokens.push_back(row.tokens);
  }
  return {nll_sums, tokens};
}

Divergence collect_divergence(const TextRows& text, const Scored& reference, const Scored& scored,
                              Study& study) {
  const std::map<int64_t, RowDivergence> known =
      ScoreTable(study).divergences(reference.key, scored.key);
  std::vector<double> kl;
  Divergence result;
  int64_t same = 0;
  double squares = 0;
  for (const int64_t index : text.indices) {
    const auto found = known.find(index);
    if (found == known.end()) fail_lost_row(study, index);
    const RowDivergence& row = found->second;
    if (std::ssize(row.kl) != text.length - 1) {
      fail(Code::kCorrupt, "study {}: damaged (row {} has {} tokens); remove it to evaluate again",
           study.path().string(), index, row.kl.size());
    }
    kl.insert(kl.end(), row.kl.begin(), row.kl.end());
    result.row_sums.push_back(std::accumulate(row.kl.begin(), row.kl.end(), 0.0));
    same += row.same_top1;
    result.mean_change += row.change_sum;
    squares += row.change_squares;
  }
  const auto tokens = static_cast<double>(kl.size());
  for (const double value : kl) result.mean += value;
  result.mean /= tokens;
  std::sort(kl.begin(), kl.end());
  result.median = percentile(kl, 50);
  result.p90 = percentile(kl, 90);
  result.p99 = percentile(kl, 99);
  result.p999 = percentile(kl, 99.9);
  result.max = kl.back();
  result.same_top1 = static_cast<double>(same) / tokens;
  result.mean_change /= tokens;
  result.rms_change = std::sqrt(squares / tokens);
  return result;
}

}  // namespace ram
