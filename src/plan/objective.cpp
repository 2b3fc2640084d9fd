// From curves and a request to candidates: which units are kept, which formats menu and veto leave,
// and the loss of each option.
#include "objective.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "ram/error.h"

namespace ram {
namespace {

// @source reference-method.md, "Candidates": the current 13-option menu, reduced to the balanced
// bits {2,3,4,6,8}.
const std::vector<AffineFormat>& published_menu() {
  static const std::vector<AffineFormat> kMenu = {{2, 32}, {2, 64}, {3, 32},  {3, 64},
                                                  {4, 32}, {4, 64}, {4, 128}, {6, 32},
                                                  {6, 64}, {8, 64}, {8, 128}};
  return kMenu;
}

std::vector<AffineFormat> effective_menu(const PlanRequest& request) {
  std::vector<AffineFormat> menu = request.menu;
  if (menu.empty() && request.method == Method::kPublished) menu = published_menu();
  if (menu.empty()) menu.assign(kAffineFormats.begin(), kAffineFormats.end());
  // @source reference-method.md: min_bits is 4 by default in the newest paper.
  const int min_bits = request.min_bits > 0                   ? request.min_bits
                       : request.method == Method::kPublished ? 4
                                                              : 2;
  std::erase_if(menu, [&](AffineFormat format) { return format.bits < min_bits; });
  if (menu.empty()) {
    fail(Code::kUsage,
         "--min-bits {}: leaves no format of the menu; lower it or add formats with --menu",
         min_bits);
  }
  std::sort(menu.begin(), menu.end(),
            [](AffineFormat a, AffineFormat b) { return format_index(a) < format_index(b); });
  menu.erase(std::unique(menu.begin(), menu.end()), menu.end());
  return menu;
}

}  // namespace

// Linear in practice: one backtrack point is enough for '*' patterns.
bool matches(std::string_view pattern, std::string_view text) {
  size_t p = 0;
  size_t t = 0;
  size_t star = std::string_view::npos;
  size_t resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

namespace {

// For each unit the last pin that matches it, or null. A pin that matches nothing is an error.
std::vector<const Pin*> pins_of_units(const Checkpoint& checkpoint, const PlanRequest& request) {
  std::vector<const Pin*> pins(checkpoint.units.size(), nullptr);
  for (const Pin& pin : request.pins) {
    bool matched = false;
    for (size_t u = 0; u < checkpoint.units.size(); ++u) {
      const Unit& unit = checkpoint.units[u];
      if (!matches(pin.pattern, unit.name)) continue;
      // A pattern for a whole layer means its quantizable units, not its norms.
      const bool by_pattern = pin.pattern.find('*') != std::string::npos;
      if (by_pattern && !unit.quantizable) continue;
      matched = true;
      pins[u] = &pin;
    }
    if (!matched) {
      fail(Code::kUsage,
           "--pin '{}': matches no unit of {} that can be quantized; `ram inspect --json` "
           "lists their names, and * stands for any characters",
           pin.pattern, checkpoint.name);
    }
  }
  return pins;
}

// The published solver's order: bits ascending, group size descending.
std::vector<int> published_order() {
  std::vector<int> order(kFormatCount);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [](int a, int b) {
    const AffineFormat& x = kAffineFormats[static_cast<size_t>(a)];
    const AffineFormat& y = kAffineFormats[static_cast<size_t>(b)];
    return x.bits != y.bits ? x.bits < y.bits : x.group_size > y.group_size;
  });
  return order;
}

double method_loss(Method method, double prior, double nrmse) {
  return method == Method::kPublished ? prior * nrmse : prior * nrmse * nrmse;
}

double coefficient_of(const Unit& unit, const PlanRequest& request) {
  const auto found = request.coefficients.find(unit.name);
  return found == request.coefficients.end() ? 0 : found->second;
}

void pin_unit(UnitCandidates& candidates, const Unit& unit, const Pin& pin) {
  candidates.pinned = true;
  bool found = false;
  for (Candidate& candidate : candidates.candidates) {
    candidate.allowed = candidate.format == pin.format;
    candidate.below_veto = false;  // a pin overrides the veto
    found = found || candidate.allowed;
  }
  if (!found) {
    fail(Code::kUsage,
         "--pin '{}={}': {} has rows of {} weights and {}; choose another format or bf16",
         pin.pattern, format_name(*pin.format), unit.name, unit.cols,
         unit.quantizable ? "that group size does not divide them" : "cannot be quantized in MLX");
  }
}

}  // namespace

double unit_prior(const Checkpoint& checkpoint, const Unit& unit, const Priors& priors) {
  if (unit.role == Role::kEmbedding && checkpoint.tied_embeddings) return *priors.tied_embedding;
  const auto role = priors.roles.find(unit.role);
  if (role != priors.roles.end()) return role->second;
  if (unit.layer == 0) return *priors.first_layer;
  if (unit.layer >= 0 && unit.layer == checkpoint.layers - 1) return *priors.last_layer;
  return 1;
}

const Candidate* find_candidate(const UnitCandidates& unit, UnitFormat format) {
  for (const Candidate& candidate : unit.candidates) {
    if (candidate.format == format) return &candidate;
  }
  return nullptr;
}

double EncoderGains::of(const std::string& unit, int format) const {
  const auto found = units.find(unit);
  const double own = found == units.end() ? 1 : found->second;
  return own * (formats.empty() ? 1 : formats.at(static_cast<size_t>(format)));
}

double unit_loss(const Plan& plan, const PlannedUnit& unit) {
  const double loss = method_loss(plan.method, unit.prior.value_or(0), unit.nrmse);
  if (plan.method != Method::kMeasured || !unit.format) return loss;
  return loss * plan.request.gains.of(unit.name, format_index(*unit.format));
}

Objective make_objective(const PlanInput& input, const PlanRequest& request) {
  const Checkpoint& checkpoint = input.checkpoint;
  const Encoder encoder = planning_encoder(request.method);
  const ModelCurves& curves = encoder == Encoder::kMlx ? input.stored : *input.simulated;
  RAM_CHECK(curves.units.size() == checkpoint.units.size() &&
            input.stored.units.size() == checkpoint.units.size());
  const std::vector<const Pin*> pins = pins_of_units(checkpoint, request);
  const std::vector<int> order = published_order();
  const Priors priors = priors_of(request);

  Objective objective;
  objective.menu = effective_menu(request);
  objective.units.resize(checkpoint.units.size());
  for (size_t u = 0; u < checkpoint.units.size(); ++u) {
    const Unit& unit = checkpoint.units[u];
    const UnitCurve& curve = curves.units[u];
    UnitCandidates& result = objective.units[u];
    result.no_group_divides = unit.quantizable && curve.formats == 0;
    const bool kept_role = request.method != Method::kUniform && request.keep.contains(unit.role);
    result.kept = !unit.quantizable || result.no_group_divides || (kept_role && pins[u] == nullptr);
    const double prior = request.method == Method::kMeasured ? coefficient_of(unit, request)
                                                             : unit_prior(checkpoint, unit, priors);
    if (!result.kept) result.prior = prior;

    for (const int index : order) {
      if (!unit.quantizable || (curve.formats >> index & 1U) == 0) continue;
      const AffineFormat format = kAffineFormats[static_cast<size_t>(index)];
      Candidate candidate = {.format = format,
                             .bytes = unit_bytes(checkpoint, unit, format, request.dtype)};
      candidate.nrmse = input.stored.units[u].nrmse(index, Encoder::kMlx);
      candidate.sqnr_db = curve.sqnr_db(index);
      candidate.loss = method_loss(request.method, prior, curve.nrmse(index, encoder));
      if (request.method == Method::kMeasured) candidate.loss *= request.gains.of(unit.name, index);
      // A scale beyond the dtype's range decodes to infinity: this unit cannot have such a format.
      if (!std::isfinite(candidate.loss) || !std::isfinite(candidate.nrmse)) continue;
      const bool on_menu =
          std::find(objective.menu.begin(), objective.menu.end(), format) != objective.menu.end();
      candidate.below_veto = candidate.sqnr_db < request.veto_db;
      candidate.allowed = !result.kept && on_menu;
      result.candidates.push_back(candidate);
    }
    result.candidates.push_back({.format = std::nullopt,
                                 .bytes = unit_bytes(checkpoint, unit, std::nullopt, request.dtype),
                                 .sqnr_db = 100,  // published value for unquantized units
                                 .allowed = true});
    if (pins[u] != nullptr) pin_unit(result, unit, *pins[u]);
  }
  return objective;
}

PlanKnapsack make_knapsack(const Objective& objective, bool lift_veto) {
  PlanKnapsack result;
  result.knapsack.units.resize(objective.units.size());
  result.positions.resize(objective.units.size());
  for (size_t u = 0; u < objective.units.size(); ++u) {
    const std::vector<Candidate>& candidates = objective.units[u].candidates;
    for (size_t c = 0; c < candidates.size(); ++c) {
      if (!candidates[c].allowed || (candidates[c].below_veto && !lift_veto)) continue;
      result.knapsack.units[u].push_back(
          {.bytes = candidates[c].bytes, .loss = candidates[c].loss});
      result.positions[u].push_back(static_cast<int>(c));
    }
  }
  return result;
}

}  // namespace ram
