// A study on one page: quality against size, the plans, the rows, the tasks, and their provenance,
// as one self-contained HTML file. docs/report.md describes the page.
#pragma once

#include <cstdint>
#include <string>

#include "ram/study.h"

namespace ram {

struct ReportOptions {
  std::string model = {};  ///< name of the original; empty: that with the most compared models
  /// Name of the text's file, or the beginning of its digest; empty: the text on which the most
  /// models were compared.
  std::string text = {};
  std::string study = {};  ///< as typed, for the commands that the page names
  uint64_t seed = 42;      ///< of bootstrap intervals
  int threads = 1;
};

/// Reads the study alone: no model, no text, no network.
/// @return one HTML document, UTF-8. Plots are inline SVG; every table is included as CSV too.
/// @throws Error{kMissing} the study has nothing to show, or nothing about that model or text (says
///         what it has, or how to fill it); {kCorrupt} a damaged row or document; and what Study
///         throws.
std::string make_report(Study& study, const ReportOptions& options);

}  // namespace ram
