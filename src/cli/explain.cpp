// ram explain: why a unit has its format; without a unit, where the loss is and what the next
// megabyte would buy.
#include <algorithm>

#include <fmt/format.h>

#include "ram/curve_table.h"
#include "ram/error.h"
#include "ram/size.h"
#include "ram/study_place.h"
#include "ram/table.h"
#include "ram/text.h"
#include "ram/what_if.h"

#include "commands.h"
#include "engine_options.h"
#include "model.h"

namespace ram::cli {
namespace {

constexpr int64_t kMegabyte = 1000000;
constexpr size_t kUnitsShown = 15;

struct Options {
  std::string plan;
  std::string unit;
  std::string model;
};

// The model that a plan was made for: as --model says, else where the study last saw it.
std::string find_model(const Common& common, const Options& options, const Plan& plan) {
  if (!options.model.empty()) return options.model;
  std::optional<Study> study = open_existing_study(common);
  if (study) {
    for (const ModelRecord& model : ModelTable(*study).all()) {
      if (model.fingerprint == plan.fingerprint) return model.folder;
    }
  }
  fail(Code::kMissing, "{}: the study {} does not know its model {}: say where it is with --model",
       options.plan, common.study.empty() ? "(nowhere)" : common.study, plan.model_name);
}

Json change_json(const Plan& plan, const OtherPlan& other) {
  Json steps = Json::array();
  for (const FormatChange& step : other.changes) {
    steps.push_back({{"name", plan.units[step.unit].name},
                     {"from", format_text(step.from, plan.dtype)},
                     {"to", format_text(step.to, plan.dtype)},
                     {"bytes", step.bytes}});
  }
  return {{"objective", other.loss}, {"steps", std::move(steps)}};
}

std::string steps_text(const Plan& plan, const std::vector<FormatChange>& steps) {
  Table table({{"unit", Align::kLeft}, {"from"}, {"to"}, {"bytes"}});
  for (size_t i = 0; i < std::min(steps.size(), kUnitsShown); ++i) {
    table.add({plan.units[steps[i].unit].name, format_text(steps[i].from, plan.dtype),
               format_text(steps[i].to, plan.dtype), fmt::format("{:+}", steps[i].bytes)});
  }
  const std::string more =
      steps.size() > kUnitsShown ? fmt::format("and {} more\n", steps.size() - kUnitsShown) : "";
  return table.render() + more;
}

// What a plan with larger formats put in by hand takes too much, and the ways out.
std::string over_text(const PlanInput& input, const Plan& plan,
                      const std::optional<OtherPlan>& within, const std::string& file) {
  std::string text = fmt::format("\nIts folder takes {} bytes more than its budget.",
                                 plan.total_bytes - plan.budget_bytes);
  if (within) {
    text += fmt::format(" The best plan within the budget, of loss {:.6g} for {:.6g}, has:\n",
                        within->loss, plan.objective) +
            steps_text(plan, within->changes);
  } else {
    text += " No safe plan keeps within it.\n";
  }
  return text + fmt::format(
                    "Put smaller formats into {}, or keep these:\n"
                    "  ram quantize MODEL --plan {} -o OUT --budget {}\n",
                    file, shell_word(file), least_budget(input.checkpoint, plan));
}

struct UnitRows {
  Json json = Json::array();
  std::string table;
};

UnitRows unit_rows(const Plan& plan, const std::vector<size_t>& order, size_t most) {
  UnitRows rows;
  Table table({{"unit", Align::kLeft},
               {"format", Align::kLeft},
               {"bytes"},
               {"nrmse"},
               {"prior"},
               {"loss"},
               {"loss/MB"}});
  for (const size_t u : order) {
    if (rows.json.size() >= most) break;
    const PlannedUnit& unit = plan.units[u];
    const double loss = unit_loss(plan, unit);
    const double per_mb = loss * static_cast<double>(kMegabyte) / static_cast<double>(unit.bytes);
    const std::string format = format_text(unit.format, plan.dtype);
    rows.json.push_back({{"name", unit.name},
                         {"format", format},
                         {"bytes", unit.bytes},
                         {"nrmse", unit.nrmse},
                         {"loss", loss},
                         {"loss_per_mb", per_mb}});
    table.add({unit.name, format, std::to_string(unit.bytes), fmt::format("{:.4f}", unit.nrmse),
               fmt::format("{:g}", unit.prior.value_or(0)), fmt::format("{:.4g}", loss),
               fmt::format("{:.4g}", per_mb)});
  }
  rows.table = table.render();
  return rows;
}

int explain_plan(const Common& common, const PlanInput& input, const Plan& plan,
                 const std::string& file) {
  const std::vector<size_t> order = by_loss_per_byte(plan);
  const std::optional<OtherPlan> next = next_megabyte(input, plan);
  const std::optional<OtherPlan> within = within_budget(input, plan);
  const int64_t over = plan.total_bytes - plan.budget_bytes;
  UnitRows rows = unit_rows(plan, order, kUnitsShown);
  if (common.json) {
    Json document = {
        {"objective", plan.objective}, {"units", std::move(rows.json)}, {"next_mb", nullptr}};
    if (next) document["next_mb"] = change_json(plan, *next);
    if (over > 0) {
      document["over_bytes"] = over;
      document["least_budget"] = least_budget(input.checkpoint, plan);
      document["within_budget"] = within ? change_json(plan, *within) : Json(nullptr);
    }
    print_document(common, document);
    return kDone;
  }
  std::string text = plan_summary(plan, uniform_beside(input, plan));
  if (over > 0) text += over_text(input, plan, within, file);
  text += "\nmost loss per byte:\n" + rows.table;
  if (next && !next->changes.empty()) {
    text += fmt::format("\none megabyte more would bring the loss from {:.6g} to {:.6g}:\n",
                        plan.objective, next->loss) +
            steps_text(plan, next->changes);
  } else if (next) {
    text += "\none megabyte more would change nothing.\n";
  }
  print_result(common, text);
  return kDone;
}

int explain_one(const Common& common, const PlanInput& input, const Plan& plan,
                const std::string& name) {
  const UnitExplanation why = explain_unit(input, plan, name);
  Json choices = Json::array();
  Table table({{"format", Align::kLeft},
               {"bytes"},
               {"nrmse"},
               {"SQNR dB"},
               {"loss"},
               {"saved/MB"},
               {"", Align::kLeft}});
  for (const UnitExplanation::Choice& choice : why.choices) {
    const std::string format = format_text(choice.format, plan.dtype);
    choices.push_back({{"format", format},
                       {"bytes", choice.bytes},
                       {"nrmse", choice.nrmse},
                       {"sqnr_db", choice.sqnr_db},
                       {"loss", choice.loss},
                       {"allowed", !choice.vetoed},
                       {"chosen", choice.chosen},
                       {"loss_saved_per_mb", choice.loss_per_mb}});
    table.add({format, std::to_string(choice.bytes), fmt::format("{:.5f}", choice.nrmse),
               fmt::format("{:.2f}", choice.sqnr_db), fmt::format("{:.5g}", choice.loss),
               choice.chosen ? "" : fmt::format("{:.4g}", choice.loss_per_mb),
               choice.chosen   ? "<- chosen"
               : choice.vetoed ? "not allowed"
                               : ""});
  }
  if (common.json) {
    const Json document = {{"name", why.name},
                           {"role", role_name(why.role)},
                           {"prior", why.kept ? Json(nullptr) : Json(why.prior)},
                           {"kept", why.kept},
                           {"reason", why.reason},
                           {"choices", std::move(choices)}};
    print_document(common, document);
    return kDone;
  }
  const std::string prior = why.kept ? "kept" : fmt::format("prior {:g}", why.prior);
  print_result(common,
               fmt::format("{}: {}, {}\n{}\n\n", why.name, role_name(why.role), prior, why.reason) +
                   table.render());
  return kDone;
}

// Several units: how each fares, in the model's order.
int explain_some(const Common& common, const Plan& plan, const std::vector<std::string>& names) {
  std::vector<size_t> order;
  for (size_t u = 0; u < plan.units.size(); ++u) {
    if (std::find(names.begin(), names.end(), plan.units[u].name) != names.end()) {
      order.push_back(u);
    }
  }
  const UnitRows rows = unit_rows(plan, order, order.size());
  if (common.json) {
    print_document(common, Json{{"units", rows.json}});
  } else {
    print_result(common, rows.table + "\nThe whole name of one explains its format.\n");
  }
  return kDone;
}

// The study spares the measuring, and nothing else is asked of it: where it cannot be used, all is
// measured for this once.
Curves curves_of(const Common& common, const Checkpoint& checkpoint, const Plan& plan) {
  std::string reason;
  try {
    Study study = open_study(common, "explain");
    return measure_for(common, checkpoint, study, plan.method, plan.dtype, false);
  } catch (const Error& error) {
    if (!common.place.typed.empty() || error.code() == Code::kInterrupted) throw;
    reason = error.what();
  }
  Study none{std::filesystem::path()};  // kept nowhere
  // Where the model is to blame, this fails alike.
  Curves curves = measure_for(common, checkpoint, none, plan.method, plan.dtype, false);
  note(common, fmt::format("the study was not used: {}", reason));
  return curves;
}

int explain(const Common& common, const Options& options) {
  threads(common);
  const Plan edited = read_plan(options.plan);
  const Checkpoint checkpoint = Checkpoint::open(find_model(common, options, edited));
  const Curves curves = curves_of(common, checkpoint, edited);
  const PlanInput input = curves.input(checkpoint);
  const std::string file = plan_file(options.plan).string();
  const Plan plan = complete_plan(input, edited, file, OverBudget::kReturn);
  if (options.unit.empty()) return explain_plan(common, input, plan, file);
  const std::vector<std::string> names = find_units(checkpoint, options.unit);
  return names.size() == 1 ? explain_one(common, input, plan, names.front())
                           : explain_some(common, plan, names);
}

}  // namespace

Action setup_explain(Arguments app, const Common& common) {
  auto options = std::make_shared<Options>();
  app.add_option("PLAN", options->plan, "plan.json, or a folder with one").type_name("").required();
  app.add_option("UNIT", options->unit, "name of a unit, a part of one, or a pattern with *")
      .type_name("");
  app.add_option("--model", options->model, "where the model is, if the study does not know")
      .type_name("MODEL");
  return [options, &common] { return explain(common, *options); };
}

}  // namespace ram::cli
