// Aligned columns for a terminal: plain text, no colours, lines of limited width. Part of the
// module `command_line`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ram::cli {

/// Width of text for a terminal, in columns.
inline constexpr size_t kTextWidth = 80;

enum class Align : uint8_t { kLeft, kRight };

struct Column {
  std::string title;
  Align align = Align::kRight;
};

class Table {
 public:
  explicit Table(std::vector<Column> columns);

  /// @pre as many cells as columns.
  void add(std::vector<std::string> cells);

  /// @return header and rows, each ended by a newline and without spaces at its end. If a row would
  ///         be longer than `width`, the widest left-aligned column is shortened
  ///         ("model.la..q_proj").
  std::string render(size_t width = 100) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

/// @return how many columns UTF-8 text takes, each character counted as one.
size_t text_width(std::string_view text);

/// @return text of at most `width` characters, its middle replaced by "..".
std::string shorten(std::string_view text, size_t width);

/// @return text in lines of at most `width` characters, each ended by a newline, broken at spaces;
///         all but the first begin with `indent` spaces. A longer word is not split.
std::string wrapped(std::string_view text, size_t width, size_t indent);

/// @return a bar of '#' in [1, width] characters for value / largest; empty for 0.
std::string bar(double value, double largest, size_t width);

/// @return bars on a logarithmic scale: 1 character for the least positive value, 24 for the
///         largest; empty for 0.
std::vector<std::string> log_bars(std::span<const double> values);

}  // namespace ram::cli
