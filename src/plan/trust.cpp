// Coefficients of one half of a text, tested on the other.
#include <cmath>

#include "ram/plan.h"

namespace ram {
namespace {

double loss_of(const Plan& plan, const std::map<std::string, double>& coefficients) {
  double loss = 0;
  for (const PlannedUnit& unit : plan.units) {
    const auto found = coefficients.find(unit.name);
    if (found != coefficients.end()) loss += found->second * unit.nrmse * unit.nrmse;
  }
  return loss;
}

}  // namespace

bool halves_agree(const PlanInput& input, const PlanRequest& prior, const Plan& usual,
                  const std::map<std::string, double>& even,
                  const std::map<std::string, double>& odd) {
  // Loss of the plan of `from`, measured by `to`, relative to that of the priors' plan.
  const auto crossed = [&](const std::map<std::string, double>& from,
                           const std::map<std::string, double>& to) {
    PlanRequest half = prior;
    half.method = Method::kMeasured;
    half.coefficients = from;
    const PlanResult result = make_plan(input, half);
    const double least = loss_of(usual, to);
    return result.plan && least > 0 ? loss_of(*result.plan, to) / least : 1;
  };
  return std::sqrt(crossed(even, odd) * crossed(odd, even)) < 1;
}

}  // namespace ram
