// Compares models with their reference on the same rows.
#include <fmt/format.h>

#include "ram/error.h"
#include "ram/progress.h"

#include "inversions.h"
#include "pairs.h"
#include "runner.h"

namespace ram {
namespace {

// Rows can be compared one by one only if every model sees the same tokens.
void check_same_rows(const Text& text, const RowOptions& options, const TextRows& rows,
                     const OpenedModel& reference, const OpenedModel& model) {
  const int64_t wanted = reference.checkpoint.config.vocab;
  if (model.checkpoint.config.vocab != wanted) {
    fail(Code::kUnsupported,
         "{} has a vocabulary of {} and the reference {} one of {}: their predictions cannot be "
         "compared",
         model.name, model.checkpoint.config.vocab, reference.name, wanted);
  }
  const TextRows other = cut_rows(text, model.tokenizer, options);
  if (other.rows != rows.rows) {
    fail(Code::kUnsupported,
         "{} and the reference {} tokenize the text differently: their losses cannot be compared "
         "row by row; their tokenizer.json files differ",
         model.name, reference.name);
  }
}

}  // namespace

Comparison compare_models(std::span<const std::string> names, const std::filesystem::path& text,
                          const RowOptions& rows, uint64_t seed, const EngineOptions& options,
                          Study& study, const ProgressFn& progress) {
  RAM_CHECK(names.size() >= 2);
  const Text read = read_text(text);
  std::vector<OpenedModel> opened;
  for (const std::string& name : names) opened.push_back(open_model(name, study, progress));
  const OpenedModel& reference = opened.front();
  Comparison comparison;
  comparison.text = cut_rows(read, reference.tokenizer, rows);
  check_token_ids(comparison.text.rows, reference.checkpoint);
  for (const OpenedModel& model : std::span(opened).subspan(1)) {
    check_same_rows(read, rows, comparison.text, reference, model);
  }

  keep_text_name(read, study);
  std::vector<Scored> scored;
  const auto add = [&](const OpenedModel& model, Precision precision) {
    scored.push_back({.model = &model,
                      .precision = precision,
                      .key = evaluation_key(model, precision, comparison.text)});
  };
  for (const OpenedModel& model : opened) add(model, Precision::kF32);
  add(reference, Precision::kBF16);  // the noise floor
  complete_rows(comparison.text, scored, study, engine_runner(comparison.text, options), progress);

  comparison.reference = collect(comparison.text, scored.front(), study);
  for (size_t m = 1; m < opened.size(); ++m) {
    ComparedModel model;
    model.perplexity = collect(comparison.text, scored[m], study);
    model.divergence = collect_divergence(comparison.text, scored.front(), scored[m], study);
    comparison.models.push_back(std::move(model));
  }
  comparison.noise_floor =
      collect_divergence(comparison.text, scored.front(), scored.back(), study);
  test_pairs(comparison, seed, options.threads);
  comparison.inversions = find_inversions(comparison, reference.tokenizer);
  return comparison;
}

}  // namespace ram
