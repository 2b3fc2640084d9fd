// HTML and CSV from plain text and numbers: everything that comes from files is escaped here.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ram {

/// @return text that is safe between tags and in quoted attributes. Control characters other than
///         newline and tab become U+FFFD.
std::string escape_html(std::string_view text);

/// A cell: what is shown, and the full value for CSV and sorting.
struct Cell {
  std::string shown;
  std::string value;  ///< empty: as shown

  static Cell text(std::string text) { return {std::move(text), {}}; }
  /// @param shown the number for people. @param value all its digits.
  static Cell number(std::string shown, double value);
  /// @param format fmt's, as "{:.3g}". @return an empty cell for a value that is not finite.
  static Cell formatted(const char* format, double value);
  static Cell integer(int64_t value);
};

struct HtmlColumn {
  std::string title;
  bool numeric = true;
};

/// A table that scrolls separately on small screens, sorts when its heads are clicked, and is also
/// available as CSV below.
class HtmlTable {
 public:
  /// @param name of the CSV file, without ".csv".
  HtmlTable(std::string name, std::vector<HtmlColumn> columns)
      : name_(std::move(name)), columns_(std::move(columns)) {}
  /// @pre as many cells as columns. @param faint shown in a weaker colour.
  void add(std::vector<Cell> cells, bool faint = false);
  bool empty() const { return rows_.empty(); }
  std::string render() const;

 private:
  std::string csv() const;

  std::string name_;
  std::vector<HtmlColumn> columns_;
  std::vector<std::pair<std::vector<Cell>, bool>> rows_;
};

/// @return <p class=CLASS>escaped</p>
std::string paragraph(std::string_view text, std::string_view style = "");

/// @return a section with a heading. @param body HTML.
std::string section(std::string_view id, std::string_view title, const std::string& body);

/// @return the text of a section without data: the command that fills it.
std::string missing_data(std::string_view what, std::string_view command);

/// The page's style sheet and script.
extern const char* const kReportStyle;
extern const char* const kReportScript;

}  // namespace ram
