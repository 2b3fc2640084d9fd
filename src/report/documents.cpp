// plan.json, as stored in the study.
#include "documents.h"

#include "ram/json.h"
#include "ram/json_tree.h"
#include "ram/plan.h"
#include "ram/text.h"

namespace ram {
namespace {

using Json = nlohmann::json;

JsonTree tree_of(const StudyDocument& document, const std::string& study) {
  try {
    return JsonTree(parse_json(document.text, "JSON"));
  } catch (const Error& error) {
    fail_damaged(document, study, error.what());
  }
}

}  // namespace

void fail_damaged(const StudyDocument& document, const std::string& study,
                  const std::string& what) {
  fail(Code::kCorrupt, "study {}: damaged ({} of {}: {}); name another with --study", study,
       document.kind, printable(document.key), printable(what, 300));
}

ReportPlan read_plan_document(const StudyDocument& document, const std::string& study) {
  try {
    const JsonTree tree = tree_of(document, study);
    const Json& json = *tree;
    ReportPlan plan{.method = current_method_name(json.at("method").get<std::string>()),
                    .encoder = json.at("encoder").get<std::string>(),
                    .calibration = json.value("request", Json::object()).value("calibration", ""),
                    .fingerprint = json.at("model").at("fingerprint").get<std::string>(),
                    .budget_bytes = json.at("budget_bytes").get<int64_t>(),
                    .total_bytes = json.at("total_bytes").get<int64_t>(),
                    .min_safe_bytes = json.at("min_safe_bytes").get<int64_t>(),
                    .objective = json.at("objective").get<double>(),
                    .lower_bound = json.at("lower_bound").get<double>(),
                    .units = {}};
    for (const Json& unit : json.at("units")) {
      plan.units.push_back({.name = unit.at("name").get<std::string>(),
                            .format = unit.at("format").get<std::string>(),
                            .bytes = unit.at("bytes").get<int64_t>(),
                            .weights = unit.at("weights").get<int64_t>(),
                            .nrmse = unit.at("nrmse").get<double>()});
    }
    return plan;
  } catch (const Json::exception& error) {
    fail_damaged(document, study, error.what());
  }
}

}  // namespace ram
