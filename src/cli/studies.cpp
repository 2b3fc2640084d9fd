// ram studies: lists what the study keeps of each model, and removes it.
#include "ram/studies.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ram/error.h"
#include "ram/size.h"
#include "ram/study_place.h"
#include "ram/table.h"

#include "commands.h"
#include "model.h"

namespace ram::cli {
namespace {

struct StudiesArguments {
  std::string action;
  std::vector<std::string> models;
  bool unused = false;
};

std::string list_text(const Common& common, const std::vector<ModelUse>& uses) {
  std::string text =
      fmt::format("study {} ({}), {} model{}\n", common.study, format_bytes(study_bytes(common)),
                  uses.size(), uses.size() == 1 ? "" : "s");
  if (uses.empty()) return text;
  Table table({{"model", Align::kLeft}, {"size"}, {"kept"}, {"plans"}, {"folder", Align::kLeft}});
  const auto place = [](const std::string& folder) {
    return folder + (folder_exists(folder) ? "" : " (not there)");
  };
  for (const ModelUse& use : uses) {
    table.add({use.model.name, format_bytes(use.model.bytes), format_bytes(use.kept_bytes),
               std::to_string(use.plans), place(use.model.folder)});
    for (const EvaluatedModel& one : use.evaluated) {
      if (one.folder == use.model.folder) continue;
      table.add({"  " + one.name, format_bytes(one.bytes), "", "", place(one.folder)});
    }
  }
  return text + "\n" + table.render() +
         "\nFolders below a model were made from it and scored. \"kept\" is removed by: ram "
         "studies rm "
         "MODEL\n";
}

int remove_models(const Common& common, const StudiesArguments& options) {
  if (options.models.empty() != options.unused) {
    fail(Code::kUsage,
         "ram studies rm: give models by name, or --unused for those whose folder is "
         "gone");
  }
  if (common.study.empty()) fail(Code::kUsage, "{}", common.place.problem);
  std::optional<Study> study = open_existing_study(common);
  if (!study) fail(Code::kMissing, "study {}: does not exist, nothing to remove", common.study);
  const std::vector<ModelUse> uses = model_uses(*study);
  std::vector<std::string> fingerprints;
  std::vector<std::string> names;
  const auto add = [&](const ModelUse& use) {
    fingerprints.push_back(use.model.fingerprint);
    names.push_back(use.model.name);
  };
  for (const std::string& typed : options.models) add(find_model_use(uses, typed, common.study));
  for (const ModelUse& use : uses) {
    if (options.unused && !folder_exists(use.model.folder)) add(use);
  }
  const int64_t before = study_bytes(common);
  ram::remove_models(*study, fingerprints);
  const int64_t after = study_bytes(common);
  if (common.json) {
    const Json document = {
        {"study", common.study}, {"removed", names}, {"bytes_before", before}, {"bytes", after}};
    print_document(common, document);
    return kDone;
  }
  print_result(common,
               fmt::format("{}; the study is {} now, it was {}\n",
                           names.empty() ? std::string("every model's folder is there")
                                         : fmt::format("removed {}", fmt::join(names, ", ")),
                           format_bytes(after), format_bytes(before)));
  return kDone;
}

int studies(const Common& common, const StudiesArguments& options) {
  if (options.action == "rm") return remove_models(common, options);
  if (!options.action.empty()) {
    fail(Code::kUsage, "ram studies {}: use ram studies, or ram studies rm MODEL|--unused",
         options.action);
  }
  if (options.unused) fail(Code::kUsage, "--unused needs rm: ram studies rm --unused");
  if (common.study.empty()) fail(Code::kUsage, "{}", common.place.problem);
  std::optional<Study> study = open_existing_study(common);
  const std::vector<ModelUse> uses = study ? model_uses(*study) : std::vector<ModelUse>();
  if (common.json) {
    print_document(common, Json{{"study", common.study},
                                {"bytes", study_bytes(common)},
                                {"models", model_uses_json(uses)}});
  } else if (study) {
    print_result(common, list_text(common, uses));
  } else {
    print_result(common, fmt::format("no study yet: {} does not exist\n", common.study));
  }
  return kDone;
}

}  // namespace

Action setup_studies(Arguments app, const Common& common) {
  auto options = std::make_shared<StudiesArguments>();
  app.add_option("ACTION", options->action,
                 "rm: remove what is kept of models; without it: list them")
      .type_name("rm")
      .words({"rm"});
  app.add_option("MODELS", options->models, "names, folders or fingerprints, as listed")
      .type_name("MODEL")
      .expected(1, 1000);
  app.add_flag("--unused", options->unused, "rm: the models whose folder is gone");
  return [options, &common] { return studies(common, *options); };
}

}  // namespace ram::cli
