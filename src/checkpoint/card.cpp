// Reads the YAML of model cards. Values are kept as text and no YAML is written here, so a value
// cannot add a key to another card.
#include "card.h"

#include <algorithm>
#include <map>
#include <string>
#include <system_error>
#include <vector>

#include "ram/error.h"
#include "ram/file.h"
#include "ram/text.h"

#include "side_files.h"

namespace ram {
namespace {

using Values = std::map<std::string, std::vector<std::string>, std::less<>>;

constexpr int64_t kFrontMatterBytes = int64_t{64} << 10;

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r";
  const size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

/// Removes and returns the scalar at the start of `text`: quoted, or plain up to `stops` or a
/// comment.
std::string take_scalar(std::string_view& text, std::string_view stops) {
  text = trimmed(text);
  std::string value;
  if (!text.empty() && (text.front() == '"' || text.front() == '\'')) {
    const char quote = text.front();
    size_t at = 1;
    for (; at < text.size(); ++at) {
      const bool doubled = quote == '\'' && text.substr(at, 2) == "''";
      const bool escaped = quote == '"' && text[at] == '\\' && at + 1 < text.size();
      if (doubled || escaped) {
        value += text[++at];
      } else if (text[at] == quote) {
        break;
      } else {
        value += text[at];
      }
    }
    text.remove_prefix(std::min(at + 1, text.size()));
    const size_t end = text.find_first_of(stops);
    text.remove_prefix(std::min(end, text.size()));
    return value;
  }
  size_t end = std::min(text.find_first_of(stops), text.size());
  const size_t comment = text.substr(0, end).find(" #");
  value = trimmed(text.substr(0, std::min(end, comment)));
  text.remove_prefix(end);
  return value;
}

void keep(std::string value, std::vector<std::string>& values) {
  value = printable(value, kMaxCardValueBytes + 1);
  if (value.empty() || value.size() > kMaxCardValueBytes || values.size() >= kMaxCardValues) return;
  if (std::find(values.begin(), values.end(), value) == values.end()) {
    values.push_back(std::move(value));
  }
}

/// The rest of the line after "key:": a list in brackets, or a scalar.
void read_value(std::string_view text, std::vector<std::string>& values) {
  text = trimmed(text);
  constexpr std::string_view kNotScalars = "|>&*!{%@`#";
  if (text.empty() || kNotScalars.find(text.front()) != std::string_view::npos) return;
  if (text.front() != '[') return keep(take_scalar(text, ""), values);
  text.remove_prefix(1);
  while (!text.empty()) {
    keep(take_scalar(text, ",]"), values);
    if (text.empty() || text.front() == ']') return;
    text.remove_prefix(1);
  }
}

std::string first(const Values& values, std::string_view key) {
  const auto at = values.find(key);
  return at == values.end() || at->second.size() != 1 ? "" : at->second.front();
}

std::vector<std::string> all(const Values& values, std::string_view key) {
  const auto at = values.find(key);
  return at == values.end() ? std::vector<std::string>() : at->second;
}

}  // namespace

ModelCard parse_card(std::string_view text) {
  const auto take_line = [&text] {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    return line;
  };
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  if (trimmed(take_line()) != "---") return {};
  Values values;
  std::vector<std::string>* open = nullptr;  // of the key whose list items may follow
  while (!text.empty()) {
    const std::string_view line = take_line();
    if (line.starts_with("---") || line.starts_with("...")) break;
    const std::string_view content = trimmed(line);
    if (content.empty() || content.front() == '#') continue;
    if (content.starts_with("- ")) {
      if (open != nullptr) read_value(content.substr(2), *open);
      continue;
    }
    const bool top = line.front() != ' ' && line.front() != '\t';
    const size_t colon = line.find(':');
    open = nullptr;
    if (!top || colon == std::string_view::npos) continue;
    std::vector<std::string>& found = values[std::string(trimmed(line.substr(0, colon)))];
    found.clear();  // the last of two equal keys is used
    const std::string_view value = trimmed(line.substr(colon + 1));
    read_value(value, found);
    if (value.empty()) open = &found;
  }
  return {.licence = first(values, "license"),
          .licence_name = first(values, "license_name"),
          .licence_link = first(values, "license_link"),
          .languages = all(values, "language"),
          .tags = all(values, "tags")};
}

ModelCard read_card(const std::filesystem::path& folder) {
  std::error_code error;
  const std::filesystem::path path = folder / "README.md";
  if (!std::filesystem::is_regular_file(path, error)) return {};
  if (!linked_out(folder, "README.md").empty()) return {};  // not part of this model
  try {
    const InputFile file(path);
    std::string text(static_cast<size_t>(std::min(file.size(), kFrontMatterBytes)), '\0');
    file.read(0, std::as_writable_bytes(std::span(text)));
    return parse_card(text);
  } catch (const Error&) {
    return {};  // an unreadable card counts as empty
  }
}

}  // namespace ram
