// ram report: the study on one page.
#include "ram/report.h"

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/outputs.h"
#include "ram/study_place.h"

#include "commands.h"
#include "engine_options.h"
#include "model.h"

namespace ram::cli {
namespace {

struct ReportArguments {
  std::string model;
  std::string text;
  std::string out;
};

int report_command(const Common& common, const ReportArguments& options) {
  std::optional<Study> study = open_existing_study(common);
  if (!study) {
    fail(Code::kMissing,
         "study {}: not there; create one with ram analyze, or name another with --study",
         common.study.empty() ? "(no place)" : common.study);
  }
  const std::string page = make_report(*study, {.model = options.model,
                                                .text = options.text,
                                                .study = common.place.typed,
                                                .seed = common.seed,
                                                .threads = threads(common)});
  write_output(common, options.out, page);
  if (common.json) {
    const Json document = {{"out", options.out}, {"bytes", page.size()}, {"study", common.study}};
    print_document(common, document);
  } else if (options.out != "-") {
    print_result(common, fmt::format("report written to {}\n", options.out));
  }
  return kDone;
}

}  // namespace

Action setup_report(Arguments app, const Common& common) {
  auto options = std::make_shared<ReportArguments>();
  app.add_option("--model", options->model,
                 "name of the original (default: the one that most folders were compared with)")
      .type_name("NAME");
  app.add_option("--text", options->text,
                 "name of the text (default: the one that most folders were compared on)")
      .type_name("NAME");
  app.add_option("-o,--out", options->out, "the page; - is stdout")
      .type_name("FILE")
      .writes(Content::kPage)
      .required();
  return [options, &common] { return report_command(common, *options); };
}

}  // namespace ram::cli
