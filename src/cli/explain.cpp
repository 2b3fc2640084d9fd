// ram explain: why a unit has its format; without a unit, where the loss is and what the next
// megabyte would buy.
#include <algorithm>

#include <fmt/format.h>

#include "ram/curve_table.h"
#include "ram/error.h"
#include "ram/study_place.h"
#include "ram/table.h"
#include "ram/text.h"
#include "ram/what_if_json.h"

#include "commands.h"
#include "engine_options.h"
#include "model.h"

namespace ram::cli {
namespace {

constexpr size_t kUnitsShown = 15;

struct ExplainArguments {
  std::string plan;
  std::string unit;
  std::string model;
};

// The model that a plan was made for: from --model, else where the study last saw it.
std::string find_model(const Common& common, const ExplainArguments& options, const Plan& plan) {
  if (!options.model.empty()) return options.model;
  std::optional<Study> study = open_existing_study(common);
  std::string folder = study ? ModelTable(*study).folder_of(plan.fingerprint) : "";
  if (!folder.empty()) return folder;
  fail(Code::kMissing, "{}: the study {} does not know its model {}: give its place with --model",
       options.plan, common.study.empty() ? "(nowhere)" : common.study, plan.model_name);
}

std::string steps_text(const Plan& plan, const std::vector<FormatChange>& steps) {
  Table table({{"unit", Align::kLeft}, {"from"}, {"to"}, {"bytes"}});
  for (size_t i = 0; i < std::min(steps.size(), kUnitsShown); ++i) {
    table.add({plan.units[steps[i].unit].name, unit_format_name(steps[i].from, plan.dtype),
               unit_format_name(steps[i].to, plan.dtype), fmt::format("{:+}", steps[i].bytes)});
  }
  const std::string more =
      steps.size() > kUnitsShown ? fmt::format("and {} more\n", steps.size() - kUnitsShown) : "";
  return table.render() + more;
}

// For a plan edited by hand to larger formats: the excess over its budget, and the remedies.
std::string over_text(const PlanInput& input, const Plan& plan,
                      const std::optional<OtherPlan>& within, const std::string& file) {
  std::string text = fmt::format("\nIts folder takes {} bytes more than its budget.",
                                 plan.total_bytes - plan.budget_bytes);
  if (within) {
    text +=
        fmt::format(" The best plan within the budget, with loss {:.6g} instead of {:.6g}, has:\n",
                    within->loss, plan.objective) +
        steps_text(plan, within->changes);
  } else {
    text += " No safe plan fits the budget.\n";
  }
  return text + fmt::format(
                    "Put smaller formats into {}, or keep these:\n"
                    "  ram quantize MODEL --plan {} -o OUT --budget {}\n",
                    file, shell_word(file), least_budget(input.checkpoint, plan));
}

std::string unit_table(const Plan& plan, const std::vector<size_t>& units) {
  Table table({{"unit", Align::kLeft},
               {"format", Align::kLeft},
               {"bytes"},
               {"nrmse"},
               {"prior"},
               {"loss"},
               {"loss/MB"}});
  for (const size_t u : units) {
    const PlannedUnit& unit = plan.units[u];
    table.add({unit.name, unit_format_name(unit.format, plan.dtype), std::to_string(unit.bytes),
               fmt::format("{:.4f}", unit.nrmse), fmt::format("{:g}", unit.prior.value_or(0)),
               fmt::format("{:.4g}", unit_loss(plan, unit)),
               fmt::format("{:.4g}", loss_per_mb(plan, unit))});
  }
  return table.render();
}

int explain_plan(const Common& common, const PlanInput& input, const Plan& plan,
                 const std::string& file) {
  std::vector<size_t> units = by_loss_per_byte(plan);
  units.resize(std::min(units.size(), kUnitsShown));
  const std::optional<OtherPlan> next = next_megabyte(input, plan);
  const std::optional<OtherPlan> within = within_budget(input, plan);
  if (common.json) {
    print_document(common, explanation_json(input, plan, units, next, within));
    return kDone;
  }
  std::string text = plan_summary(plan, uniform_beside(input, plan));
  if (plan.total_bytes > plan.budget_bytes) text += over_text(input, plan, within, file);
  text += "\nmost loss per byte:\n" + unit_table(plan, units);
  if (next && !next->changes.empty()) {
    text += fmt::format("\none more megabyte would reduce the loss from {:.6g} to {:.6g}:\n",
                        plan.objective, next->loss) +
            steps_text(plan, next->changes);
  } else if (next) {
    text += "\none more megabyte would change nothing.\n";
  }
  print_result(common, text);
  return kDone;
}

int explain_one(const Common& common, const PlanInput& input, const Plan& plan,
                const std::string& name) {
  const UnitExplanation why = explain_unit(input, plan, name);
  if (common.json) {
    print_document(common, explanation_json(why, plan.dtype));
    return kDone;
  }
  Table table({{"format", Align::kLeft},
               {"bytes"},
               {"nrmse"},
               {"SQNR dB"},
               {"loss"},
               {"saved/MB"},
               {"", Align::kLeft}});
  for (const UnitExplanation::Choice& choice : why.choices) {
    table.add({unit_format_name(choice.format, plan.dtype), std::to_string(choice.bytes),
               fmt::format("{:.5f}", choice.nrmse), fmt::format("{:.2f}", choice.sqnr_db),
               fmt::format("{:.5g}", choice.loss),
               choice.chosen ? "" : fmt::format("{:.4g}", choice.loss_per_mb),
               choice.chosen   ? "<- chosen"
               : choice.vetoed ? "not allowed"
                               : ""});
  }
  const std::string prior = why.kept ? "kept" : fmt::format("prior {:g}", why.prior);
  print_result(common,
               fmt::format("{}: {}, {}\n{}\n\n", why.name, role_name(why.role), prior, why.reason) +
                   table.render());
  return kDone;
}

// Several units: one row for each, in the model's order.
int explain_some(const Common& common, const Plan& plan, const std::vector<std::string>& names) {
  std::vector<size_t> order;
  for (size_t u = 0; u < plan.units.size(); ++u) {
    if (std::find(names.begin(), names.end(), plan.units[u].name) != names.end()) {
      order.push_back(u);
    }
  }
  if (common.json) {
    print_document(common, Json{{"units", units_json(plan, order)}});
  } else {
    print_result(common,
                 unit_table(plan, order) + "\nThe whole name of one explains its format.\n");
  }
  return kDone;
}

// The study only saves the measuring: if it cannot be used, everything is measured for this run.
Curves curves_of(const Common& common, const Checkpoint& checkpoint, const Plan& plan) {
  std::string reason;
  try {
    Study study = open_study(common, "explain");
    return measure_for(common, checkpoint, study, plan.method, plan.dtype, false);
  } catch (const Error& error) {
    if (!common.place.typed.empty() || error.code() == Code::kInterrupted) throw;
    reason = error.what();
  }
  Study none{std::filesystem::path()};  // stored nowhere
  // If the model is the cause, this fails in the same way.
  Curves curves = measure_for(common, checkpoint, none, plan.method, plan.dtype, false);
  note(common, fmt::format("the study was not used: {}", reason));
  return curves;
}

int explain(const Common& common, const ExplainArguments& options) {
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
  auto options = std::make_shared<ExplainArguments>();
  app.add_option("PLAN", options->plan, "plan.json, or a folder with one").type_name("").required();
  app.add_option("UNIT", options->unit, "name of a unit, a part of one, or a pattern with *")
      .type_name("");
  app.add_option("--model", options->model, "where the model is, if the study does not know")
      .type_name("MODEL");
  return [options, &common] { return explain(common, *options); };
}

}  // namespace ram::cli
