// The subject of a report, and the parts of gather.cpp that are in separate files.
#pragma once

#include <optional>
#include <set>
#include <string>

#include "gather.h"

namespace ram {

/// An original and, if any was scored, a text.
struct Subject {
  std::string original;              ///< digest; empty: there is none
  std::optional<EvaluationKey> key;  ///< of the original
  std::set<std::string> models;      ///< digests, the original's among them
};

/// Fills in the rows of the models, the values computed from them, and the noise floor.
/// @pre models and has_original are filled in.
void gather_rows(Study& study, const Subject& subject, ReportData& data);

/// Fills in the tasks that the models were asked, the latest rule of each, with their verdicts.
void gather_tasks(Study& study, const ReportOptions& options, ReportData& data);

}  // namespace ram
