// The findings of a calibration, as text and as JSON.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "calibration.h"

namespace ram::cli {

std::string calibration_summary(const CalibrationFindings& found, const Plan& plan) {
  std::string text =
      fmt::format("{:<18}{} ({} tokens)\n", "calibrated on", found.text.spec, found.text.tokens());
  if (found.coefficients) {
    double worst = 0;
    for (const auto& unit : found.coefficients->units) {
      if (unit) worst = std::max(worst, unit->log_error);
    }
    text += fmt::format("{:<18}each within {:.0f} % (one standard error){}\n", "coefficients",
                        100 * std::expm1(worst),
                        found.coefficients->cut_short ? "; --probe-time allowed no more rows" : "");
  }
  if (const auto& gains = plan.request.gains.units; !gains.empty()) {
    double sum = 0;
    for (const auto& [name, gain] : gains) sum += std::log(gain);
    text +=
        fmt::format("{:<18}{:.2g} times the output error of plain rounding (mean of the units)\n",
                    encoder_name(plan.encoder), std::exp(sum / static_cast<double>(gains.size())));
  }
  if (found.compressed) {
    text += fmt::format("{:<18}{:.3g} nats per token on the calibration text", "measured KL",
                        found.compressed->kl);
    const double predicted = found.predicted_kl;
    if (predicted > 0) {
      text += fmt::format("; {:.3g} predicted{}", predicted,
                          found.adds_up ? "" : ": units' errors do not add up here");
    }
    text += '\n';
    if (found.compressed->starved_parts > 0) {
      text += fmt::format("{:<18}{} of {} experts' matrices saw fewer than 64 tokens\n", "starved",
                          found.compressed->starved_parts, found.compressed->parts);
    }
  }
  return text;
}

}  // namespace ram::cli
