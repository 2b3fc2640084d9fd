// Why one unit has its format: its whole menu with the cost or saving of each step, and one
// sentence.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "ram/error.h"
#include "ram/size.h"
#include "ram/suggest.h"

#include "objective.h"

namespace ram {
namespace {

size_t index_of(const Checkpoint& checkpoint, std::string_view name) {
  const std::string exact = find_units(checkpoint, name).front();
  const auto found = std::find_if(checkpoint.units.begin(), checkpoint.units.end(),
                                  [&](const Unit& unit) { return unit.name == exact; });
  return static_cast<size_t>(found - checkpoint.units.begin());
}

// The most loss that a step up saves per MB, over all units of the plan that may take one: the
// price of a byte.
double best_price(const Objective& objective, const Plan& plan, bool lift_veto) {
  double best = 0;
  for (size_t u = 0; u < objective.units.size(); ++u) {
    const Candidate* chosen = find_candidate(objective.units[u], plan.units[u].format);
    if (chosen == nullptr) continue;
    for (const Candidate& other : objective.units[u].candidates) {
      if (!other.allowed || (other.below_veto && !lift_veto) || other.bytes <= chosen->bytes)
        continue;
      const double mb = static_cast<double>(other.bytes - chosen->bytes) / 1e6;
      best = std::max(best, (chosen->loss - other.loss) / mb);
    }
  }
  return best;
}

std::string sentence(const Unit& unit, const UnitCandidates& candidates, const Plan& plan,
                     const UnitExplanation& explanation, double price, int64_t left) {
  if (!unit.quantizable) {
    return fmt::format("A {} is never quantized in MLX.", role_name(unit.role));
  }
  if (candidates.no_group_divides) {
    return fmt::format("No group size (32, 64, 128) divides its rows of {} weights, so it is kept.",
                       unit.cols);
  }
  if (candidates.kept) {
    return fmt::format("Kept unquantized because --keep names {}.", role_name(unit.role));
  }
  if (candidates.pinned) return "Fixed by --pin.";
  if (plan.method == Method::kUniform) return "Every unit has the same format (--uniform).";
  const UnitExplanation::Choice* next = nullptr;  // the step up that saves the most per MB
  for (const UnitExplanation::Choice& choice : explanation.choices) {
    if (choice.vetoed || choice.chosen || choice.loss_per_mb <= 0) continue;
    const auto chosen = std::find_if(explanation.choices.begin(), explanation.choices.end(),
                                     [](const auto& c) { return c.chosen; });
    if (choice.bytes <= chosen->bytes) continue;
    if (next == nullptr || choice.loss_per_mb > next->loss_per_mb) next = &choice;
  }
  if (next == nullptr) return "No other allowed format loses less.";
  return fmt::format(
      "Its best step up, {}, would save {:.3g} of loss per MB; the best step anywhere in the plan "
      "saves {:.3g} "
      "per MB, and {} of the units' budget is left.",
      unit_format_name(next->format, plan.dtype), next->loss_per_mb, price, format_bytes(left));
}

}  // namespace

std::vector<std::string> find_units(const Checkpoint& checkpoint, std::string_view word) {
  const bool pattern = word.find('*') != std::string_view::npos;
  std::vector<std::string> found;
  std::vector<std::string> known;
  for (const Unit& unit : checkpoint.units) {
    if (unit.name == word) return {unit.name};
    const bool means = pattern ? matches(word, unit.name)
                               : !word.empty() && unit.name.find(word) != std::string::npos;
    if (means) found.push_back(unit.name);
    known.push_back(unit.name);
  }
  if (!found.empty()) return found;
  // Matches the whole name, or its last part.
  for (const Unit& unit : checkpoint.units) {
    known.push_back(unit.name.substr(unit.name.rfind('.') + 1));
  }
  fail(Code::kUsage,
       "{}: {} has no such unit{} (ram inspect --json lists them; * stands for any "
       "characters, and a part of a name is enough)",
       word, checkpoint.name, did_you_mean(word, known));
}

UnitExplanation explain_unit(const PlanInput& input, const Plan& plan, std::string_view name) {
  const size_t u = index_of(input.checkpoint, name);
  const Unit& unit = input.checkpoint.units[u];
  const Objective objective = make_objective(input, plan.request);
  const UnitCandidates& candidates = objective.units[u];
  const Candidate* chosen = find_candidate(candidates, plan.units[u].format);
  RAM_CHECK(chosen != nullptr);

  UnitExplanation explanation;
  explanation.name = unit.name;
  explanation.role = unit.role;
  explanation.prior = candidates.prior.value_or(0);
  explanation.kept = candidates.kept;
  for (const Candidate& candidate : candidates.candidates) {
    UnitExplanation::Choice choice = {
        .format = candidate.format,
        .bytes = candidate.bytes,
        .nrmse = candidate.nrmse,
        .sqnr_db = candidate.sqnr_db,
        .loss = candidate.loss,
        .vetoed = !candidate.allowed || (candidate.below_veto && !plan.request.allow_unsafe),
        .chosen = &candidate == chosen};
    const double mb = static_cast<double>(candidate.bytes - chosen->bytes) / 1e6;
    if (mb != 0) choice.loss_per_mb = (chosen->loss - candidate.loss) / mb;
    explanation.choices.push_back(choice);
  }
  std::stable_sort(explanation.choices.begin(), explanation.choices.end(),
                   [](const auto& a, const auto& b) { return a.bytes < b.bytes; });
  explanation.reason = sentence(unit, candidates, plan, explanation,
                                best_price(objective, plan, plan.request.allow_unsafe),
                                std::max<int64_t>(0, plan.unit_budget_bytes - plan.weight_bytes));
  return explanation;
}

}  // namespace ram
