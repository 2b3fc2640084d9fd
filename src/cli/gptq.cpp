// ram gptq: what calibration gains, and what the plan gains. Uniform formats with error feedback,
// and one plan with plain rounding and with feedback: only the last pair has the same bytes and the
// same formats, so only it shows what feedback gains.
#include <fmt/format.h>

#include "ram/experiments.h"
#include "ram/results.h"
#include "ram/study_place.h"
#include "ram/tokenizer.h"

#include "calibration.h"
#include "commands.h"
#include "comparison.h"
#include "engine_options.h"

namespace ram::cli {
namespace {

struct GptqArguments {
  std::string model;
  std::string out = "./ram-gptq";
  std::string real_text;
  TextArguments text;
  CalibrationArguments calibration;
};

std::string feedback_text(const FeedbackRecord& found) {
  std::string text;
  for (const FeedbackRecord::Variant& one : found.variants) {
    if (!one.over_plain) continue;
    const auto& [ratio, interval] = *one.over_plain;
    text += fmt::format("  {:<6} on {} text  {:.2f} ({})\n", one.formats, one.text, ratio,
                        interval ? fmt::format("{:.2f} to {:.2f}", interval->low, interval->high)
                                 : "one row: no interval");
  }
  if (text.empty()) return text;
  return "\nDivergence with error feedback divided by that of plain rounding, same formats:\n" +
         text;
}

int gptq(const Common& common, const GptqArguments& options) {
  threads(common);
  FeedbackRequest request{.model = options.model,
                          .calibration = calibration_request(common, options.calibration),
                          .real = {},
                          .out = options.out,
                          .scoring = {}};
  if (!options.real_text.empty()) {
    CalibrationArguments real = options.calibration;
    real.text = options.real_text;
    request.real = calibration_request(common, real);
  }
  const RowOptions rows = row_options(common, options.text);
  refuse_same_text("--real", options.real_text, options.text.text);
  refuse_same_text("--calibration", options.calibration.text, options.text.text);
  const Checkpoint checkpoint = Checkpoint::open(options.model);
  (void)Tokenizer::open(checkpoint.folder);  // needed to score the text
  Study study = open_study(common, "gptq");
  request.scoring = scoring_request(common, options.text, rows);
  const FeedbackExperiment found = [&] {
    const Reporter reporter(common);
    return measure_feedback(checkpoint, study, request, reporter.events());
  }();
  const auto& [comparison, labels] = found.scored;
  if (common.json) {
    Json document = comparison_json(rows, comparison, labels);
    document.update(found.record.json());
    print_document(common, document);
    return kDone;
  }
  print_result(
      common,
      text_line(options.text, comparison.text) + "\n" + comparison_table(comparison, labels) +
          feedback_text(found.record) +
          "\n4-G is uniform 4 bits in groups of G; own and real are error feedback on that text.\n"
          "plan and plan-own have the same formats: they differ only by feedback. The others "
          "differ from\nthem in bytes, in formats, or in both.\n");
  return kDone;
}

}  // namespace

Action setup_gptq(Arguments app, const Common& common) {
  auto options = std::make_shared<GptqArguments>();
  app.add_option("MODEL", options->model, "folder or repository id").type_name("").required();
  app.add_option("-o,--output", options->out, "where the folders go (default ./ram-gptq)")
      .type_name("FOLDER")
      .takes(Takes::kOutputFolders);
  app.add_option("--real", options->real_text, "real text to calibrate on, in addition to own text")
      .type_name("FILE");
  add_text_options(app, options->text);
  add_calibration_options(app, options->calibration);
  return [options, &common] { return gptq(common, *options); };
}

}  // namespace ram::cli
