// Error feedback compared with plain rounding.
#include <limits>

#include "ram/json_text.h"
#include "ram/results.h"

#include "read.h"

namespace ram {
namespace {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

OrderedJson ends_json(const Interval& interval) {
  return OrderedJson::array({interval.low, interval.high});
}

// In JSON, ends of intervals that a single row does not give are null.
double end_of(const Json& value) {
  return value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
}

Interval read_ends(const Json& ends) {
  return {end_of(ends.at(0)), end_of(ends.at(1))};
}

bool same(const Interval& a, const Interval& b) {
  return a.low == b.low && a.high == b.high;
}

}  // namespace

bool FeedbackRecord::Ratio::operator==(const Ratio& other) const {
  return value == other.value && ci95.has_value() == other.ci95.has_value() &&
         (!ci95 || same(*ci95, *other.ci95));
}

bool FeedbackRecord::Variant::operator==(const Variant& other) const {
  return folder == other.folder && formats == other.formats && text == other.text &&
         bytes == other.bytes && kl == other.kl && same(kl95, other.kl95) &&
         over_plain == other.over_plain;
}

OrderedJson FeedbackRecord::json() const {
  OrderedJson list = OrderedJson::array();
  for (const Variant& variant : variants) {
    OrderedJson over = nullptr;
    if (variant.over_plain) {
      const std::optional<Interval>& ci95 = variant.over_plain->ci95;
      over = {{"kl_ratio", variant.over_plain->value},
              {"ci95", ci95 ? ends_json(*ci95) : OrderedJson(nullptr)}};
    }
    list.push_back({{"folder", variant.folder},
                    {"formats", variant.formats},
                    {"calibration", variant.text},
                    {"total_bytes", variant.bytes},
                    {"kl_mean", variant.kl},
                    {"kl_ci95", ends_json(variant.kl95)},
                    {"over_plain", std::move(over)}});
  }
  return {{"variants", std::move(list)}};
}

StudyDocument FeedbackRecord::document() const {
  return {.kind = kKind, .key = digest, .text = json_text(json())};
}

FeedbackRecord FeedbackRecord::read(const StudyDocument& document) {
  return take_json(document.text, [&](const Json& json) {
    FeedbackRecord feedback{.digest = document.key, .variants = {}};
    for (const Json& one : json.at("variants")) {
      Variant variant{.folder = one.at("folder").get<std::string>(),
                      .formats = one.at("formats").get<std::string>(),
                      .text = one.at("calibration").get<std::string>(),
                      .bytes = one.at("total_bytes").get<int64_t>(),
                      .kl = one.at("kl_mean").get<double>(),
                      .kl95 = {},
                      .over_plain = {}};
      const Json& ends = one.at("kl_ci95");
      variant.kl95 = ends.is_null() ? Interval{end_of(ends), end_of(ends)} : read_ends(ends);
      if (const Json& over = one.at("over_plain"); !over.is_null()) {
        Ratio ratio{.value = over.at("kl_ratio").get<double>(), .ci95 = {}};
        if (const Json& ci95 = over.at("ci95"); !ci95.is_null()) ratio.ci95 = read_ends(ci95);
        variant.over_plain = ratio;
      }
      feedback.variants.push_back(std::move(variant));
    }
    if (feedback.variants.empty()) fail(Code::kCorrupt, "no folder");
    return feedback;
  });
}

}  // namespace ram
