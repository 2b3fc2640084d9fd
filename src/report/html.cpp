// Escaping, tables and their CSV.
#include "html.h"

#include <cmath>
#include <cstdint>

#include <fmt/format.h>

#include "ram/csv.h"
#include "ram/error.h"
#include "ram/size.h"

namespace ram {
namespace {

// Percent-encodes everything except letters and digits.
std::string uri_component(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
                       (byte >= 'A' && byte <= 'Z');
    out += plain ? std::string(1, c) : fmt::format("%{:02X}", byte);
  }
  return out;
}

}  // namespace

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default: {
        const auto byte = static_cast<unsigned char>(c);
        const bool control = (byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7f;
        out += control ? "\xEF\xBF\xBD" : std::string(1, c);
      }
    }
  }
  return out;
}

Cell Cell::formatted(const char* format, double value) {
  if (!std::isfinite(value)) return text("");
  return number(fmt::format(fmt::runtime(format), value), value);
}

Cell Cell::number(std::string shown, double value) {
  return {std::move(shown), fmt::format("{}", value)};
}

Cell Cell::integer(int64_t value) {
  return {group_digits(value), fmt::format("{}", value)};
}

void HtmlTable::add(std::vector<Cell> cells, bool faint) {
  RAM_CHECK(cells.size() == columns_.size());
  rows_.emplace_back(std::move(cells), faint);
}

std::string HtmlTable::csv() const {
  std::string text;
  for (size_t c = 0; c < columns_.size(); ++c) {
    if (c > 0) text += ',';
    text += csv_field(columns_[c].title);
  }
  text += '\n';
  for (const auto& [cells, faint] : rows_) {
    for (size_t c = 0; c < cells.size(); ++c) {
      if (c > 0) text += ',';
      text += csv_field(cells[c].value.empty() ? cells[c].shown : cells[c].value);
    }
    text += '\n';
  }
  return text;
}

std::string HtmlTable::render() const {
  std::string html = "<div class=\"scroll\" tabindex=\"0\"><table><thead><tr>";
  for (const HtmlColumn& column : columns_) {
    html += fmt::format("<th scope=\"col\"{}>{}</th>", column.numeric ? " class=\"n\"" : "",
                        escape_html(column.title));
  }
  html += "</tr></thead><tbody>\n";
  for (const auto& [cells, faint] : rows_) {
    html += faint ? "<tr class=\"faint\">" : "<tr>";
    for (size_t c = 0; c < cells.size(); ++c) {
      html += fmt::format(
          "<td{}{}>{}</td>", columns_[c].numeric ? " class=\"n\"" : "",
          cells[c].value.empty() ? "" : fmt::format(" data-v=\"{}\"", escape_html(cells[c].value)),
          escape_html(cells[c].shown));
    }
    html += "</tr>\n";
  }
  const std::string text = csv();
  html += "</tbody></table></div>\n";
  return html + fmt::format(
                    "<details class=\"csv\" data-csv=\"{0}\"><summary>as CSV</summary><p>"
                    "<a download=\"{0}.csv\" href=\"data:text/csv;charset=utf-8,{1}\">"
                    "{0}.csv</a></p><pre>{2}</pre></details>\n",
                    escape_html(name_), uri_component(text), escape_html(text));
}

std::string paragraph(std::string_view text, std::string_view style) {
  return fmt::format("<p{}>{}</p>\n",
                     style.empty() ? "" : fmt::format(" class=\"{}\"", escape_html(style)),
                     escape_html(text));
}

std::string section(std::string_view id, std::string_view title, const std::string& body) {
  return fmt::format("<section id=\"{}\">\n<h2>{}</h2>\n{}</section>\n", escape_html(id),
                     escape_html(title), body);
}

std::string missing_data(std::string_view what, std::string_view command) {
  return fmt::format("<p class=\"missing\">{} <code>{}</code></p>\n", escape_html(what),
                     escape_html(command));
}

}  // namespace ram
