// Column widths and padding.
#include "ram/table.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ram/error.h"
#include "ram/utf8.h"

namespace ram::cli {
namespace {

constexpr size_t kGap = 2;
constexpr size_t kNarrowest = 12;  // of a shortened column

// Bytes of the first `characters` characters.
size_t prefix_bytes(std::string_view text, size_t characters) {
  size_t at = 0;
  while (at < text.size()) {
    if (!continues_utf8(text[at]) && characters-- == 0) break;
    ++at;
  }
  return at;
}

}  // namespace

size_t text_width(std::string_view text) {
  return text.size() - static_cast<size_t>(std::count_if(text.begin(), text.end(), continues_utf8));
}

std::string shorten(std::string_view text, size_t width) {
  const size_t length = text_width(text);
  if (length <= width) return std::string(text);
  if (width <= 4) return std::string(text.substr(0, prefix_bytes(text, width)));
  const size_t tail = (width - 2) * 2 / 3;  // the end of a module path is more informative
  const size_t head = width - 2 - tail;
  std::string out(text.substr(0, prefix_bytes(text, head)));
  out += "..";
  return out += text.substr(prefix_bytes(text, length - tail));
}

std::string wrapped(std::string_view text, size_t width, size_t indent) {
  std::string out;
  std::string line;
  bool empty = true;  // the line contains no word yet
  const auto put = [&](std::string_view spaces, std::string_view word) {
    if (!empty && text_width(line) + spaces.size() + text_width(word) > width) {
      out += line + "\n";
      line.assign(indent, ' ');
      spaces = {};
    }
    line += spaces;
    line += word;
    empty = false;
  };
  for (size_t at = 0; at < text.size();) {
    const size_t begin = std::min(text.find_first_not_of(' ', at), text.size());
    const size_t end = std::min(text.find(' ', begin), text.size());
    if (begin < end) put(text.substr(at, begin - at), text.substr(begin, end - begin));
    at = end;
  }
  return out + line + "\n";
}

std::string bar(double value, double largest, size_t width) {
  if (!(value > 0) || !(largest > 0)) return {};
  const double share = std::min(1.0, value / largest);
  const auto length = static_cast<size_t>(std::llround(share * static_cast<double>(width)));
  return std::string(std::max<size_t>(1, length), '#');
}

std::vector<std::string> log_bars(std::span<const double> values) {
  constexpr size_t kBarWidth = 24;
  constexpr double kShortest = 1.0 / kBarWidth;
  double least = std::numeric_limits<double>::infinity();
  double largest = 0;
  for (const double value : values) {
    if (value > 0) least = std::min(least, value);
    largest = std::max(largest, value);
  }
  const double range = std::log(largest / least);
  std::vector<std::string> bars;
  bars.reserve(values.size());
  for (const double value : values) {
    const double height = range > 0 ? std::log(value / least) / range : 1;
    bars.push_back(value > 0 ? bar(kShortest + (1 - kShortest) * height, 1, kBarWidth) : "");
  }
  return bars;
}

Table::Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

void Table::add(std::vector<std::string> cells) {
  RAM_CHECK(cells.size() == columns_.size());
  rows_.push_back(std::move(cells));
}

std::string Table::render(size_t width) const {
  std::vector<size_t> widths;
  size_t total = 0;
  for (size_t c = 0; c < columns_.size(); ++c) {
    size_t widest = text_width(columns_[c].title);
    for (const auto& row : rows_) widest = std::max(widest, text_width(row[c]));
    widths.push_back(widest);
    total += widest + (c > 0 ? kGap : 0);
  }
  if (total > width) {
    size_t giving = columns_.size();
    for (size_t c = 0; c < columns_.size(); ++c) {
      if (columns_[c].align != Align::kLeft) continue;
      if (giving == columns_.size() || widths[c] > widths[giving]) giving = c;
    }
    if (giving < columns_.size()) {
      const size_t excess = total - width;
      widths[giving] = std::max(kNarrowest, widths[giving] - std::min(widths[giving], excess));
    }
  }
  std::string out;
  const auto add_row = [&](const auto& cell_of) {
    std::string line;
    for (size_t c = 0; c < columns_.size(); ++c) {
      if (c > 0) line.append(kGap, ' ');
      const std::string cell = shorten(cell_of(c), widths[c]);
      const std::string padding(widths[c] - text_width(cell), ' ');
      line += columns_[c].align == Align::kLeft ? cell + padding : padding + cell;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  };
  add_row([&](size_t c) { return columns_[c].title; });
  for (const auto& row : rows_) add_row([&](size_t c) { return row[c]; });
  return out;
}

}  // namespace ram::cli
