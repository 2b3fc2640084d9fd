// What a calibration found, for people and for programs.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "calibration.h"

namespace ram::cli {

std::string Calibration::summary(const Plan& plan) const {
  std::string text =
      fmt::format("{:<18}{} ({} tokens)\n", "calibrated on", text_.spec, text_.tokens());
  if (coefficients_) {
    double worst = 0;
    for (const auto& unit : coefficients_->units) {
      if (unit) worst = std::max(worst, unit->log_error);
    }
    text += fmt::format("{:<18}each within {:.0f} % (one standard error){}\n", "coefficients",
                        100 * std::expm1(worst),
                        coefficients_->cut_short ? "; --probe-time left no more rows" : "");
  }
  if (const auto& gains = plan.request.gains.units; !gains.empty()) {
    double sum = 0;
    for (const auto& [name, gain] : gains) sum += std::log(gain);
    text +=
        fmt::format("{:<18}{:.2g} times the output error of plain rounding (mean of the units)\n",
                    encoder_name(plan.encoder), std::exp(sum / static_cast<double>(gains.size())));
  }
  if (compressed_) {
    text += fmt::format("{:<18}{:.3g} nats per token on the calibration text", "measured KL",
                        compressed_->kl);
    const double predicted = predicted_kl(plan);
    if (predicted > 0) {
      text += fmt::format("; {:.3g} predicted{}", predicted,
                          adds_up(plan) ? "" : ": units' errors do not add up here");
    }
    text += '\n';
    if (compressed_->starved_parts > 0) {
      text += fmt::format("{:<18}{} of {} experts' matrices saw fewer than 64 tokens\n", "starved",
                          compressed_->starved_parts, compressed_->parts);
    }
  }
  return text;
}

Json Calibration::json(const Plan& plan) const {
  Json document = {{"text", text_.spec}, {"digest", text_.digest}, {"tokens", text_.tokens()}};
  if (coefficients_) {
    Json units = Json::array();
    for (size_t u = 0; u < coefficients_->units.size(); ++u) {
      const auto& unit = coefficients_->units[u];
      if (!unit) continue;
      units.push_back({{"name", checkpoint_.units[u].name},
                       {"coefficient", unit->value},
                       {"log_error", unit->log_error},
                       {"seeds", unit->seeds},
                       {"rows", unit->rows},
                       {"from", "noise"}});
    }
    document["coefficients"] = std::move(units);
    document["trusted"] = trusted_;
    document["passes"] = coefficients_->layers_run /
                         static_cast<double>(checkpoint_.layers * std::ssize(text_.rows));
    document["probe_seconds"] = coefficients_->seconds;
    document["share_of_naive"] = coefficients_->layers_naive > 0
                                     ? coefficients_->layers_run / coefficients_->layers_naive
                                     : 0;
  }
  if (compressed_) {
    document["kl"] = compressed_->kl;
    if (plan.method == Method::kMeasured) document["predicted_kl"] = predicted_kl(plan);
    document["starved_parts"] = compressed_->starved_parts;
  }
  return document;
}

}  // namespace ram::cli
