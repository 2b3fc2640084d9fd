// Parsing and printing of sizes; checked arithmetic.
#include "ram/size.h"

#include <array>
#include <cctype>
#include <cmath>
#include <cstdlib>

#include "ram/error.h"

namespace ram {
namespace {

struct SizeUnit {
  std::string_view name;  // lower case
  double bytes;
};

constexpr std::array<SizeUnit, 9> kUnits = {{{"b", 1},
                                             {"kb", 1e3},
                                             {"mb", 1e6},
                                             {"gb", 1e9},
                                             {"tb", 1e12},
                                             {"kib", 1024.0},
                                             {"mib", 1048576.0},
                                             {"gib", 1073741824.0},
                                             {"tib", 1099511627776.0}}};

constexpr double kLargestSize = 4611686018427387904.0;  // 2^62: sums of two stay in int64_t

[[noreturn]] void fail_size(std::string_view text, std::string_view why) {
  fail(Code::kUsage, "size '{}': {}; use 19GB (10^9 bytes), 17.5GiB (2^30), plain bytes, or 35%",
       text, why);
}

// Digits with at most one point: strtod alone would take "inf", "0x10" and "1e9".
bool is_plain_number(std::string_view text) {
  int digits = 0;
  int points = 0;
  for (const char c : text) {
    if (std::isdigit(static_cast<unsigned char>(c)) != 0) {
      ++digits;
    } else if (c == '.') {
      ++points;
    } else {
      return false;
    }
  }
  return digits > 0 && points <= 1;
}

}  // namespace

std::optional<int64_t> checked_mul(int64_t a, int64_t b) {
  int64_t result = 0;
  if (a < 0 || b < 0 || __builtin_mul_overflow(a, b, &result)) return std::nullopt;
  return result;
}

std::optional<int64_t> checked_add(int64_t a, int64_t b) {
  int64_t result = 0;
  if (a < 0 || b < 0 || __builtin_add_overflow(a, b, &result)) return std::nullopt;
  return result;
}

int64_t Size::resolve(int64_t whole_bytes) const {
  if (percent == 0) return bytes;
  return static_cast<int64_t>(static_cast<double>(whole_bytes) * (percent / 100));
}

Size parse_size(std::string_view text) {
  size_t split = 0;
  while (split < text.size() &&
         (std::isdigit(static_cast<unsigned char>(text[split])) != 0 || text[split] == '.')) {
    ++split;
  }
  const std::string number(text.substr(0, split));
  std::string unit(text.substr(split));
  while (!unit.empty() && unit.front() == ' ') unit.erase(0, 1);
  for (char& c : unit) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (!is_plain_number(number)) fail_size(text, "no number at its start");
  const double value = std::strtod(number.c_str(), nullptr);
  if (value <= 0) fail_size(text, "must be above zero");

  if (unit == "%") {
    if (value > 100) fail_size(text, "a share is at most 100%");
    return {.bytes = 0, .percent = value};
  }
  if (unit.empty() && number.find('.') != std::string::npos) {
    fail_size(text, "a fraction needs a unit");
  }
  if (unit == "k" || unit == "m" || unit == "g" || unit == "t") {
    fail_size(text, "does not say whether powers of 10 or of 2 are meant");
  }
  double scale = unit.empty() ? 1 : 0;
  for (const SizeUnit& known : kUnits) {
    if (unit == known.name) scale = known.bytes;
  }
  if (scale == 0) fail_size(text, "unknown unit");
  if (value * scale >= kLargestSize) fail_size(text, "too large");
  if (number.find('.') == std::string::npos) {  // exact beyond 2^53
    return {.bytes = std::strtoll(number.c_str(), nullptr, 10) * static_cast<int64_t>(scale)};
  }
  const auto bytes = static_cast<int64_t>(value * scale);
  if (bytes == 0) fail_size(text, "must be at least one byte");
  return {.bytes = bytes};
}

std::string format_bytes(int64_t bytes) {
  constexpr std::array<std::string_view, 5> kNames = {"B", "kB", "MB", "GB", "TB"};
  auto value = static_cast<double>(bytes);
  size_t name = 0;
  while (std::abs(value) >= 999.95 && name + 1 < kNames.size()) {
    value /= 1000;
    ++name;
  }
  if (name == 0) return fmt::format("{} B", bytes);
  const int decimals = std::abs(value) < 10 ? 3 : std::abs(value) < 100 ? 2 : 1;
  return fmt::format("{:.{}f} {}", value, decimals, kNames[name]);
}

std::string group_digits(int64_t number) {
  std::string text = std::to_string(number);
  const auto first = static_cast<int64_t>(number < 0 ? 1 : 0);
  for (int64_t at = std::ssize(text) - 3; at > first; at -= 3) {
    text.insert(static_cast<size_t>(at), 1, ',');
  }
  return text;
}

}  // namespace ram
