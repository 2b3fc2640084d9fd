// Sweeps, predicted and measured.
#include <fmt/format.h>

#include "ram/json_text.h"
#include "ram/results.h"

#include "read.h"

namespace ram {
namespace {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

}  // namespace

OrderedJson SweepRecord::json() const {
  OrderedJson list = OrderedJson::array();
  for (const Point& point : points) {
    list.push_back({{"total_bytes", point.total_bytes},
                    {"bits_per_weight", point.bits_per_weight},
                    {"loss", point.loss},
                    {"lower_bound", point.lower_bound},
                    {"loss_saved_per_mb", point.loss_saved_per_mb},
                    {"limit", point.limit ? OrderedJson(*point.limit) : OrderedJson(nullptr)}});
  }
  return {{"model", model},
          {"method", method},
          {"points", std::move(list)},
          {"knee", knee},
          {"knee_total_bytes", knee_bytes}};
}

StudyDocument SweepRecord::document() const {
  return {
      .kind = kKind, .key = fmt::format("{} {}", fingerprint, method), .text = json_text(json())};
}

SweepRecord SweepRecord::read(const StudyDocument& document) {
  return take_json(document.text, [&](const Json& json) {
    SweepRecord sweep{.fingerprint = two_words(document.key).first,
                      .model = json.value("model", ""),
                      .method = json.at("method").get<std::string>(),
                      .points = {},
                      .knee = json.value("knee", 0),
                      .knee_bytes = json.at("knee_total_bytes").get<int64_t>()};
    for (const Json& point : json.at("points")) {
      Point& read = sweep.points.emplace_back(
          Point{.total_bytes = point.at("total_bytes").get<int64_t>(),
                .bits_per_weight = point.at("bits_per_weight").get<double>(),
                .loss = point.at("loss").get<double>(),
                .lower_bound = point.value("lower_bound", 0.0),
                .loss_saved_per_mb = point.value("loss_saved_per_mb", 0.0),
                .limit = {}});
      const auto limit = point.find("limit");  // earlier versions did not write it
      if (limit != point.end() && !limit->is_null()) read.limit = limit->get<double>();
    }
    if (sweep.points.empty()) fail(Code::kCorrupt, "no point");
    return sweep;
  });
}

OrderedJson MeasuredSweepRecord::json() const {
  OrderedJson list = OrderedJson::array();
  for (const Point& point : points) {
    list.push_back({{"folder", point.folder},
                    {"uniform", !point.loss.has_value()},
                    {"total_bytes", point.bytes},
                    {"bits_per_weight", point.bits},
                    {"loss", point.loss ? OrderedJson(*point.loss) : OrderedJson(nullptr)},
                    {"kl_mean", point.kl},
                    {"mean_perplexity", point.mean},
                    {"median_perplexity", point.median}});
  }
  return {{"points", std::move(list)},          {"fit", {{"a", a}, {"b", b}, {"rms", rms}}},
          {"kl_per_loss", kl_per_loss},         {"kl_rms_log", kl_rms_log},
          {"first_step_kl_per_mb", first_step}, {"average_kl_per_mb", average}};
}

StudyDocument MeasuredSweepRecord::document() const {
  return {.kind = kKind, .key = fmt::format("{} {}", digest, method), .text = json_text(json())};
}

MeasuredSweepRecord MeasuredSweepRecord::read(const StudyDocument& document) {
  return take_json(document.text, [&](const Json& json) {
    const auto number = [&](const char* key) { return json.at(key).get<double>(); };
    const auto [original, name] = two_words(document.key);
    MeasuredSweepRecord sweep{.digest = original,
                              .method = name,
                              .points = {},
                              .a = json.at("fit").at("a").get<double>(),
                              .b = json.at("fit").at("b").get<double>(),
                              .rms = json.at("fit").at("rms").get<double>(),
                              .kl_per_loss = number("kl_per_loss"),
                              .kl_rms_log = number("kl_rms_log"),
                              .first_step = number("first_step_kl_per_mb"),
                              .average = number("average_kl_per_mb")};
    for (const Json& one : json.at("points")) {
      Point point{.folder = one.at("folder").get<std::string>(),
                  .bytes = one.at("total_bytes").get<int64_t>(),
                  .bits = one.value("bits_per_weight", 0.0),
                  .loss = {},
                  .kl = one.at("kl_mean").get<double>(),
                  .mean = one.at("mean_perplexity").get<double>(),
                  .median = one.value("median_perplexity", 0.0)};
      if (!one.at("uniform").get<bool>()) point.loss = one.at("loss").get<double>();
      sweep.points.push_back(std::move(point));
    }
    if (sweep.points.empty()) fail(Code::kCorrupt, "no point");
    return sweep;
  });
}

}  // namespace ram
