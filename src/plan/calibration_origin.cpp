// The text of PlanRequest::calibration.
#include <algorithm>
#include <charconv>
#include <vector>

#include <fmt/format.h>

#include "ram/plan.h"

namespace ram {
namespace {

constexpr int64_t kMostRows = 65536;
constexpr int64_t kLongestRow = 8192;

// Words between single blanks; two blanks give an empty word.
std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  size_t begin = 0;
  while (begin <= text.size()) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    words.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return words;
}

// A whole number without a sign, within [least, most].
template <typename Number>
bool read_number(std::string_view word, Number least, Number most, Number& value) {
  const char* const end = word.data() + word.size();
  const auto [read, failed] = std::from_chars(word.data(), end, value);
  return !word.empty() && word.front() != '-' && failed == std::errc() && read == end &&
         value >= least && value <= most;
}

bool is_hex(std::string_view word) {
  return !word.empty() && word.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

class Words {
 public:
  explicit Words(std::string_view text) : words_(words_of(text)) {}

  bool done() const { return at_ == words_.size(); }
  std::string_view next() { return done() ? std::string_view() : words_[at_++]; }
  bool take(std::string_view word) {
    const bool found = !done() && words_[at_] == word;
    at_ += found ? 1 : 0;
    return found;
  }
  template <typename Number>
  bool take(std::string_view word, Number least, Number most, Number& value) {
    return take(word) && read_number(next(), least, most, value);
  }

 private:
  std::vector<std::string_view> words_;
  size_t at_ = 0;
};

}  // namespace

std::optional<CalibrationOrigin> parse_calibration(std::string_view text) {
  constexpr size_t kSha256Digits = 64;
  Words words(text);
  CalibrationOrigin origin;
  origin.source = words.next();
  if (origin.source == "file") {
    if (!words.take("sha256")) return std::nullopt;
    origin.sha256 = words.next();
    if (!is_hex(origin.sha256) || origin.sha256.size() != kSha256Digits) return std::nullopt;
  } else if (origin.source != "own" && origin.source != "random") {
    return std::nullopt;
  }
  origin.random_start = origin.source == "own" && words.take("random-start");
  if (!words.take<int64_t>("rows", 1, kMostRows, origin.rows) ||
      !words.take<int64_t>("length", 2, kLongestRow, origin.length) ||
      !words.take<uint64_t>("seed", 0, UINT64_MAX, origin.seed) ||
      !words.take<int64_t>("rule", 0, INT32_MAX, origin.rule)) {
    return std::nullopt;
  }
  origin.sequential = words.take("sequential");
  if (words.take("digest")) {
    origin.digest = words.next();
    if (!is_hex(origin.digest)) return std::nullopt;
  }
  if (!words.done()) return std::nullopt;
  return origin;
}

std::string calibration_spec(const CalibrationOrigin& origin) {
  return fmt::format("{}{}{} rows {} length {} seed {} rule {}", origin.source,
                     origin.sha256.empty() ? "" : " sha256 " + origin.sha256,
                     origin.random_start ? " random-start" : "", origin.rows, origin.length,
                     origin.seed, origin.rule);
}

}  // namespace ram
