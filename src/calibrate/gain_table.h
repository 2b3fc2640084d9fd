// Gains of error feedback in a study: one document per text, encoder and model.
#pragma once

#include <array>
#include <map>
#include <string>
#include <utility>

#include "ram/quant.h"
#include "ram/study.h"

namespace ram {

/// Error with feedback divided by error of plain rounding, by format; 0: not measured.
using GainRatios = std::array<double, kFormatCount>;

/// Documents of kind "gains". docs/formats/study.md has their text.
class GainTable {
 public:
  /// @param study outlives the object.
  /// @param key everything that the ratios depend on besides the unit.
  GainTable(Study& study, std::string key) : study_(study), key_(std::move(key)) {}

  /// Ratios by unit name. A damaged line is omitted, so that its unit is measured again.
  std::map<std::string, GainRatios> find();
  /// Adds to the stored gains, including those that other programs stored for other units.
  /// @throws Error{kWriteFailed} as Study::change_document.
  void put(const std::map<std::string, GainRatios>& gains);

 private:
  Study& study_;
  std::string key_;
};

}  // namespace ram
