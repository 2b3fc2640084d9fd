// ram perplexity: loss of a model on a text, over all rows or a random sample.
#include <fmt/format.h>

#include "ram/eval_json.h"
#include "ram/study_place.h"

#include "calibration.h"
#include "commands.h"
#include "engine_options.h"
#include "evaluation.h"
#include "model.h"

namespace ram::cli {
namespace {

struct PerplexityArguments {
  std::string model;
  std::string precision;
  TextArguments text;
};

std::string perplexity_text(const TextArguments& arguments, const PerplexityResult& result) {
  const Perplexity& found = result.perplexity;
  const PerplexitySummary& summary = found.summary;
  std::string text = text_line(arguments, result.text);
  text += fmt::format("{} in {}, {:.2f} bits per weight\n\n", found.model.name,
                      precision_name(found.precision), found.model.bits_per_weight);
  const auto line = [&text](std::string_view name, const std::string& value) {
    text += fmt::format("{:<24}{}\n", name, value);
  };
  line("mean perplexity", four_digits(summary.mean));
  line("median of the rows", four_digits(summary.median));
  if (summary.trimmed) {
    line("trimmed mean",
         fmt::format("{} ({} row{} dropped at each end)", four_digits(*summary.trimmed),
                     summary.trimmed_rows, summary.trimmed_rows == 1 ? "" : "s"));
  }
  line("rows above 100", std::to_string(summary.outliers.size()));
  if (summary.mean_without_worst) {
    line(fmt::format("without the worst {}", summary.worst.size()),
         fmt::format("mean {}, median {}", four_digits(*summary.mean_without_worst),
                     four_digits(summary.median_without_worst.value())));
  }
  return text + "\nworst rows\n" + worst_table(found.worst, "perplexity");
}

int perplexity_command(const Common& common, const PerplexityArguments& options) {
  const RowOptions rows = row_options(common, options.text);
  const EngineOptions engine = engine_options(common, options.precision);
  Study study = open_study(
      common, fmt::format("perplexity --precision {} --seed {} --rows {}",
                          precision_name(engine.precision), common.seed, options.text.rows));
  refuse_overlap({&options.model, 1}, options.text.text, study, notes_only(common));
  PerplexityResult result;
  {
    ProgressLine line(common);
    result =
        evaluate_perplexity(options.model, options.text.text, rows, engine, study, line.function());
  }
  note_text(common, result.text, result.perplexity);
  if (common.json) {
    print_document(common, perplexity_json(rows, result));
  } else {
    print_result(common, perplexity_text(options.text, result));
  }
  return kDone;
}

}  // namespace

Action setup_perplexity(Arguments app, const Common& common) {
  auto options = std::make_shared<PerplexityArguments>();
  app.add_option("MODEL", options->model, "a model folder or id, quantized or not")
      .type_name("")
      .required();
  add_text_options(app, options->text);
  add_precision_option(app, options->precision);
  return [options, &common] { return perplexity_command(common, *options); };
}

}  // namespace ram::cli
