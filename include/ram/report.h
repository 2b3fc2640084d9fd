// A study on one page: quality against size, the plans, the rows, the tasks, and where all of it
// comes from, as one HTML file that needs nothing else. docs/report.md says what is on it.
#pragma once

#include <cstdint>
#include <string>

#include "ram/study.h"

namespace ram {

struct ReportOptions {
  std::string model = {};  ///< name of the original; empty: the one with the most compared models
  /// Name of the text's file, or the beginning of its digest; empty: the one that most models were
  /// compared on.
  std::string text = {};
  std::string study = {};  ///< as typed, for the commands that the page names
  uint64_t seed = 42;      ///< of bootstrap intervals
  int threads = 1;
};

/// Reads the study alone: no model, no text, no network.
/// @return one HTML document, UTF-8. Plots are inline SVG; every table is there as CSV too.
/// @throws Error{kMissing} the study holds nothing to show, or nothing of that model or text (says
///         what is there, or what would fill it); {kCorrupt} a damaged row or document; and what
///         Study throws.
std::string make_report(Study& study, const ReportOptions& options);

}  // namespace ram
