// Errors compared with noise of their size.
#include <algorithm>

#include <fmt/format.h>

#include "html.h"
#include "plot.h"
#include "sections.h"

namespace ram {
namespace {

std::string noise_plot(const ReportData& data) {
  std::vector<double> values;
  for (const auto& [model, noise] : data.noises) {
    values.push_back(noise.stored.kl);
    for (const Harm& harm : noise.drawn) values.push_back(harm.kl);
  }
  std::erase_if(values, [](double value) { return value <= 0; });
  if (values.empty()) return "";
  std::vector<double> sizes;
  sizes.reserve(data.noises.size());
  for (const auto& [model, noise] : data.noises) {
    sizes.push_back(megabytes(static_cast<double>(data.models[model].record.bytes)));
  }
  Plot plot("Errors and noise", axis_around("size, MB", sizes),
            axis_around("KL from the original, nats per token", values, /*logarithmic=*/true));
  for (size_t i = 0; i < data.noises.size(); ++i) {
    const auto& [at, noise] = data.noises[i];
    const ReportModel& model = data.models[at];
    for (const Harm& harm : noise.drawn) {
      if (harm.kl <= 0) continue;
      plot.mark({.x = sizes[i],
                 .y = harm.kl,
                 .series = Series::kOther,
                 .tip = fmt::format("{}: noise\nKL {:.4g}, mean {:.5g}, median {:.5g}", model.label,
                                    harm.kl, harm.mean, harm.median),
                 .hollow = true,
                 .small = true});
    }
    if (noise.stored.kl <= 0) continue;
    plot.mark(
        {.x = sizes[i],
         .y = noise.stored.kl,
         .series = model.series,
         .label = model.label,
         .tip = fmt::format("{}: stored errors\nKL {:.4g}, mean {:.5g}, median {:.5g}", model.label,
                            noise.stored.kl, noise.stored.mean, noise.stored.median)});
  }
  return plot.render(
      "Filled: the stored errors. Hollow: draws of Gaussian noise of the same "
      "norm, unit by unit.");
}

std::string noise_table(const ReportData& data) {
  HtmlTable table("noise", {{"folder", false},
                            {"what", false},
                            {"KL"},
                            {"change of mean, nats"},
                            {"mean perplexity"},
                            {"median perplexity"}});
  const auto add = [&](const std::string& label, const std::string& what, const Harm& harm) {
    table.add({Cell::text(label), Cell::text(what), Cell::formatted("{:.3g}", harm.kl),
               Cell::formatted("{:+.5f}", harm.delta_nll), Cell::formatted("{:.4f}", harm.mean),
               Cell::formatted("{:.4f}", harm.median)});
  };
  for (const auto& [at, noise] : data.noises) {
    const std::string& label = data.models[at].label;
    add(label, "stored errors", noise.stored);
    for (size_t i = 0; i < noise.drawn.size(); ++i) {
      add(label, fmt::format("noise {}", i + 1), noise.drawn[i]);
    }
  }
  return table.render();
}

}  // namespace

std::string noise_section(const ReportData& data) {
  if (data.noises.empty()) return "";
  std::string html;
  for (const auto& [at, noise] : data.noises) {
    double sum = 0;
    for (const Harm& harm : noise.drawn) sum += harm.kl;
    const double mean = sum / static_cast<double>(noise.drawn.size());
    // If noise does no harm at all, there is no ratio.
    const std::string harm =
        mean > 0
            ? fmt::format("do {:.2f} times the harm of noise of their size (KL)",
                          noise.stored.kl / mean)
            : fmt::format("have a KL of {:.3g}, noise of their size has none", noise.stored.kl);
    html += paragraph(
        fmt::format("{}: its errors {}; {}.", data.models[at].label, harm, noise.verdict));
  }
  return section("noise", "Errors against noise", html + noise_plot(data) + noise_table(data));
}

}  // namespace ram
