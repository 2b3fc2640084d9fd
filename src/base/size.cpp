// Parsing and printing of sizes; checked arithmetic.
#include "ram/size.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>

#include "ram/error.h"
#include "ram/number.h"

namespace ram {
namespace {

struct SizeUnit {
  std::string_view name;  // lower case
  int64_t bytes;
};

constexpr std::array<SizeUnit, 9> kUnits = {{{"b", 1},
                                             {"kb", 1'000},
                                             {"mb", 1'000'000},
                                             {"gb", 1'000'000'000},
                                             {"tb", 1'000'000'000'000},
                                             {"kib", int64_t{1} << 10},
                                             {"mib", int64_t{1} << 20},
                                             {"gib", int64_t{1} << 30},
                                             {"tib", int64_t{1} << 40}}};

constexpr int64_t kLargestSize = int64_t{1} << 62;  // so that the sum of two fits in int64_t

[[noreturn]] void fail_size(std::string_view text, std::string_view why) {
  fail(Code::kUsage, "size '{}': {}; use 19GB (10^9 bytes), 17.5GiB (2^30), plain bytes, or 35%",
       text, why);
}

// Digits with at most one point, as typed.
struct Decimal {
  std::string_view whole;
  std::string_view fraction;
  bool zero = true;
};

std::optional<Decimal> parse_decimal(std::string_view text) {
  const size_t point = std::min(text.find('.'), text.size());
  Decimal number = {.whole = text.substr(0, point),
                    .fraction = text.substr(std::min(point + 1, text.size()))};
  if (number.whole.empty() && number.fraction.empty()) return std::nullopt;
  for (const std::string_view digits : {number.whole, number.fraction}) {
    if (!std::all_of(digits.begin(), digits.end(), is_digit)) return std::nullopt;
    number.zero = number.zero && digits.find_first_not_of('0') == std::string_view::npos;
  }
  return number;
}

// floor(number * scale), exactly; nothing from 2^62 on. Binary floating point would not do:
// 2.01e6 is a little less than 2010000 there.
std::optional<int64_t> scaled(const Decimal& number, int64_t scale) {
  int64_t whole = 0;
  for (const char c : number.whole) {
    if (whole > kLargestSize / 10) return std::nullopt;
    whole = whole * 10 + (c - '0');
  }
  // From the last digit to the first: floor((n + x) / 10) is floor((n + floor(x)) / 10).
  int64_t rest = 0;
  for (size_t i = number.fraction.size(); i > 0; --i) {
    rest = ((number.fraction[i - 1] - '0') * scale + rest) / 10;
  }
  const std::optional<int64_t> product = checked_mul(whole, scale);
  if (!product || *product >= kLargestSize - rest) return std::nullopt;
  return *product + rest;
}

constexpr std::array<std::string_view, 5> kDecimalNames = {"B", "kB", "MB", "GB", "TB"};

// How a number of bytes is shown to people.
struct Shown {
  double value;
  size_t unit;  // of kDecimalNames
  int decimals;
};

Shown shown_of(int64_t bytes) {
  Shown shown = {.value = static_cast<double>(bytes), .unit = 0, .decimals = 0};
  while (std::abs(shown.value) >= 999.95 && shown.unit + 1 < kDecimalNames.size()) {
    shown.value /= 1000;
    ++shown.unit;
  }
  if (shown.unit > 0) {
    shown.decimals = std::abs(shown.value) < 10 ? 3 : std::abs(shown.value) < 100 ? 2 : 1;
  }
  return shown;
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
  if (share == 0) return bytes;
  // (whole / kWhole) * share and (whole % kWhole) * share / kWhole, the second in two steps:
  // nothing overflows, and only the last division rounds.
  constexpr int64_t kStep = 1'000'000'000;
  static_assert(kWhole == kStep * kStep);
  const int64_t full = whole_bytes / kWhole * share;
  const int64_t part = whole_bytes % kWhole;
  // part * share, in base kStep: high * kStep^2 + middle * kStep + low.
  const int64_t high = (part / kStep) * (share / kStep);
  const int64_t middle = (part / kStep) * (share % kStep) + (part % kStep) * (share / kStep);
  const int64_t low = (part % kStep) * (share % kStep);
  return full + high + (middle + low / kStep) / kStep;
}

Size parse_size(std::string_view text) {
  size_t split = 0;
  while (split < text.size() && (is_digit(text[split]) || text[split] == '.')) ++split;
  const std::optional<Decimal> number = parse_decimal(text.substr(0, split));
  std::string unit(text.substr(split));
  while (!unit.empty() && unit.front() == ' ') unit.erase(0, 1);
  for (char& c : unit) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (!number) fail_size(text, "does not begin with a number");
  if (number->zero) fail_size(text, "must be above zero");

  if (unit == "%") {
    const std::optional<int64_t> share = scaled(*number, Size::kWhole / 100);
    if (!share || *share > Size::kWhole) fail_size(text, "a share is at most 100%");
    if (*share == 0) fail_size(text, "must be at least 0.0000000000000001%");
    return {.bytes = 0, .share = *share};
  }
  if (unit.empty() && split != number->whole.size()) fail_size(text, "a fraction needs a unit");
  if (unit == "k" || unit == "m" || unit == "g" || unit == "t") {
    fail_size(text, "does not say whether powers of 10 or of 2 are meant");
  }
  int64_t scale = unit.empty() ? 1 : 0;
  for (const SizeUnit& known : kUnits) {
    if (unit == known.name) scale = known.bytes;
  }
  if (scale == 0) fail_size(text, "unknown unit");
  const std::optional<int64_t> bytes = scaled(*number, scale);
  if (!bytes) fail_size(text, "too large");
  if (*bytes == 0) fail_size(text, "must be at least one byte");
  return {.bytes = *bytes};
}

std::string format_bytes(int64_t bytes) {
  const Shown shown = shown_of(bytes);
  if (shown.unit == 0) return fmt::format("{} B", bytes);
  return fmt::format("{:.{}f} {}", shown.value, shown.decimals, kDecimalNames.at(shown.unit));
}

std::string format_enough_bytes(int64_t bytes) {
  const Shown shown = shown_of(bytes);
  int64_t step = 1;  // of the last digit shown
  for (int i = 3 * static_cast<int>(shown.unit); i > shown.decimals; --i) step *= 10;
  return format_bytes(ceil_div(bytes, step) * step);
}

std::string format_typed_bytes(int64_t bytes) {
  constexpr int64_t kMega = 1'000'000;
  constexpr int64_t kGiga = 1'000'000'000;
  const auto tenths = [](int64_t tenth) { return fmt::format("{}.{}", tenth / 10, tenth % 10); };
  if (bytes >= 10 * kGiga) return fmt::format("{}GB", ceil_div(bytes, kGiga));
  if (bytes >= kGiga) return tenths(ceil_div(bytes, kGiga / 10)) + "GB";
  if (bytes >= kMega) return tenths(ceil_div(bytes, kMega / 10)) + "MB";
  return std::to_string(bytes);
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
