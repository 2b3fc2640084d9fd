// Scales, ticks, and positions of labels.
#include "plot.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/utf8.h"

#include "html.h"

namespace ram {
namespace {

// Drawn at this size and scaled to the page: letters stay readable on a phone.
constexpr double kWidth = 480;
constexpr double kHeight = 330;
constexpr double kLeft = 64;
constexpr double kRight = 16;
constexpr double kTop = 14;
constexpr double kBottom = 46;
constexpr double kRadius = 5;
constexpr double kLetter = 6.4;  // of a label, on average
constexpr double kLineHeight = 13;

std::vector<double> linear_ticks(double low, double high, int most) {
  const double raw = (high - low) / most;
  const double power = std::pow(10, std::floor(std::log10(raw)));
  double step = 10 * power;
  for (const double factor : {1.0, 2.0, 2.5, 5.0}) {
    if (factor * power >= raw) {
      step = factor * power;
      break;
    }
  }
  std::vector<double> ticks;
  const auto last = static_cast<int64_t>(std::floor(high / step + 1e-9));
  for (auto k = static_cast<int64_t>(std::ceil(low / step - 1e-9)); k <= last; ++k) {
    ticks.push_back(static_cast<double>(k) * step);
  }
  return ticks;
}

std::vector<double> logarithmic_ticks(double low, double high) {
  const double decades = std::log10(high / low);
  std::vector<double> factors = {1};
  if (decades < 3) factors = {1, 2, 5};
  if (decades < 0.7) return linear_ticks(low, high, 5);
  std::vector<double> ticks;
  const int last = static_cast<int>(std::ceil(std::log10(high)));
  for (int k = static_cast<int>(std::floor(std::log10(low))); k <= last; ++k) {
    for (const double factor : factors) {
      const double tick = factor * std::pow(10.0, k);
      if (tick >= low * (1 - 1e-9) && tick <= high * (1 + 1e-9)) ticks.push_back(tick);
    }
  }
  return ticks;
}

std::vector<double> ticks_of(const Axis& axis, int most) {
  return axis.logarithmic ? logarithmic_ticks(axis.low, axis.high)
                          : linear_ticks(axis.low, axis.high, most);
}

double share(const Axis& axis, double value) {
  if (!axis.logarithmic) return (value - axis.low) / (axis.high - axis.low);
  return std::log(std::max(value, axis.low * 1e-3) / axis.low) / std::log(axis.high / axis.low);
}

std::string tip_attribute(const std::string& tip) {
  return tip.empty() ? "" : fmt::format(" data-tip=\"{}\"", escape_html(tip));
}

std::string title_of(const std::string& tip) {
  return tip.empty() ? "" : fmt::format("<title>{}</title>", escape_html(tip));
}

size_t letters(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return !continues_utf8(c); }));
}

}  // namespace

struct Plot::Box {
  double left;
  double top;
  double right;
  double bottom;
  bool meets(const Box& other) const {
    return left < other.right && other.left < right && top < other.bottom && other.top < bottom;
  }
  bool inside() const {
    return left >= kLeft && right <= kWidth - 2 && top >= 2 && bottom <= kHeight - kBottom;
  }
};

const char* series_class(Series series) {
  switch (series) {
    case Series::kReference:
      return "reference";
    case Series::kOwn:
      return "own";
    case Series::kUniform:
      return "uniform";
    case Series::kPublished:
      return "published";
    case Series::kOther:
      return "other";
  }
  return "";
}

const char* series_title(Series series) {
  switch (series) {
    case Series::kReference:
      return "the original";
    case Series::kOwn:
      return "ours";
    case Series::kUniform:
      return "one format for all";
    case Series::kPublished:
      return "the published method";
    case Series::kOther:
      return "other folders";
  }
  return "";
}

std::string short_number(double value) {
  const double size = std::fabs(value);
  if (value == 0) return "0";
  if (size >= 1e5 || size < 1e-3) {
    const double power = std::floor(std::log10(size) + 1e-9);
    const double digits = value / std::pow(10, power);
    const std::string lead = std::fabs(digits - std::round(digits)) < 1e-6
                                 ? fmt::format("{:.0f}", digits)
                                 : fmt::format("{:.2g}", digits);
    return lead + fmt::format("e{:.0f}", power);
  }
  return fmt::format("{:.4g}", value);
}

std::string mark_shape(Series series, double x, double y, double radius, const std::string& style) {
  const double r = radius;
  switch (series) {
    case Series::kOwn:
      return fmt::format("<circle class=\"{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{:.1f}\"/>", style,
                         x, y, r);
    case Series::kUniform:
      return fmt::format(
          "<rect class=\"{}\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\"/>",
          style, x - 0.9 * r, y - 0.9 * r, 1.8 * r, 1.8 * r);
    case Series::kPublished:
      return fmt::format("<path class=\"{}\" d=\"M{:.1f} {:.1f}l{:.1f} {:.1f}h{:.1f}z\"/>", style,
                         x, y - 1.1 * r, 1.15 * r, 2 * r, -2.3 * r);
    case Series::kOther:
      return fmt::format(
          "<path class=\"{}\" d=\"M{:.1f} {:.1f}l{:.1f} {:.1f}l{:.1f} {:.1f}l{:.1f} {:.1f}z\"/>",
          style, x, y - 1.3 * r, 1.3 * r, 1.3 * r, -1.3 * r, 1.3 * r, -1.3 * r, -1.3 * r);
    case Series::kReference:
      return fmt::format(
          "<path class=\"{}\" d=\"M{:.1f} {:.1f}l{:.1f} {:.1f}l{:.1f} {:.1f}l{:.1f} {:.1f}l{:.1f} "
          "{:.1f}z\"/>",
          style, x, y - 1.2 * r, 1.2 * r, 0.9 * r, -0.45 * r, 1.4 * r, -1.5 * r, 0.0, -0.45 * r,
          -1.4 * r);
  }
  return "";
}

std::string legend(const std::vector<std::pair<Series, std::string>>& entries) {
  std::string html = "<ul class=\"legend\">";
  for (const auto& [series, text] : entries) {
    html += fmt::format(
        "<li><svg class=\"{}\" viewBox=\"0 0 14 14\" aria-hidden=\"true\">{}</svg>{}</li>",
        series_class(series), mark_shape(series, 7, 7, 4.5, "mark"), escape_html(text));
  }
  return html + "</ul>\n";
}

Axis axis_around(std::string title, std::vector<double> values, bool logarithmic) {
  RAM_CHECK(!values.empty());
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  Axis axis{.title = std::move(title), .low = *least, .high = *most, .logarithmic = logarithmic};
  if (logarithmic) {
    RAM_CHECK(axis.low > 0);
    const double margin = std::max(1.15, std::pow(axis.high / axis.low, 0.08));
    axis.low /= margin;
    axis.high *= margin;
    return axis;
  }
  const double range = axis.high - axis.low;
  const double margin = range > 0 ? 0.08 * range : std::max(1e-9, 0.05 * std::fabs(axis.high));
  axis.low -= margin;
  axis.high += margin;
  return axis;
}

Plot::Plot(std::string title, Axis x, Axis y)
    : title_(std::move(title)), x_(std::move(x)), y_(std::move(y)) {
  RAM_CHECK(x_.low < x_.high && y_.low < y_.high);
  RAM_CHECK(!y_.logarithmic || y_.low > 0);
}

void Plot::line(std::vector<std::pair<double, double>> points, std::string style, std::string tip) {
  lines_.push_back({std::move(points), std::move(style), std::move(tip)});
}

void Plot::across(double y, std::string label) {
  across_.push_back({y, std::move(label)});
}

void Plot::down(double x, std::string label) {
  down_.push_back({x, std::move(label)});
}

void Plot::band(double low, double high, std::string tip) {
  bands_.push_back({low, high, std::move(tip)});
}

double Plot::at_x(double value) const {
  return kLeft + share(x_, value) * (kWidth - kLeft - kRight);
}

double Plot::at_y(double value) const {
  const double clamped = std::clamp(share(y_, value), -0.02, 1.02);
  return kHeight - kBottom - clamped * (kHeight - kTop - kBottom);
}

std::string Plot::axes() const {
  std::string svg;
  const double bottom = kHeight - kBottom;
  for (const double tick : ticks_of(y_, 6)) {
    const double y = at_y(tick);
    svg += fmt::format(
        "<path class=\"grid-line\" d=\"M{:.1f} {:.1f}H{:.1f}\"/><text class=\"tick\" "
        "text-anchor=\"end\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>",
        kLeft, y, kWidth - kRight, kLeft - 6, y + 4, short_number(tick));
  }
  for (const double tick : ticks_of(x_, 6)) {
    const double x = at_x(tick);
    svg += fmt::format(
        "<path class=\"axis\" d=\"M{:.1f} {:.1f}v4\"/><text class=\"tick\" text-anchor=\"middle\" "
        "x=\"{:.1f}\" y=\"{:.1f}\">{}</text>",
        x, bottom, x, bottom + 17, short_number(tick));
  }
  svg += fmt::format("<path class=\"axis\" d=\"M{:.1f} {:.1f}H{:.1f}\"/>", kLeft, bottom,
                     kWidth - kRight);
  svg += fmt::format("<text text-anchor=\"middle\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>",
                     (kLeft + kWidth - kRight) / 2, kHeight - 8, escape_html(x_.title));
  svg += fmt::format(
      "<text text-anchor=\"middle\" transform=\"translate(12 {:.1f}) rotate(-90)\">{}</text>",
      (kTop + bottom) / 2, escape_html(y_.title));
  return svg;
}

// The areas covered by marks and their intervals.
std::vector<Plot::Box> Plot::mark_boxes() const {
  std::vector<Box> boxes;
  for (const PlotMark& mark : marks_) {
    const double x = at_x(mark.x);
    const double y = at_y(mark.y);
    boxes.push_back({x - kRadius, y - kRadius, x + kRadius, y + kRadius});
    if (mark.interval) {
      boxes.push_back({x - 3, at_y(mark.interval->second), x + 3, at_y(mark.interval->first)});
    }
  }
  return boxes;
}

std::string Plot::guides(std::vector<Box>& taken) const {
  std::string svg;
  for (const Range& range : bands_) {
    const double top = at_y(range.high);
    svg += fmt::format(
        "<rect class=\"band\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\"{}>{}"
        "</rect>",
        kLeft, top, kWidth - kLeft - kRight, std::max(1.0, at_y(range.low) - top),
        tip_attribute(range.tip), title_of(range.tip));
  }
  // Lines first, so that none crosses a label.
  for (const Guide& guide : across_) {
    svg += fmt::format("<path class=\"guide\" d=\"M{:.1f} {:.1f}H{:.1f}\"/>", kLeft, at_y(guide.at),
                       kWidth - kRight);
  }
  for (const Guide& guide : down_) {
    svg += fmt::format("<path class=\"guide\" d=\"M{:.1f} {:.1f}V{:.1f}\"/>", at_x(guide.at), kTop,
                       kHeight - kBottom);
  }
  double label_y = kTop + 8;
  for (const Guide& guide : down_) {
    const double x = at_x(guide.at);
    const double width = kLetter * static_cast<double>(letters(guide.label)) + 4;
    const bool right = x < (kLeft + kWidth) / 2;
    svg += fmt::format(
        "<text class=\"tick\" text-anchor=\"{}\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>",
        right ? "start" : "end", right ? x + 4 : x - 4, label_y, escape_html(guide.label));
    taken.push_back(
        {right ? x : x - width, label_y - kLineHeight, right ? x + width : x, label_y + 2});
    label_y += kLineHeight + 1;
  }
  for (const Guide& guide : across_) {
    const double y = at_y(guide.at);
    const double width = kLetter * static_cast<double>(letters(guide.label));
    const auto box = [&](bool right, bool above) {
      const double left = right ? kWidth - kRight - 5 - width : kLeft + 5;
      const double base = above ? y - 4 : y + kLineHeight;
      return Box{left, base - kLineHeight + 2, left + width, base + 2};
    };
    // Prefer a place without a mark; but a label over a mark is better than none.
    Box chosen = box(false, true);
    for (const auto& [right, above] :
         {std::pair{false, true}, {true, true}, {false, false}, {true, false}}) {
      const Box place = box(right, above);
      if (std::any_of(taken.begin(), taken.end(), [&](const Box& b) { return b.meets(place); })) {
        continue;
      }
      chosen = place;
      break;
    }
    taken.push_back(chosen);
    svg += fmt::format("<text class=\"tick\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>", chosen.left,
                       chosen.bottom - 2, escape_html(guide.label));
  }
  return svg;
}

std::string Plot::marks(std::vector<Box>& taken) const {
  std::string svg;
  for (const PlotMark& mark : marks_) {
    const double x = at_x(mark.x);
    const double y = at_y(mark.y);
    const double radius = mark.small ? 2.5 : kRadius;
    svg += fmt::format("<g class=\"{}{}\"{}>{}", series_class(mark.series),
                       mark.faded ? " faded" : "", tip_attribute(mark.tip), title_of(mark.tip));
    if (mark.interval) {
      const double low = at_y(mark.interval->first);
      const double high = at_y(mark.interval->second);
      svg += fmt::format(
          "<path class=\"bar\" d=\"M{0:.1f} {1:.1f}V{2:.1f}m-4 0h8M{3:.1f} {1:.1f}h8\"/>", x, low,
          high, x - 4);
    }
    svg += mark_shape(mark.series, x, y, radius, mark.hollow ? "hollow" : "mark");
    const double width = kLetter * static_cast<double>(letters(mark.label));
    const std::pair<double, double> places[] = {
        {x + 8, y + 4},  {x - 8 - width, y + 4},  {x + 6, y - 9},          {x - 6 - width, y - 9},
        {x + 6, y + 17}, {x - 6 - width, y + 17}, {x - width / 2, y - 12}, {x - width / 2, y + 20}};
    for (const auto& [left, base] : places) {
      if (mark.label.empty()) break;
      const Box box{left, base - 10, left + width, base + 3};
      if (!box.inside()) continue;
      if (std::any_of(taken.begin(), taken.end(), [&](const Box& b) { return b.meets(box); })) {
        continue;
      }
      taken.push_back(box);
      svg += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\">{}</text>", left, base,
                         escape_html(mark.label));
      break;
    }
    svg += "</g>\n";
  }
  return svg;
}

std::string Plot::render(const std::string& caption) const {
  std::string svg =
      fmt::format("<figure><svg viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" aria-label=\"{}\">\n",
                  kWidth, kHeight, escape_html(title_));
  std::vector<Box> taken = mark_boxes();
  svg += axes() + guides(taken);
  for (const Line& line : lines_) {
    std::string path;
    for (const auto& [x, y] : line.points) {
      path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : "L", at_x(x), at_y(y));
    }
    svg += fmt::format("<g class=\"{}\"{}>{}<path class=\"path{}\" d=\"{}\"/></g>\n",
                       line.style.substr(0, line.style.find(' ')), tip_attribute(line.tip),
                       title_of(line.tip),
                       line.style.find("dash") != std::string::npos ? " dash" : "", path);
  }
  return svg + marks(taken) + "</svg>\n<figcaption><b>" + escape_html(title_) + "</b> " + caption +
         "</figcaption></figure>\n";
}

}  // namespace ram
