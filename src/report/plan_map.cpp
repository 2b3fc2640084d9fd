// Plans as maps, the bytes of each role, and the curves of some units.
#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>
#include <set>

#include <fmt/format.h>

#include "ram/plan.h"
#include "ram/size.h"
#include "ram/text.h"

#include "html.h"
#include "sections.h"

namespace ram {
namespace {

constexpr std::string_view kLayers = "model.layers.";

/// The position of a unit: its layer (-1: none) and its name within it.
struct Place {
  int layer = -1;
  std::string module;
};

Place place_of(const std::string& name) {
  if (name.rfind(kLayers, 0) != 0) return {-1, name};
  size_t end = kLayers.size();
  int layer = 0;
  while (end < name.size() && std::isdigit(static_cast<unsigned char>(name[end])) != 0 &&
         layer < 100'000) {
    layer = 10 * layer + (name[end] - '0');
    ++end;
  }
  if (end == kLayers.size() || end >= name.size() || name[end] != '.') return {-1, name};
  return {layer, name.substr(end + 1)};
}

// "4:64" is 4; anything else is unquantized, 16 bits or more.
int bits_of(const std::string& format) {
  const size_t colon = format.find(':');
  if (colon > 2) return 16;  // also if there is no colon
  int bits = 0;
  for (size_t i = 0; i < colon; ++i) {
    if (std::isdigit(static_cast<unsigned char>(format[i])) == 0) return 16;
    bits = 10 * bits + (format[i] - '0');
  }
  return bits;
}

std::string cell(double x, double y, double width, double height, const PlannedPiece& unit,
                 bool whole) {
  const int bits = bits_of(unit.format);
  const std::string tip = fmt::format(
      "{}\n{}: {} bytes, {:.3f} bits per weight\nrelative error {:.4g}", unit.name, unit.format,
      unit.bytes,
      unit.weights > 0 ? 8.0 * static_cast<double>(unit.bytes) / static_cast<double>(unit.weights)
                       : 0.0,
      unit.nrmse);
  const std::string text = whole ? unit.format : std::to_string(bits);
  return fmt::format(
      "<g data-tip=\"{0}\"><title>{0}</title><rect class=\"cell b{1}\" x=\"{2:.1f}\" y=\"{3:.1f}\" "
      "width=\"{4:.1f}\" height=\"{5:.1f}\"/><text class=\"{6}\" text-anchor=\"middle\" "
      "x=\"{7:.1f}\" "
      "y=\"{8:.1f}\" font-size=\"10\">{9}</text></g>\n",
      escape_html(tip), bits, x, y, width, height, bits >= 6 ? "on-dark" : "on-light",
      x + width / 2, y + height / 2 + 4, escape_html(text));
}

std::string plan_map(const ReportPlan& plan) {
  std::vector<std::string> modules;
  std::map<std::string, std::map<int, const PlannedPiece*>> by_module;
  std::vector<const PlannedPiece*> outside;
  std::set<int> layers;
  for (const PlannedPiece& unit : plan.units) {
    const Place place = place_of(unit.name);
    if (place.layer < 0) {
      outside.push_back(&unit);
      continue;
    }
    if (!by_module.contains(place.module)) modules.push_back(place.module);
    by_module[place.module][place.layer] = &unit;
    layers.insert(place.layer);
  }
  constexpr size_t kFewLayers = 20;
  const bool whole = layers.size() <= kFewLayers;
  const double width = whole ? 46 : 20;
  constexpr double kHeight = 22;
  size_t longest = 0;
  for (const std::string& module : modules) longest = std::max(longest, module.size());
  for (const PlannedPiece* unit : outside) longest = std::max(longest, unit->name.size());
  const double left = 6.6 * static_cast<double>(std::min<size_t>(longest, 48)) + 14;
  std::string svg;
  double y = 18;
  double x = left;
  for (const int layer : layers) {
    if (whole || layer % 5 == 0) {
      svg +=
          fmt::format("<text class=\"tick\" text-anchor=\"middle\" x=\"{:.1f}\" y=\"12\">{}</text>",
                      x + width / 2, layer);
    }
    x += width;
  }
  const double right = std::max(x, left + 80);
  const auto name = [&](const std::string& text) {
    svg += fmt::format("<text text-anchor=\"end\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>", left - 8,
                       y + kHeight / 2 + 4, escape_html(text));
  };
  for (const std::string& module : modules) {
    name(module);
    x = left;
    for (const int layer : layers) {
      const auto found = by_module[module].find(layer);
      if (found != by_module[module].end()) {
        svg += cell(x, y, width, kHeight, *found->second, whole);
      }
      x += width;
    }
    y += kHeight;
  }
  y += outside.empty() ? 0 : 6;
  for (const PlannedPiece* unit : outside) {
    name(unit->name);
    svg += cell(left, y, 46, kHeight, *unit, true);
    y += kHeight;
  }
  return fmt::format(
      "<div class=\"scroll map\" tabindex=\"0\"><svg viewBox=\"0 0 {0:.0f} {1:.0f}\" "
      "width=\"{0:.0f}\" height=\"{1:.0f}\" role=\"img\" aria-label=\"formats of all units, layers "
      "from left to right\">\n{2}</svg></div>\n",
      right + 4, y + 4, svg);
}

std::string role_of(const ReportData& data, const std::string& unit) {
  for (const CurvesRecord::Unit& curve : data.curves) {
    if (curve.name == unit) return curve.role;
  }
  const Place place = place_of(unit);
  return place.layer < 0 ? unit : place.module;
}

struct RoleSum {
  int64_t units = 0;
  int64_t weights = 0;
  int64_t bytes = 0;
  double bits() const {
    return weights > 0 ? 8.0 * static_cast<double>(bytes) / static_cast<double>(weights) : 0;
  }
};

/// Bytes of each role of one folder.
using Roles = std::map<std::string, RoleSum>;

Roles roles_of(const ReportData& data, const ReportPlan& plan) {
  Roles roles;
  for (const PlannedPiece& unit : plan.units) {
    RoleSum& sum = roles[role_of(data, unit.name)];
    sum.units += 1;
    sum.weights += unit.weights;
    sum.bytes += unit.bytes;
  }
  return roles;
}

// One bar per folder, divided by role; role names are drawn if they fit.
std::string roles_plot(const std::vector<std::pair<std::string, Roles>>& folders) {
  constexpr double kLeft = 104;
  constexpr double kWidth = 480;
  constexpr double kRow = 30;
  constexpr const char* kColours[] = {"own", "uniform", "other", "published"};
  std::map<std::string, size_t> order;
  int64_t most = 1;
  for (const auto& [label, roles] : folders) {
    int64_t sum = 0;
    for (const auto& [role, bytes] : roles) {
      order.emplace(role, 0);
      sum += bytes.bytes;
    }
    most = std::max(most, sum);
  }
  size_t next = 0;
  for (auto& [role, index] : order) index = next++;
  std::string svg;
  double y = 4;
  for (const auto& [label, roles] : folders) {
    const std::string shown = printable(label, 16);
    svg += fmt::format("<text text-anchor=\"end\" x=\"{:.0f}\" y=\"{:.0f}\">{}</text>", kLeft - 8,
                       y + 15, escape_html(shown));
    double x = kLeft;
    for (const auto& [role, sum] : roles) {
      const double width =
          (kWidth - kLeft) * static_cast<double>(sum.bytes) / static_cast<double>(most);
      const size_t index = order.at(role);
      const std::string tip = fmt::format("{}, {}\n{} bytes, {:.3f} bits per weight", label, role,
                                          sum.bytes, sum.bits());
      svg += fmt::format(
          "<g class=\"{0}\" data-tip=\"{1}\"><title>{1}</title><rect class=\"fill cell o{2}\" "
          "x=\"{3:.1f}\" y=\"{4:.0f}\" width=\"{5:.1f}\" height=\"22\"/>",
          kColours[index % 4], escape_html(tip), (index / 4) % 3, x, y, width);
      if (width > 5.6 * static_cast<double>(role.size()) + 8) {
        svg += fmt::format("<text class=\"on-fill\" x=\"{:.1f}\" y=\"{:.0f}\">{}</text>", x + 4,
                           y + 15, escape_html(role));
      }
      svg += "</g>\n";
      x += width;
    }
    y += kRow;
  }
  std::string names = "<ul class=\"legend\">";
  for (const auto& [role, index] : order) {
    names += fmt::format(
        "<li><svg class=\"{}\" viewBox=\"0 0 14 14\" aria-hidden=\"true\"><rect class=\"fill o{}\" "
        "x=\"1\" y=\"1\" width=\"12\" height=\"12\"/></svg>{}</li>",
        kColours[index % 4], (index / 4) % 3, escape_html(role));
  }
  return fmt::format(
      "<figure style=\"max-width:760px\"><svg viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" "
      "aria-label=\"bytes by role\">\n{}</svg>{}</ul><figcaption><b>Bytes by "
      "role</b></figcaption></figure>\n",
      kWidth, y, svg, names);
}

std::string roles_part(const ReportData& data) {
  std::vector<std::pair<std::string, Roles>> folders;
  HtmlTable table(
      "bytes-by-role",
      {{"folder", false}, {"role", false}, {"units"}, {"weights"}, {"bytes"}, {"bits per weight"}});
  for (const ReportModel& model : data.models) {
    if (!model.plan) continue;
    folders.emplace_back(model.label, roles_of(data, *model.plan));
    for (const auto& [role, sum] : folders.back().second) {
      table.add({Cell::text(model.label), Cell::text(role), Cell::integer(sum.units),
                 Cell::integer(sum.weights), Cell::integer(sum.bytes),
                 Cell::number(fmt::format("{:.3f}", sum.bits()), sum.bits())});
    }
  }
  if (folders.empty()) return "";
  return roles_plot(folders) + "<details><summary>numbers</summary>" + table.render() +
         "</details>\n";
}

std::string units_table(const std::string& label, const ReportPlan& plan) {
  HtmlTable table("plan-" + label,
                  {{"unit", false}, {"format", false}, {"bytes"}, {"weights"}, {"relative error"}});
  for (const PlannedPiece& unit : plan.units) {
    table.add({Cell::text(unit.name), Cell::text(unit.format), Cell::integer(unit.bytes),
               Cell::integer(unit.weights),
               Cell::number(fmt::format("{:.4g}", unit.nrmse), unit.nrmse)});
  }
  return "<details><summary>units as a table</summary>" + table.render() + "</details>\n";
}

std::string bits_legend() {
  std::string svg;
  double x = 0;
  for (const int bits : {2, 3, 4, 5, 6, 8, 16}) {
    svg += fmt::format(
        "<rect class=\"cell b{0}\" x=\"{1:.0f}\" y=\"0\" width=\"44\" height=\"20\"/><text "
        "class=\"{2}\" text-anchor=\"middle\" x=\"{3:.0f}\" y=\"14\" font-size=\"10\">{0} "
        "bit</text>",
        bits, x, bits >= 6 ? "on-dark" : "on-light", x + 22);
    x += 44;
  }
  return fmt::format(
      "<svg viewBox=\"0 0 {0:.0f} 20\" style=\"max-width:{0:.0f}px\" role=\"img\" "
      "aria-label=\"colours of the formats\">{1}</svg>\n",
      x, svg);
}

/// The units whose curves are shown: in each of the largest roles, the one that 4 bits hurt most.
std::vector<const CurvesRecord::Unit*> chosen_curves(const ReportData& data) {
  std::map<std::string, std::pair<int64_t, const CurvesRecord::Unit*>> roles;
  const auto error_at_4 = [](const CurvesRecord::Unit& curve) {
    for (const CurvesRecord::Point& point : curve.points) {
      if (point.format == "4:64") return point.nrmse;
    }
    return 0.0;
  };
  for (const CurvesRecord::Unit& curve : data.curves) {
    if (curve.points.size() < 2) continue;
    auto& [weights, best] = roles[curve.role];
    weights += curve.weights;
    if (best == nullptr || error_at_4(curve) > error_at_4(*best)) best = &curve;
  }
  std::vector<std::pair<int64_t, const CurvesRecord::Unit*>> sorted;
  sorted.reserve(roles.size());
  for (const auto& [role, entry] : roles) sorted.push_back(entry);
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  constexpr size_t kMost = 4;
  std::vector<const CurvesRecord::Unit*> chosen;
  for (size_t i = 0; i < std::min(kMost, sorted.size()); ++i) chosen.push_back(sorted[i].second);
  return chosen;
}

/// The mean relative error per format, over all units that allow it.
std::map<std::string, double> mean_errors(const ReportData& data) {
  std::map<std::string, std::pair<double, int64_t>> sums;
  for (const CurvesRecord::Unit& curve : data.curves) {
    for (const CurvesRecord::Point& point : curve.points) {
      if (point.nrmse <= 0) continue;
      sums[point.format].first += point.nrmse;
      sums[point.format].second += 1;
    }
  }
  std::map<std::string, double> means;
  for (const auto& [format, sum] : sums) {
    means[format] = sum.first / static_cast<double>(sum.second);
  }
  return means;
}

}  // namespace

std::string plan_section(const ReportData& data) {
  std::string body;
  bool first = true;
  for (const ReportModel& model : data.models) {
    if (!model.plan || model.series == Series::kUniform) continue;
    const ReportPlan& plan = *model.plan;
    body += fmt::format(
        "<details{}><summary>{}</summary>\n", first ? " open" : "",
        escape_html(fmt::format("{}: {} of {} bytes asked for, method {}, encoder {}", model.label,
                                plan.total_bytes, plan.budget_bytes, plan.method, plan.encoder)));
    if (plan.method != method_name(Method::kPublished)) {
      body += paragraph(fmt::format("Loss {:.6g}; lower bound for any plan of this size: {:.6g}.",
                                    plan.objective, plan.lower_bound),
                        "soft");
    }
    body += plan_map(plan) + units_table(model.label, plan) + "</details>\n";
    first = false;
  }
  if (body.empty()) {
    return section("plan", "The plans",
                   missing_data("No folder with a plan was compared. Run",
                                command_of(data, "ram fit ORIGINAL --budget SIZE -o FOLDER")));
  }
  return section(
      "plan", "The plans",
      paragraph("Each cell is a unit: a matrix, or all experts of one projection; layers "
                "from left to right. Point at it for its bytes and error.",
                "soft") +
          bits_legend() + body + roles_part(data));
}

namespace {

double curve_bits(const CurvesRecord::Unit& curve, const CurvesRecord::Point& point) {
  return 8.0 * static_cast<double>(point.bytes) / static_cast<double>(curve.weights);
}

std::string curve_numbers(const std::vector<const CurvesRecord::Unit*>& chosen) {
  HtmlTable table("curves", {{"unit", false},
                             {"role", false},
                             {"format", false},
                             {"bytes"},
                             {"bits per weight"},
                             {"relative error"}});
  for (const CurvesRecord::Unit* curve : chosen) {
    for (const CurvesRecord::Point& point : curve->points) {
      const double bits = curve_bits(*curve, point);
      table.add({Cell::text(curve->name), Cell::text(curve->role), Cell::text(point.format),
                 Cell::integer(point.bytes), Cell::number(fmt::format("{:.3f}", bits), bits),
                 Cell::number(fmt::format("{:.4g}", point.nrmse), point.nrmse)});
    }
  }
  return table.render();
}

/// Error against bits, and the same relative to the mean of all units.
std::string curve_plots(const ReportData& data,
                        const std::vector<const CurvesRecord::Unit*>& chosen) {
  constexpr Series kLooks[] = {Series::kOwn, Series::kUniform, Series::kPublished, Series::kOther};
  const std::map<std::string, double> means = mean_errors(data);
  std::vector<double> x;
  std::vector<double> y;
  std::vector<double> ratios = {1};
  for (const CurvesRecord::Unit* curve : chosen) {
    for (const CurvesRecord::Point& point : curve->points) {
      if (point.nrmse <= 0) continue;
      x.push_back(curve_bits(*curve, point));
      y.push_back(point.nrmse);
      ratios.push_back(point.nrmse / means.at(point.format));
    }
  }
  if (x.empty()) return "";
  Plot relative("The same, relative to the mean of all units", axis_around("bits per weight", x),
                axis_around("error / mean error of that format", ratios));
  relative.across(1, "mean of all units");
  Plot plot("Error against bits of some units", axis_around("bits per weight", x),
            axis_around("relative error (NRMSE)", y, true));
  std::vector<std::pair<Series, std::string>> entries;
  for (size_t i = 0; i < chosen.size(); ++i) {
    const CurvesRecord::Unit& curve = *chosen[i];
    entries.emplace_back(kLooks[i], fmt::format("{} ({})", curve.name, curve.role));
    for (const CurvesRecord::Point& point : curve.points) {
      if (point.nrmse <= 0) continue;
      const double bits = curve_bits(curve, point);
      PlotMark mark{.x = bits,
                    .y = point.nrmse,
                    .series = kLooks[i],
                    .tip = fmt::format("{}\n{}: {:.3f} bits per weight, relative error {:.4g}",
                                       curve.name, point.format, bits, point.nrmse)};
      plot.mark(mark);
      mark.y = point.nrmse / means.at(point.format);
      relative.mark(mark);
    }
  }
  return "<div class=\"grid\">" +
         plot.render(
             "Of the four largest roles, the unit that 4 bits hurt most. Every format that "
             "the unit's rows allow is a mark.") +
         relative.render("Above the line a unit suffers more than others from the same format.") +
         "</div>\n" + legend(entries);
}

}  // namespace

std::string curves_section(const ReportData& data) {
  const std::vector<const CurvesRecord::Unit*> chosen = chosen_curves(data);
  if (chosen.empty()) {
    return section("curves", "What each format loses",
                   missing_data("The curves are not in the study. Run",
                                command_of(data, "ram analyze ORIGINAL")));
  }
  return section("curves", "What each format loses",
                 curve_plots(data, chosen) + "<details><summary>numbers</summary>" +
                     curve_numbers(chosen) + "</details>\n");
}

}  // namespace ram
