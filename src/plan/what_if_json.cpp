// Models, plans and explanations as JSON documents.
#include "ram/what_if_json.h"

#include <string>

#include "ram/text.h"

namespace ram {

using Json = nlohmann::ordered_json;

namespace {

Json change_json(const Plan& plan, const OtherPlan& other) {
  Json steps = Json::array();
  for (const FormatChange& step : other.changes) {
    steps.push_back({{"name", plan.units[step.unit].name},
                     {"from", unit_format_name(step.from, plan.dtype)},
                     {"to", unit_format_name(step.to, plan.dtype)},
                     {"bytes", step.bytes}});
  }
  return {{"objective", other.loss}, {"steps", std::move(steps)}};
}

}  // namespace

Json model_json(const Checkpoint& checkpoint, const std::set<Role>& keep) {
  const bool quantized = checkpoint.is_quantized();
  Json units = Json::array();
  for (const Unit& unit : checkpoint.units) {
    units.push_back({{"name", unit.name},
                     {"role", role_name(unit.role)},
                     {"weights", unit.weights()},
                     {"shape", unit.shape},
                     {"tensors", unit.parts.size()}});
    if (quantized) {
      units.back()["format"] = unit_format_name(unit.stored, unit.dtype);
    } else {
      units.back()["kept"] = is_kept(unit, keep);
    }
  }
  return {{"name", checkpoint.name},
          {"folder", printable(checkpoint.folder.string(), std::string::npos)},
          {"model_type", checkpoint.model_type},
          {"layers", checkpoint.layers},
          {"dtype", weight_dtype_name(checkpoint.default_dtype())},
          {"weights", checkpoint.weights()},
          {"bytes", checkpoint.bytes()},
          {"quantized", quantized},
          {"tokenizer", checkpoint.has_tokenizer()},
          {"notes", checkpoint.notes},
          {"units", std::move(units)}};
}

Json units_json(const Plan& plan, std::span<const size_t> units) {
  Json list = Json::array();
  for (const size_t u : units) {
    const PlannedUnit& unit = plan.units[u];
    list.push_back({{"name", unit.name},
                    {"format", unit_format_name(unit.format, plan.dtype)},
                    {"bytes", unit.bytes},
                    {"nrmse", unit.nrmse},
                    {"loss", unit_loss(plan, unit)},
                    {"loss_per_mb", loss_per_mb(plan, unit)}});
  }
  return list;
}

Json explanation_json(const PlanInput& input, const Plan& plan, std::span<const size_t> units,
                      const std::optional<OtherPlan>& next,
                      const std::optional<OtherPlan>& within) {
  Json document = {{"objective", plan.objective},
                   {"units", units_json(plan, units)},
                   {"next_mb", next ? change_json(plan, *next) : Json(nullptr)}};
  if (const int64_t over = plan.total_bytes - plan.budget_bytes; over > 0) {
    document["over_bytes"] = over;
    document["least_budget"] = least_budget(input.checkpoint, plan);
    document["within_budget"] = within ? change_json(plan, *within) : Json(nullptr);
  }
  return document;
}

Json explanation_json(const UnitExplanation& why, DType dtype) {
  Json choices = Json::array();
  for (const UnitExplanation::Choice& choice : why.choices) {
    choices.push_back({{"format", unit_format_name(choice.format, dtype)},
                       {"bytes", choice.bytes},
                       {"nrmse", choice.nrmse},
                       {"sqnr_db", choice.sqnr_db},
                       {"loss", choice.loss},
                       {"allowed", !choice.vetoed},
                       {"chosen", choice.chosen},
                       {"loss_saved_per_mb", choice.loss_per_mb}});
  }
  return {{"name", why.name},
          {"role", role_name(why.role)},
          {"prior", why.kept ? Json(nullptr) : Json(why.prior)},
          {"kept", why.kept},
          {"reason", why.reason},
          {"choices", std::move(choices)}};
}

}  // namespace ram
