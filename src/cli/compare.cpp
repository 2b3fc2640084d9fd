// ram compare: models against their reference on the same rows, with verdicts.
#include <string_view>

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/number.h"
#include "ram/study_place.h"

#include "calibration.h"
#include "commands.h"
#include "comparison.h"
#include "engine_options.h"
#include "evaluation.h"
#include "model.h"

namespace ram::cli {
namespace {

struct CompareArguments {
  std::vector<std::string> models;  // the reference first
  TextArguments text;
  std::string margin;
};

/// "0.5" or "0.5%", in percent. @return the share.
double parse_margin(const std::string& text) {
  if (text.empty()) return kDefaultMargin;
  std::string_view digits = text;
  if (digits.ends_with('%')) digits.remove_suffix(1);
  const double percent = parse_number(digits).value_or(0);
  if (!(percent > 0) || percent > 100) {
    fail(Code::kUsage,
         "--margin {}: use a change of perplexity in percent, above 0 and up to 100, such as 0.5%",
         text);
  }
  return percent / 100;
}

int compare_command(const Common& common, const CompareArguments& options) {
  const double margin = parse_margin(options.margin);
  const RowOptions rows = row_options(common, options.text);
  const EngineOptions engine = engine_options(common, "f32");
  Study study = open_study(
      common, fmt::format("compare --seed {} --rows {}", common.seed, options.text.rows));
  refuse_overlap(options.models, options.text.text, study, notes_only(common));
  Comparison comparison;
  {
    ProgressLine line(common);
    comparison = compare_models(options.models, options.text.text, rows, common.seed, engine, study,
                                line.function());
  }
  judge(comparison, margin);
  note_text(common, comparison.text, comparison.reference);
  std::vector<std::string> names = {comparison.reference.model.name};
  for (const ComparedModel& model : comparison.models) {
    names.push_back(model.perplexity.model.name);
  }
  const std::vector<std::string> labels = labels_of(std::move(names), options.models);
  if (common.json) {
    print_document(common, comparison_json(rows, comparison, labels));
  } else {
    print_result(common, comparison_text(options.text, comparison, labels));
  }
  return kDone;
}

}  // namespace

Action setup_compare(Arguments app, const Common& common) {
  auto options = std::make_shared<CompareArguments>();
  app.add_option("MODELS", options->models, "the reference, then the models to compare with it")
      .type_name("REFERENCE MODEL...")
      .expected(2, 1000)
      .required();
  add_text_options(app, options->text);
  app.add_option("--margin", options->margin,
                 "change of perplexity that counts as a tie, in percent (default 0.5%)")
      .type_name("PERCENT");
  return [options, &common] { return compare_command(common, *options); };
}

}  // namespace ram::cli
