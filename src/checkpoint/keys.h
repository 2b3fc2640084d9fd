// Reads keys of one JSON object with messages that name key, value and file.
#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "ram/error.h"
#include "ram/json.h"

namespace ram {

// Limits far above any model; they keep products of sizes far from overflow, and keep a false file
// from costing time.
inline constexpr int64_t kMaxLayers = 4096;
inline constexpr int64_t kMaxHeads = 65536;
inline constexpr int64_t kMaxExperts = 65536;
inline constexpr int64_t kMaxWidth = int64_t{1} << 26;
inline constexpr int64_t kMaxPositions = int64_t{1} << 40;

/// The object and the file's name must outlive it. Every function throws Error{kCorrupt}.
class Keys {
 public:
  Keys(const nlohmann::json& object, const std::string& file) : object_(object), file_(file) {}

  /// A value that exists and is not null.
  const nlohmann::json* find(std::string_view key) const {
    const auto at = object_.find(key);
    return at == object_.end() || at->is_null() ? nullptr : &*at;
  }

  const nlohmann::json& get(std::string_view key) const {
    const nlohmann::json* value = find(key);
    if (value == nullptr) fail(Code::kCorrupt, "{} is missing ({})", key, file_);
    return *value;
  }

  int64_t integer(std::string_view key, int64_t least, int64_t most) const {
    return in_range(key, get(key), least, most);
  }

  int64_t in_range(std::string_view key, const nlohmann::json& value, int64_t least,
                   int64_t most) const {
    const bool whole = value.is_number_integer();
    const bool fits = whole && (!value.is_number_unsigned() ||
                                value.get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX));
    if (!fits || value.get<int64_t>() < least || value.get<int64_t>() > most) {
      fail(Code::kCorrupt, "{} is {}: an integer from {} to {} is allowed ({})", key,
           text_of(value), least, most, file_);
    }
    return value.get<int64_t>();
  }

  bool boolean(std::string_view key, bool otherwise) const {
    const nlohmann::json* value = find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_boolean()) {
      fail(Code::kCorrupt, "{} is {}: true or false is allowed ({})", key, text_of(*value), file_);
    }
    return value->get<bool>();
  }

  /// A finite number above 0.
  double positive(std::string_view key) const { return positive_number(key, get(key)); }

  double positive_number(std::string_view key, const nlohmann::json& value) const {
    if (!is_finite(value) || !(value.get<double>() > 0)) {
      fail(Code::kCorrupt, "{} is {}: a number above 0 is allowed ({})", key, text_of(value),
           file_);
    }
    return value.get<double>();
  }

  static bool is_finite(const nlohmann::json& value) {
    return value.is_number() && std::isfinite(value.get<double>());
  }

  double positive(std::string_view key, double otherwise) const {
    return find(key) == nullptr ? otherwise : positive(key);
  }

  /// A value as shown in a message: one line, not too long.
  static std::string text_of(const nlohmann::json& value) {
    if (value.is_structured()) return value.is_object() ? "an object" : "a list";
    if (value.is_binary()) return "an integer beyond 64 bits";
    if (value.is_number_float() && !is_finite(value)) {
      const double number = value.get<double>();
      return std::isnan(number) ? "NaN" : number > 0 ? "Infinity" : "-Infinity";
    }
    return json_shown(value);
  }

 private:
  const nlohmann::json& object_;
  const std::string& file_;
};

}  // namespace ram
