// A document with one line per unit: its name and its ratios.
#include "gain_table.h"

#include <optional>
#include <sstream>

#include <fmt/format.h>

#include "ram/number.h"

namespace ram {
namespace {

constexpr const char* kKind = "gains";

std::map<std::string, GainRatios> parse_gains(const std::string& text) {
  std::map<std::string, GainRatios> found;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string name;
    words >> name;
    GainRatios ratios = {};
    bool whole = true;
    for (double& ratio : ratios) {
      std::string word;
      words >> word;
      const std::optional<double> value = parse_number(word);
      whole = whole && value;
      ratio = value.value_or(0);
    }
    if (whole) found[name] = ratios;
  }
  return found;
}

std::string render(const std::map<std::string, GainRatios>& gains) {
  std::string text;
  for (const auto& [name, ratios] : gains) {
    text += name;
    for (const double ratio : ratios) text += fmt::format(" {}", ratio);
    text += '\n';
  }
  return text;
}

}  // namespace

std::map<std::string, GainRatios> GainTable::find() {
  for (const StudyDocument& document : study_.documents(kKind)) {
    if (document.key == key_) return parse_gains(document.text);
  }
  return {};
}

void GainTable::put(const std::map<std::string, GainRatios>& gains) {
  study_.change_document(kKind, key_, [&](const std::string& kept) {
    std::map<std::string, GainRatios> all = parse_gains(kept);
    for (const auto& [name, ratios] : gains) all[name] = ratios;
    return render(all);
  });
}

}  // namespace ram
