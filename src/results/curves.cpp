// The table of curves: one row per unit and format.
#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>

#include <fmt/format.h>

#include "ram/csv.h"
#include "ram/number.h"
#include "ram/results.h"

#include "read.h"

namespace ram {
namespace {

std::optional<int64_t> parse_integer(const std::string& text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// The table may contain "inf" (a curve without an error), which parse_number refuses.
double number_or_nan(const std::string& text) {
  return parse_number(text).value_or(std::numeric_limits<double>::quiet_NaN());
}

}  // namespace

std::string CurvesRecord::csv() const {
  std::string text = "unit,role,tensors,weights,format,bytes,nrmse,sqnr_db,mse\n";
  for (const Unit& unit : units) {
    const std::string start =
        fmt::format("{},{},{},{}", csv_field(unit.name), unit.role, unit.tensors, unit.weights);
    for (const Point& point : unit.points) {
      text += fmt::format("{},{},{},{},{},{}\n", start, point.format, point.bytes, point.nrmse,
                          point.sqnr_db, point.mse);
    }
  }
  return text;
}

StudyDocument CurvesRecord::document() const {
  return {.kind = kKind, .key = fingerprint, .text = csv()};
}

CurvesRecord CurvesRecord::read(const StudyDocument& document) {
  constexpr size_t kFields = 9;
  CurvesRecord table{.fingerprint = document.key, .units = {}};
  const std::string& text = document.text;
  size_t begin = text.find('\n');
  while (begin != std::string::npos && begin + 1 < text.size()) {
    const size_t end = std::min(text.find('\n', begin + 1), text.size());
    const std::string line = text.substr(begin + 1, end - begin - 1);
    begin = end;
    const std::vector<std::string> fields = csv_fields(line);
    const auto wrong = [&] { fail(Code::kCorrupt, "line '{}'", line.substr(0, 60)); };
    if (fields.size() != kFields) wrong();
    const std::optional<int64_t> weights = parse_integer(fields[3]);
    const std::optional<int64_t> bytes = parse_integer(fields[5]);
    const std::optional<double> nrmse = parse_number(fields[6]);
    if (!weights || !bytes || !nrmse || *weights < 1) wrong();
    if (table.units.empty() || table.units.back().name != fields[0]) {
      table.units.push_back({.name = fields[0],
                             .role = fields[1],
                             .tensors = parse_integer(fields[2]).value_or(0),
                             .weights = *weights,
                             .points = {}});
    }
    table.units.back().points.push_back({.format = fields[4],
                                         .bytes = *bytes,
                                         .nrmse = *nrmse,
                                         .sqnr_db = number_or_nan(fields[7]),
                                         .mse = number_or_nan(fields[8])});
  }
  return table;
}

}  // namespace ram
