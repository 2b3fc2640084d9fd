// Plots as SVG: two axes, marks with intervals, lines, guides; labels that do not overlap.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace ram {

/// The kind of model that a mark shows; decides its colour and shape.
enum class Series { kReference, kOwn, kUniform, kPublished, kOther };
const char* series_class(Series series);  ///< of the style sheet
const char* series_title(Series series);  ///< "ours", "uniform", ...

struct Axis {
  std::string title;
  double low = 0;
  double high = 1;
  bool logarithmic = false;
};

struct PlotMark {
  double x = 0;
  double y = 0;
  Series series = Series::kOwn;
  std::string label = {};  ///< written beside the mark if there is room
  std::string tip = {};    ///< shown when the mark is pointed at
  std::optional<std::pair<double, double>> interval = {};  ///< along y
  bool hollow = false;
  bool faded = false;
  bool small = false;
};

class Plot {
 public:
  /// @pre ranges are not empty, and above 0 on logarithmic axes.
  Plot(std::string title, Axis x, Axis y);

  void mark(const PlotMark& mark) { marks_.push_back(mark); }
  /// @param style classes of the style sheet: "own dash".
  void line(std::vector<std::pair<double, double>> points, std::string style, std::string tip = "");
  void across(double y, std::string label);             ///< a horizontal guide
  void down(double x, std::string label);               ///< a vertical guide
  void band(double low, double high, std::string tip);  ///< a range of y

  /// @return <figure> with the plot. @param caption HTML.
  std::string render(const std::string& caption) const;

 private:
  struct Line {
    std::vector<std::pair<double, double>> points;
    std::string style;
    std::string tip;
  };
  struct Guide {
    double at;
    std::string label;
  };
  struct Range {
    double low;
    double high;
    std::string tip;
  };

  struct Box;

  double at_x(double value) const;
  double at_y(double value) const;
  std::vector<Box> mark_boxes() const;
  std::string axes() const;
  /// Both add the areas of their labels to `taken`.
  std::string guides(std::vector<Box>& taken) const;
  std::string marks(std::vector<Box>& taken) const;

  std::string title_;
  Axis x_;
  Axis y_;
  std::vector<PlotMark> marks_;
  std::vector<Line> lines_;
  std::vector<Guide> across_;
  std::vector<Guide> down_;
  std::vector<Range> bands_;
};

/// @return an axis around values with a margin; logarithmic axes extend to whole steps.
/// @pre at least one value; positive values if logarithmic.
Axis axis_around(std::string title, std::vector<double> values, bool logarithmic = false);

/// @return an SVG mark of a series, centred.
std::string mark_shape(Series series, double x, double y, double radius, const std::string& style);

/// @return <ul class=legend> of these series.
std::string legend(const std::vector<std::pair<Series, std::string>>& entries);

/// @return a number with few digits, for axes and tips.
std::string short_number(double value);

}  // namespace ram
