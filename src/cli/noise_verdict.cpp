// The t interval of a further draw, and what follows from it.
#include "noise_verdict.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "ram/statistics.h"

namespace ram::cli {

Spread spread_of(const std::vector<Harm>& drawn, double Harm::*value) {
  std::vector<double> values;
  values.reserve(drawn.size());
  for (const Harm& harm : drawn) values.push_back(harm.*value);
  const auto count = static_cast<double>(values.size());
  const PairedDifference found = paired_difference(values, std::vector<int64_t>(values.size(), 1));
  return {.mean = found.delta,
          .deviation = found.standard_error * std::sqrt(count),
          .reach = (found.t95.high - found.delta) * std::sqrt(count + 1)};
}

std::string verdict_of(const Harm& stored, const std::vector<Harm>& drawn) {
  const Spread spread = spread_of(drawn, &Harm::delta_nll);
  const bool usual = std::fabs(stored.delta_nll - spread.mean) <= spread.reach;
  const auto lucky = std::count_if(drawn.begin(), drawn.end(),
                                   [](const Harm& harm) { return harm.delta_nll < 0; });
  if (stored.delta_nll >= 0) {
    return usual ? "the mean is worse than the original's, as with noise of that size"
           : stored.delta_nll < spread.mean
               ? "the mean is worse than the original's, but less so than with noise of that size"
               : "the mean is worse than the original's, and more so than with noise of that size";
  }
  if (!usual)
    return "the mean is better than the original's, and noise of that size does not do it";
  return fmt::format(
      "the mean is better than the original's, as {} of {} draws of noise are: chance, nothing "
      "that compressing does",
      lucky, drawn.size());
}

}  // namespace ram::cli
