// Assembles the page.
#include "ram/report.h"

#include <fmt/format.h>

#include "gather.h"
#include "html.h"
#include "sections.h"

namespace ram {

std::string make_report(Study& study, const ReportOptions& options) {
  const ReportData data = gather(study, options);
  const std::string title =
      data.models.empty() ? "ram: a study" : "ram: " + data.models.front().label;
  std::string page = "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n";
  page += "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n";
  page += "<link rel=\"icon\" href=\"data:,\">\n";  // otherwise browsers request one
  page += fmt::format("<title>{}</title>\n<style>{}</style>\n</head>\n<body>\n<main>\n",
                      escape_html(title), kReportStyle);
  page += fmt::format("<h1>{}</h1>\n", escape_html(title));
  page += paragraph(data.models.empty()
                        ? "predictions of a study"
                        : fmt::format("{}, {} folders", data.models.front().record.model_type,
                                      data.models.size()),
                    "sub");
  page += verdict_section(data);
  page +=
      "<nav aria-label=\"sections\"><a href=\"#quality\">Quality</a><a href=\"#plan\">Plans</a>"
      "<a href=\"#curves\">Curves</a><a href=\"#rows\">Rows</a><a href=\"#tasks\">Questions</a>"
      "<a href=\"#provenance\">Provenance</a></nav>\n";
  page += quality_section(data) + plan_section(data) + curves_section(data) + rows_section(data) +
          measured_section(data) + feedback_section(data) + noise_section(data) +
          tasks_section(data) + provenance_section(data);
  page +=
      "<footer>One file, no network: plots are SVG, tables can be sorted by their heads and are "
      "there as CSV.</footer>\n</main>\n<div id=\"tip\" role=\"status\"></div>\n";
  return page + fmt::format("<script>{}</script>\n</body>\n</html>\n", kReportScript);
}

}  // namespace ram
