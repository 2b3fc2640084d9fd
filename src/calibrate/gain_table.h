// What error feedback gained, as a study keeps it: one document per text, encoder and model.
#pragma once

#include <array>
#include <map>
#include <string>
#include <utility>

#include "ram/quant.h"
#include "ram/study.h"

namespace ram {

/// Error with feedback over error of plain rounding, by format; 0: not measured.
using GainRatios = std::array<double, kFormatCount>;

/// Documents of kind "gains". docs/formats/study.md has their text.
class GainTable {
 public:
  /// @param study outlives the object.
  /// @param key   all that the ratios depend on besides the unit.
  GainTable(Study& study, std::string key) : study_(study), key_(std::move(key)) {}

  /// By the unit's name. A damaged line is left out, so that its unit is measured again.
  std::map<std::string, GainRatios> find();
  /// Adds to what is kept, by other programs too: they had other units.
  /// @throws Error{kWriteFailed} as Study::change_document.
  void put(const std::map<std::string, GainRatios>& gains);

 private:
  Study& study_;
  std::string key_;
};

}  // namespace ram
