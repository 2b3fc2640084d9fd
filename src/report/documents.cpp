// plan.json, sweeps and curves, as the study holds them.
#include "documents.h"

#include <charconv>
#include <limits>
#include <optional>

#include "ram/error.h"
#include "ram/json.h"
#include "ram/json_tree.h"
#include "ram/number.h"
#include "ram/text.h"

namespace ram {
namespace {

using Json = nlohmann::json;

[[noreturn]] void fail_damaged(const StudyDocument& document, const std::string& study,
                               const std::string& what) {
  fail(Code::kCorrupt, "study {}: damaged ({} of {}: {}); name another with --study", study,
       document.kind, printable(document.key), printable(what, 300));
}

// One line of RFC 4180 as its fields.
std::vector<std::string> csv_fields(std::string_view line) {
  std::vector<std::string> fields(1);
  bool quoted = false;
  for (size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quoted && c == '"' && i + 1 < line.size() && line[i + 1] == '"') {
      fields.back() += c;
      ++i;
    } else if (c == '"') {
      quoted = !quoted;
    } else if (c == ',' && !quoted) {
      fields.emplace_back();
    } else {
      fields.back() += c;
    }
  }
  return fields;
}

JsonTree tree_of(const StudyDocument& document, const std::string& study) {
  try {
    return JsonTree(parse_json(document.text, "JSON"));
  } catch (const Error& error) {
    fail_damaged(document, study, error.what());
  }
}

bool parse(const std::string& text, int64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size();
}

bool parse(const std::string& text, double& value) {
  const std::optional<double> found = parse_number(text);
  value = found.value_or(0);
  return found.has_value();
}

}  // namespace

ReportPlan read_plan_document(const StudyDocument& document, const std::string& study) {
  try {
    const JsonTree tree = tree_of(document, study);
    const Json& json = *tree;
    ReportPlan plan{.method = json.at("method").get<std::string>(),
                    .encoder = json.at("encoder").get<std::string>(),
                    .calibration = json.value("request", Json::object()).value("calibration", ""),
                    .fingerprint = json.at("model").at("fingerprint").get<std::string>(),
                    .budget_bytes = json.at("budget_bytes").get<int64_t>(),
                    .total_bytes = json.at("total_bytes").get<int64_t>(),
                    .min_safe_bytes = json.at("min_safe_bytes").get<int64_t>(),
                    .objective = json.at("objective").get<double>(),
                    .lower_bound = json.at("lower_bound").get<double>(),
                    .units = {}};
    for (const Json& unit : json.at("units")) {
      plan.units.push_back({.name = unit.at("name").get<std::string>(),
                            .format = unit.at("format").get<std::string>(),
                            .bytes = unit.at("bytes").get<int64_t>(),
                            .weights = unit.at("weights").get<int64_t>(),
                            .nrmse = unit.at("nrmse").get<double>()});
    }
    return plan;
  } catch (const Json::exception& error) {
    fail_damaged(document, study, error.what());
  }
}

ReportSweep read_sweep_document(const StudyDocument& document, const std::string& study) {
  try {
    const JsonTree tree = tree_of(document, study);
    const Json& json = *tree;
    ReportSweep sweep{.method = json.at("method").get<std::string>(),
                      .fingerprint = document.key.substr(0, document.key.find(' ')),
                      .points = {},
                      .bits = {},
                      .knee_bytes = json.at("knee_total_bytes").get<int64_t>()};
    for (const Json& point : json.at("points")) {
      sweep.points.emplace_back(point.at("total_bytes").get<double>(),
                                point.at("loss").get<double>());
      sweep.bits.push_back(point.at("bits_per_weight").get<double>());
    }
    if (sweep.points.empty()) fail_damaged(document, study, "no point");
    return sweep;
  } catch (const Json::exception& error) {
    fail_damaged(document, study, error.what());
  }
}

ReportNoise read_noise_document(const StudyDocument& document, const std::string& study) {
  try {
    const JsonTree tree = tree_of(document, study);
    const Json& json = *tree;
    const auto harm_of = [](const auto& number) {
      return ReportNoise::Harm{.kl = number("kl"),
                               .delta_nll = number("delta_nll"),
                               .mean = number("mean_perplexity"),
                               .median = number("median_perplexity")};
    };
    const Json& stored = json.at("quantized");
    const Json& drawn = json.at("noise");
    ReportNoise noise{
        .digest = document.key,
        .stored = harm_of([&](const char* key) { return stored.at(key).get<double>(); }),
        .drawn = {},
        .verdict = json.at("verdict").get<std::string>()};
    for (size_t seed = 0; seed < drawn.at("kl").size(); ++seed) {
      noise.drawn.push_back(
          harm_of([&](const char* key) { return drawn.at(key).at(seed).get<double>(); }));
    }
    if (noise.drawn.empty()) fail_damaged(document, study, "no draw");
    return noise;
  } catch (const Json::exception& error) {
    fail_damaged(document, study, error.what());
  }
}

ReportFeedback read_gptq_document(const StudyDocument& document, const std::string& study) {
  try {
    // JSON has null for the ends that one row alone does not give.
    const auto end = [](const Json& value) {
      return value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
    };
    const auto interval = [&](const Json& ends) {
      return ends.is_null() ? Interval{end(ends), end(ends)}
                            : Interval{end(ends.at(0)), end(ends.at(1))};
    };
    const JsonTree tree = tree_of(document, study);
    const Json& json = *tree;
    ReportFeedback feedback;
    for (const Json& one : json.at("variants")) {
      ReportFeedback::Variant variant{.folder = one.at("folder").get<std::string>(),
                                      .formats = one.at("formats").get<std::string>(),
                                      .text = one.at("calibration").get<std::string>(),
                                      .bytes = one.at("total_bytes").get<int64_t>(),
                                      .kl = one.at("kl_mean").get<double>(),
                                      .kl95 = interval(one.at("kl_ci95")),
                                      .over_plain = {},
                                      .over_plain95 = {}};
      if (const Json& over = one.at("over_plain"); !over.is_null()) {
        variant.over_plain = over.at("kl_ratio").get<double>();
        variant.over_plain95 = interval(over.at("ci95"));
      }
      feedback.variants.push_back(std::move(variant));
    }
    if (feedback.variants.empty()) fail_damaged(document, study, "no folder");
    return feedback;
  } catch (const Json::exception& error) {
    fail_damaged(document, study, error.what());
  }
}

ReportMeasuredSweep read_measured_sweep_document(const StudyDocument& document,
                                                 const std::string& study) {
  try {
    const JsonTree tree = tree_of(document, study);
    const Json& json = *tree;
    const auto number = [&](const char* key) { return json.at(key).get<double>(); };
    ReportMeasuredSweep sweep{.method = document.key.substr(document.key.find(' ') + 1),
                              .points = {},
                              .a = json.at("fit").at("a").get<double>(),
                              .b = json.at("fit").at("b").get<double>(),
                              .rms = json.at("fit").at("rms").get<double>(),
                              .kl_per_loss = number("kl_per_loss"),
                              .kl_rms_log = number("kl_rms_log"),
                              .first_step = number("first_step_kl_per_mb"),
                              .average = number("average_kl_per_mb")};
    for (const Json& one : json.at("points")) {
      ReportMeasuredSweep::Point point{.folder = one.at("folder").get<std::string>(),
                                       .bytes = one.at("total_bytes").get<int64_t>(),
                                       .loss = {},
                                       .kl = one.at("kl_mean").get<double>(),
                                       .mean = one.at("mean_perplexity").get<double>()};
      if (!one.at("uniform").get<bool>()) point.loss = one.at("loss").get<double>();
      sweep.points.push_back(std::move(point));
    }
    if (sweep.points.empty()) fail_damaged(document, study, "no point");
    return sweep;
  } catch (const Json::exception& error) {
    fail_damaged(document, study, error.what());
  }
}

std::vector<ReportCurve> read_curves_document(const StudyDocument& document,
                                              const std::string& study) {
  constexpr size_t kFields = 9;
  std::vector<ReportCurve> curves;
  size_t begin = document.text.find('\n');
  while (begin != std::string::npos && begin + 1 < document.text.size()) {
    const size_t end = std::min(document.text.find('\n', begin + 1), document.text.size());
    const std::string line = document.text.substr(begin + 1, end - begin - 1);
    begin = end;
    const std::vector<std::string> fields = csv_fields(line);
    ReportCurve::Point point;
    int64_t weights = 0;
    if (fields.size() != kFields || !parse(fields[3], weights) || !parse(fields[5], point.bytes) ||
        !parse(fields[6], point.nrmse) || weights < 1) {
      fail_damaged(document, study, "line '" + line.substr(0, 60) + "'");
    }
    point.format = fields[4];
    if (curves.empty() || curves.back().unit != fields[0]) {
      curves.push_back({.unit = fields[0], .role = fields[1], .weights = weights, .points = {}});
    }
    curves.back().points.push_back(std::move(point));
  }
  return curves;
}

}  // namespace ram
