// A plot, byte by byte: it changes only when someone intends it.
#include "plot.h"

#include <fstream>
#include <sstream>

#include <gtest/gtest.h>

namespace ram {
namespace {

Plot everything() {
  Plot plot("All <kinds> at once", axis_around("size, MB", {2.4, 9.9}),
            axis_around("KL, nats", {1e-4, 0.03}, /*logarithmic=*/true));
  plot.band(2e-4, 4e-4, "cannot be seen");
  plot.across(3e-4, "noise floor");
  plot.down(2.5, "smallest safe size");
  plot.down(4, "knee");
  plot.line({{2.4, 0.02}, {5, 0.001}, {9.9, 1.5e-4}}, "own dash", "predicted");
  plot.mark({.x = 3,
             .y = 0.01,
             .series = Series::kOwn,
             .label = "ours",
             .tip = "ours\nKL 0.01",
             .interval = std::pair(0.008, 0.013)});
  plot.mark({.x = 3.02, .y = 0.0102, .series = Series::kUniform, .label = "beside it"});
  plot.mark({.x = 6, .y = 1e-3, .series = Series::kPublished, .label = "published", .faded = true});
  plot.mark({.x = 7, .y = 5e-4, .series = Series::kOther, .hollow = true});
  plot.mark({.x = 9.8,
             .y = 1e-4,
             .series = Series::kReference,
             .label = "a \"quoted\" name",
             .small = true});
  return plot;
}

TEST(PlotGolden, IsWhatItWas) {
  const std::string path = RAM_SOURCE_DIR "/tests/vectors/report/plot.svg.html";
  const std::string found = everything().render("A caption.");
  std::ifstream file(path, std::ios::binary);
  std::stringstream wanted;
  wanted << file.rdbuf();
  if (found == wanted.str()) return;
  const std::string left = ::testing::TempDir() + "plot.svg.html";
  std::ofstream(left, std::ios::binary) << found;
  ADD_FAILURE() << "the plot has changed: look at " << left
                << " in a browser, and if that is intended, "
                << "copy it to " << path;
}

}  // namespace
}  // namespace ram
