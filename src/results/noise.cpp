// Stored errors compared with noise of their size: the t interval of a further draw, and the
// verdict.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "ram/json_text.h"
#include "ram/results.h"

#include "read.h"

namespace ram {
namespace {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

constexpr struct {
  const char* key;
  double Harm::*value;
} kMeasures[] = {{"kl", &Harm::kl},
                 {"delta_nll", &Harm::delta_nll},
                 {"mean_perplexity", &Harm::mean},
                 {"median_perplexity", &Harm::median}};

}  // namespace

HarmSpread spread_of(const std::vector<Harm>& drawn, double Harm::*value) {
  std::vector<double> values;
  values.reserve(drawn.size());
  for (const Harm& harm : drawn) values.push_back(harm.*value);
  const auto count = static_cast<double>(values.size());
  const PairedDifference found = paired_difference(values, std::vector<int64_t>(values.size(), 1));
  return {.mean = found.delta,
          .deviation = found.standard_error * std::sqrt(count),
          .reach = (found.t95.high - found.delta) * std::sqrt(count + 1)};
}

std::string noise_verdict(const Harm& stored, const std::vector<Harm>& drawn) {
  const HarmSpread spread = spread_of(drawn, &Harm::delta_nll);
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
    return "the mean is better than the original's, which noise of that size does not cause";
  return fmt::format(
      "the mean is better than the original's, as are {} of {} draws of noise: chance, not an "
      "effect of compression",
      lucky, drawn.size());
}

OrderedJson NoiseRecord::json() const {
  OrderedJson quantized;
  OrderedJson noise;
  for (const auto& [key, value] : kMeasures) {
    const HarmSpread spread = spread_of(drawn, value);
    quantized[key] = stored.*value;
    noise[key] = OrderedJson::array();
    for (const Harm& harm : drawn) noise[key].push_back(harm.*value);
    noise[fmt::format("{}_mean", key)] = spread.mean;
    noise[fmt::format("{}_sd", key)] = spread.deviation;
  }
  return {{"model", model},         {"folder", folder}, {"seeds", drawn.size()}, {"rows", rows},
          {"quantized", quantized}, {"noise", noise},   {"verdict", verdict}};
}

StudyDocument NoiseRecord::document() const {
  return {.kind = kKind, .key = digest, .text = json_text(json())};
}

NoiseRecord NoiseRecord::read(const StudyDocument& document) {
  return take_json(document.text, [&](const Json& json) {
    const auto harm_of = [](const auto& number) {
      Harm harm;
      for (const auto& [key, value] : kMeasures) harm.*value = number(key);
      return harm;
    };
    const Json& quantized = json.at("quantized");
    const Json& draws = json.at("noise");
    NoiseRecord noise{
        .digest = document.key,
        .model = json.value("model", ""),
        .folder = json.value("folder", ""),
        .rows = json.value("rows", int64_t{0}),
        .stored = harm_of([&](const char* key) { return quantized.at(key).get<double>(); }),
        .drawn = {},
        .verdict = json.at("verdict").get<std::string>()};
    for (size_t seed = 0; seed < draws.at("kl").size(); ++seed) {
      noise.drawn.push_back(
          harm_of([&](const char* key) { return draws.at(key).at(seed).get<double>(); }));
    }
    if (noise.drawn.empty()) fail(Code::kCorrupt, "no draw");
    return noise;
  });
}

}  // namespace ram
