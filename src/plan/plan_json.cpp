// plan.json: written with one unit per line in columns of fixed width, so that it reads as a table
// and its size hardly depends on the formats; read with every field checked.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/json.h"
#include "ram/json_text.h"
#include "ram/json_tree.h"
#include "ram/plan.h"
#include "ram/size.h"

#include "objective.h"
#include "plan_rule.h"

namespace ram {
namespace {

using Json = nlohmann::json;

constexpr int kPlanVersion = 1;

// The shortest text that reads back as the same double. JSON has no infinity and no NaN: null,
// which the reader rejects (expect_readable).
std::string number(double value) {
  return std::isfinite(value) ? fmt::format("{}", value) : "null";
}

std::string format_list(std::span<const AffineFormat> formats) {
  std::string text;
  for (const AffineFormat format : formats) {
    text += fmt::format("{}{}", text.empty() ? "" : ", ", json_quoted(format_name(format)));
  }
  return "[" + text + "]";
}

std::string render_request(const PlanRequest& request) {
  std::string keep;
  for (const Role role : request.keep) {
    keep += fmt::format("{}{}", keep.empty() ? "" : ", ", json_quoted(role_name(role)));
  }
  std::string priors;
  const Priors all = priors_of(request);
  for (const auto& [role, prior] : all.roles) {
    priors += fmt::format("{}: {}, ", json_quoted(role_name(role)), number(prior));
  }
  priors +=
      fmt::format("\"tied_embedding\": {}, \"first_layer\": {}, \"last_layer\": {}",
                  number(*all.tied_embedding), number(*all.first_layer), number(*all.last_layer));
  std::string pins;
  for (const Pin& pin : request.pins) {
    pins += (pins.empty() ? "" : ", ") +
            fmt::format("[{}, {}]", json_quoted(pin.pattern),
                        json_quoted(unit_format_name(pin.format, request.dtype)));
  }
  std::string target;
  if (request.budget_bytes) target = fmt::format("\"budget\": {:<19}", *request.budget_bytes);
  if (request.bits_per_weight)
    target = fmt::format("\"bpw\": {}", number(*request.bits_per_weight));
  if (request.uniform)
    target = fmt::format("\"uniform\": {}", json_quoted(format_name(*request.uniform)));
  std::string gains;
  for (const double gain : request.gains.formats) {
    gains += (gains.empty() ? "" : ", ") + number(gain);
  }
  std::string limits;  // where they differ from the defaults
  if (request.time_limit_s != PlanRequest().time_limit_s) {
    limits += fmt::format(", \"time_limit_s\": {}", number(request.time_limit_s));
  }
  if (request.probe_seconds > 0) {
    limits += fmt::format(", \"probe_seconds\": {}", number(request.probe_seconds));
  }
  if (request.coefficient_source != PlanRequest().coefficient_source) {
    limits += fmt::format(", \"coefficients\": {}",
                          json_quoted(coefficient_source_name(request.coefficient_source)));
  }
  return fmt::format(
      "{{{}, \"menu\": {}, \"min_bits\": {}, \"keep\": [{}], \"priors\": {{{}}}, \"veto_db\": {}, "
      "\"allow_unsafe\": {}, \"pins\": [{}]{}{}{}}}",
      target, format_list(request.menu), request.min_bits, keep, priors, number(request.veto_db),
      request.allow_unsafe, pins, limits,
      request.calibration.empty()
          ? ""
          : fmt::format(", \"calibration\": {}", json_quoted(request.calibration)),
      gains.empty() ? "" : fmt::format(", \"format_gains\": [{}]", gains));
}

// The values of a unit's line are padded to the width of the longest possible value.
std::string render_unit(const PlannedUnit& unit, DType dtype, size_t name_width) {
  const std::string prior = unit.prior ? number(*unit.prior) : "null";
  return fmt::format(
      "    {{\"name\": {:<{}} \"format\": {:<8} \"bytes\": {:<13} \"weights\": {:<13} \"prior\": "
      "{:<5} "
      "{}\"nrmse\": {:<23}}}",
      json_quoted(unit.name) + ",", name_width + 3,
      json_quoted(unit_format_name(unit.format, dtype)) + ",", fmt::format("{},", unit.bytes),
      fmt::format("{},", unit.weights), prior + ",",
      unit.gain ? fmt::format("\"gain\": {}, ", number(*unit.gain)) : "", number(unit.nrmse));
}

std::string render_hashes(const std::map<std::string, std::string>& hashes) {
  std::string text;
  for (const auto& [name, hash] : hashes) {
    text += fmt::format("{}    {}: \"{}\"", text.empty() ? "" : ",\n", json_quoted(name), hash);
  }
  return text.empty() ? "" : ",\n  \"files\": {\n" + text + "\n  }";
}

class Reader {
 public:
  explicit Reader(std::string file) : file_(std::move(file)) {}

  [[noreturn]] void bad(std::string_view what) const {
    fail(Code::kCorrupt, "{}: {}; make it again with `ram plan`", file_, what);
  }

  const Json& member(const Json& object, const char* key) const {
    const auto found = object.find(key);
    if (found == object.end()) bad(fmt::format("\"{}\" is missing", key));
    return *found;
  }

  std::string text(const Json& object, const char* key) const {
    const Json& value = member(object, key);
    if (!value.is_string()) bad(fmt::format("\"{}\" is not a string", key));
    auto text = value.get<std::string>();
    if (!is_plan_name(text)) {
      bad(fmt::format("\"{}\" is {}, expected at most {} bytes without control characters", key,
                      json_shown(value), kLongestName));
    }
    return text;
  }

  int64_t count(const Json& object, const char* key, int64_t most = kMostBytes) const {
    const Json& value = member(object, key);
    const bool fits = value.is_number_unsigned()
                          ? value.get<uint64_t>() <= static_cast<uint64_t>(most)
                          : value.is_number_integer() && value.get<int64_t>() >= 0 &&
                                value.get<int64_t>() <= most;
    if (!fits) {
      bad(fmt::format("\"{}\" is {}, expected a whole number from 0 to {}", key, json_shown(value),
                      most));
    }
    return value.get<int64_t>();
  }

  double within(const Json& value, std::string_view what, NumberRange range) const {
    const bool good = value.is_number() && value.get<double>() >= range.least &&
                      value.get<double>() <= range.most;
    if (!good) {
      bad(fmt::format("{} is {}, expected a number from {:g} to {:g}", what, json_shown(value),
                      range.least, range.most));
    }
    return value.get<double>();
  }

  double seconds(const Json& object, const char* key) const {
    const double value = real(object, key, kSecondsRange);
    if (!(value > 0)) {
      bad(fmt::format("\"{}\" is {}, expected seconds above 0", key, json_shown(object[key])));
    }
    return value;
  }

  double real(const Json& object, const char* key, NumberRange range) const {
    return within(member(object, key), fmt::format("\"{}\"", key), range);
  }

  const Json& list(const Json& object, const char* key) const {
    const Json& value = member(object, key);
    if (!value.is_array()) bad(fmt::format("\"{}\" is not a list", key));
    return value;
  }

  AffineFormat affine(const Json& value, std::string_view where) const {
    const std::optional<AffineFormat> format =
        parse_format(value.is_string() ? value.get<std::string>() : std::string());
    if (!format) {
      fail(Code::kUsage,
           "{}: format {} of {}: use BITS:GROUP with bits 2, 3, 4, 5, 6 or 8 and group 32, 64 or "
           "128",
           file_, json_shown(value), where);
    }
    return *format;
  }

  // "4:64", or the plan's dtype ("bf16") for unquantized.
  UnitFormat unit_format(const Json& value, DType dtype, std::string_view where) const {
    if (value.is_string() && value.get<std::string>() == weight_dtype_name(dtype)) return {};
    if (value.is_string() && parse_weight_dtype(value.get<std::string>())) {
      fail(Code::kUsage, "{}: format '{}' of {}: this plan's unquantized units are {}", file_,
           value.get<std::string>(), where, weight_dtype_name(dtype));
    }
    return affine(value, where);
  }

  std::vector<AffineFormat> menu(const Json& object) const {
    std::vector<AffineFormat> formats;
    for (const Json& value : list(object, "menu")) formats.push_back(affine(value, "the menu"));
    return formats;
  }

  Role role(const Json& value) const {
    const std::optional<Role> parsed =
        value.is_string() ? parse_role(value.get<std::string>()) : std::nullopt;
    if (!parsed) bad(fmt::format("role {} is unknown", json_shown(value)));
    return *parsed;
  }

  double prior(const Json& value) const { return within(value, "a prior", kPriorRange); }
  double gain(const Json& value) const { return within(value, "a gain", kGainRange); }

  void target(const Json& json, Method method, PlanRequest& request) const {
    if (json.contains("budget")) request.budget_bytes = count(json, "budget");
    if (json.contains("bpw")) request.bits_per_weight = real(json, "bpw", kBitsRange);
    if (json.contains("uniform")) request.uniform = affine(json["uniform"], "\"uniform\"");
    const int targets = static_cast<int>(request.budget_bytes.has_value()) +
                        static_cast<int>(request.bits_per_weight.has_value()) +
                        static_cast<int>(request.uniform.has_value());
    if (targets != 1) {
      bad(fmt::format("\"request\" has {} of \"budget\", \"bpw\" and \"uniform\", expected one",
                      targets));
    }
    if (request.uniform.has_value() != (method == Method::kUniform)) {
      bad(fmt::format("\"method\" is \"{}\", and \"request\" has {} \"uniform\"",
                      method_name(method), request.uniform ? "a" : "no"));
    }
  }

  PlanRequest request(const Json& json, Method method, DType dtype) const {
    if (!json.is_object()) bad("\"request\" is not an object");
    PlanRequest request;
    request.dtype = dtype;
    target(json, method, request);
    request.menu = menu(json);
    request.min_bits = static_cast<int>(count(json, "min_bits", kMostMinBits));
    request.veto_db = real(json, "veto_db", kVetoRange);
    if (json.contains("calibration")) {
      request.calibration = text(json, "calibration");
      if (!parse_calibration(request.calibration)) {
        bad(
            fmt::format("\"calibration\" is {}, expected it as in \"own rows 64 length 256 seed 42 "
                        "rule 3 digest 0123abcd\", rows 1 to 65536 and length 2 to 8192",
                        json_shown(json["calibration"])));
      }
    }
    if (json.contains("time_limit_s")) request.time_limit_s = seconds(json, "time_limit_s");
    if (json.contains("probe_seconds")) request.probe_seconds = seconds(json, "probe_seconds");
    if (json.contains("coefficients")) {
      const auto source = parse_coefficient_source(text(json, "coefficients"));
      if (!source) bad("\"coefficients\" is neither \"noise\" nor \"gradient\"");
      request.coefficient_source = *source;
    }
    const Json& unsafe = member(json, "allow_unsafe");
    if (!unsafe.is_boolean()) bad("\"allow_unsafe\" is neither true nor false");
    request.allow_unsafe = unsafe.get<bool>();
    request.keep.clear();
    for (const Json& value : list(json, "keep")) request.keep.insert(role(value));
    const Json& priors = member(json, "priors");
    if (!priors.is_object()) bad("\"priors\" is not an object");
    for (const auto& [key, value] : priors.items()) {
      if (key == "tied_embedding") {
        request.priors.tied_embedding = prior(value);
      } else if (key == "first_layer") {
        request.priors.first_layer = prior(value);
      } else if (key == "last_layer") {
        request.priors.last_layer = prior(value);
      } else {
        request.priors.roles[role(Json(key))] = prior(value);
      }
    }
    if (json.contains("format_gains")) {
      const Json& gains = json["format_gains"];
      if (!gains.is_array() || gains.size() != kFormatCount) {
        bad(fmt::format("\"format_gains\" is not a list of {} numbers", kFormatCount));
      }
      for (const Json& value : gains) request.gains.formats.push_back(gain(value));
    }
    for (const Json& value : list(json, "pins")) {
      if (!value.is_array() || value.size() != 2 || !value[0].is_string())
        bad("\"pins\" is not a list of pairs");
      request.pins.push_back({value[0].get<std::string>(), unit_format(value[1], dtype, "a pin")});
    }
    return request;
  }

  std::vector<PlannedUnit> units(const Json& json, DType dtype) const {
    std::vector<PlannedUnit> units;
    for (const Json& value : list(json, "units")) {
      if (!value.is_object()) bad(fmt::format("unit {} is not an object", units.size()));
      PlannedUnit unit;
      unit.name = text(value, "name");
      unit.format = unit_format(member(value, "format"), dtype, unit.name);
      if (value.contains("bytes")) unit.bytes = count(value, "bytes");
      if (value.contains("weights")) unit.weights = count(value, "weights");
      if (value.contains("nrmse")) unit.nrmse = real(value, "nrmse", kErrorRange);
      if (value.contains("prior") && !value["prior"].is_null()) unit.prior = prior(value["prior"]);
      if (value.contains("gain")) unit.gain = gain(value["gain"]);
      units.push_back(std::move(unit));
    }
    return units;
  }

  std::map<std::string, std::string> file_hashes(const Json& json) const {
    constexpr size_t kDigits = 32;
    if (!json.is_object()) bad("\"files\" is not an object");
    std::map<std::string, std::string> hashes;
    for (const auto& [name, value] : json.items()) {
      const std::string hash = value.is_string() ? value.get<std::string>() : "";
      if (hash.size() != kDigits || hash.find_first_not_of("0123456789abcdef") != hash.npos) {
        bad(fmt::format("\"files\": {} where a digest of 32 hexadecimal digits is expected",
                        json_shown(value)));
      }
      hashes[name] = hash;
    }
    return hashes;
  }

 private:
  std::string file_;
};

// A plan is flat: deeper nesting is not a plan.
JsonTree read_plan(std::string_view text, const Reader& reader, const std::string& file) {
  constexpr int kDeepest = 16;
  try {
    return JsonTree(parse_json(text, file, {.depth = kDeepest}));
  } catch (const Error& error) {
    reader.bad(error.what());
  }
}

}  // namespace

std::string render_plan(const Plan& plan) {
  size_t name_width = 0;
  for (const PlannedUnit& unit : plan.units) name_width = std::max(name_width, unit.name.size());
  std::string text = fmt::format(
      "{{\n  \"ram_plan\": {},\n  \"model\": {{\"name\": {}, \"model_type\": {}, \"fingerprint\": "
      "{}}},\n"
      "  \"method\": {},\n  \"encoder\": {},\n  \"dtype\": {},\n  \"menu\": {},\n  \"request\": "
      "{},\n",
      kPlanVersion, json_quoted(plan.model_name), json_quoted(plan.model_type),
      json_quoted(plan.fingerprint), json_quoted(method_name(plan.method)),
      json_quoted(encoder_name(plan.encoder)), json_quoted(weight_dtype_name(plan.dtype)),
      format_list(plan.menu), render_request(plan.request));
  text += fmt::format(
      "  \"budget_bytes\": {:<19},\n  \"total_bytes\": {},\n  \"unit_budget_bytes\": {:<19},\n"
      "  \"weight_bytes\": {},\n  \"bits_per_weight\": {:<23},\n  \"min_safe_bytes\": {},\n"
      "  \"objective\": {:<24},\n  \"lower_bound\": {:<24},\n  \"units\": [\n",
      plan.budget_bytes, plan.total_bytes, plan.unit_budget_bytes, plan.weight_bytes,
      number(plan.bits_per_weight), plan.min_safe_bytes, number(plan.objective),
      number(plan.lower_bound));
  for (size_t u = 0; u < plan.units.size(); ++u) {
    text += render_unit(plan.units[u], plan.dtype, name_width);
    text += u + 1 < plan.units.size() ? ",\n" : "\n";
  }
  return text + "  ]" + render_hashes(plan.file_hashes) + "\n}\n";
}

Plan parse_plan(std::string_view text, const std::string& file) {
  const Reader reader(file);
  const JsonTree tree = read_plan(text, reader, file);
  const Json& json = *tree;
  if (!json.is_object() || !json.contains("ram_plan")) reader.bad("not a plan (no \"ram_plan\")");
  const int64_t version = reader.count(json, "ram_plan");
  if (version != kPlanVersion) {
    fail(Code::kUnsupported, "{}: plan version {}: this program reads version {}; use a later ram",
         file, version, kPlanVersion);
  }
  Plan plan;
  const Json& model = reader.member(json, "model");
  if (!model.is_object()) reader.bad("\"model\" is not an object");
  plan.model_name = reader.text(model, "name");
  plan.model_type = reader.text(model, "model_type");
  plan.fingerprint = reader.text(model, "fingerprint");
  const std::optional<Method> method = parse_method(reader.text(json, "method"));
  const std::optional<Encoder> encoder = parse_encoder(reader.text(json, "encoder"));
  const std::optional<DType> dtype =
      json.contains("dtype") ? parse_weight_dtype(reader.text(json, "dtype")) : DType::kBF16;
  if (!method) reader.bad(fmt::format("unknown method {}", json_shown(json["method"])));
  if (!encoder || encoder == Encoder::kSimulated)
    reader.bad(fmt::format("cannot write encoder {}", json_shown(json["encoder"])));
  if (!dtype) reader.bad(fmt::format("unknown dtype {}", json_shown(json["dtype"])));
  plan.method = *method;
  plan.dtype = *dtype;
  plan.menu = reader.menu(json);
  plan.budget_bytes = reader.count(json, "budget_bytes");
  if (json.contains("request")) {
    plan.request = reader.request(json["request"], plan.method, plan.dtype);
  } else {  // a plan written by another program
    if (plan.method == Method::kUniform) reader.bad("\"method\" is uniform without a \"request\"");
    plan.request.dtype = plan.dtype;
    plan.request.budget_bytes = plan.budget_bytes;
  }
  plan.request.method = plan.method;
  plan.encoder = plan.request.encoder = *encoder;
  // The rest is recomputed (complete_plan), and may be missing or wrong.
  if (json.contains("total_bytes")) plan.total_bytes = reader.count(json, "total_bytes");
  if (json.contains("unit_budget_bytes")) {
    plan.unit_budget_bytes = reader.count(json, "unit_budget_bytes");
  }
  if (json.contains("weight_bytes")) plan.weight_bytes = reader.count(json, "weight_bytes");
  if (json.contains("bits_per_weight"))
    plan.bits_per_weight = reader.real(json, "bits_per_weight", kBitsRange);
  if (json.contains("min_safe_bytes")) plan.min_safe_bytes = reader.count(json, "min_safe_bytes");
  if (json.contains("objective")) plan.objective = reader.real(json, "objective", kErrorRange);
  if (json.contains("lower_bound"))
    plan.lower_bound = reader.real(json, "lower_bound", kErrorRange);
  plan.units = reader.units(json, plan.dtype);
  if (json.contains("files")) plan.file_hashes = reader.file_hashes(json["files"]);
  if (plan.method == Method::kMeasured) {
    for (const PlannedUnit& unit : plan.units) {
      if (unit.prior) plan.request.coefficients[unit.name] = *unit.prior;
      if (unit.gain) plan.request.gains.units[unit.name] = *unit.gain;
    }
  }
  return plan;
}

}  // namespace ram
