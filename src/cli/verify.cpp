// ram verify: checks that a finished folder is whole and matches its plan.
#include <filesystem>

#include <fmt/format.h>

#include "ram/build.h"
#include "ram/size.h"
#include "ram/study_place.h"

#include "commands.h"
#include "engine_options.h"
#include "model.h"

namespace ram::cli {
namespace {

struct VerifyArguments {
  std::string folder;
  std::string source;
};

int verify_command(const Common& common, const VerifyArguments& options) {
  const int workers = threads(common);
  std::optional<Checkpoint> source;
  if (!options.source.empty()) source.emplace(Checkpoint::open(options.source));
  std::optional<Study> study = open_study_if_usable(common);
  VerifyReport report;
  {
    ProgressLine line(common);
    report = verify_folder(options.folder, source ? &*source : nullptr, study ? &*study : nullptr,
                           workers, line.function());
  }
  const bool ok = report.problems.empty();
  if (common.json) {
    Json document = {{"ok", ok},
                     {"problems", report.problems},
                     {"total_bytes", report.total_bytes},
                     {"units", report.units},
                     {"contents_known", report.contents_known}};
    if (source) document["largest_error_ratio"] = report.largest_error_ratio;
    print_document(common, document);
  } else if (ok) {
    std::string text =
        fmt::format("{} is whole: {} units, {} bytes ({}), as its plan says\n", options.folder,
                    report.units, report.total_bytes, format_bytes(report.total_bytes));
    if (source) {
      text += fmt::format("every unit decodes to the planned error (within {:.2g})\n",
                          report.largest_error_ratio);
    }
    print_result(common, text);
  } else {
    std::string text = fmt::format("{} has {} problem{}:\n", options.folder, report.problems.size(),
                                   report.problems.size() == 1 ? "" : "s");
    for (const std::string& problem : report.problems) text += "  " + problem + "\n";
    print_result(common, text);
  }
  if (ok && !source && !report.contents_known) {
    const std::string nobody = study ? fmt::format("neither plan.json nor {} has", common.study)
                                     : "plan.json does not have";
    note(common, nobody +
                     " the files' digests: sizes, headers and numbers were checked, not every "
                     "byte; --source MODEL compares every unit");
  }
  return ok ? kDone : kCheckFailed;
}

}  // namespace

Action setup_verify(Arguments app, const Common& common) {
  auto options = std::make_shared<VerifyArguments>();
  app.add_option("OUT", options->folder, "a folder that ram made").type_name("").required();
  app.add_option("--source", options->source, "decode every unit and compare it with this model")
      .type_name("MODEL");
  return [options, &common] { return verify_command(common, *options); };
}

}  // namespace ram::cli
