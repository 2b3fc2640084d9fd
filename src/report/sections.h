// The sections of the page, in their order. Each is HTML, and says what to run where it has no
// data.
#pragma once

#include <string>

#include "gather.h"

namespace ram {

std::string verdict_section(const ReportData& data);
std::string quality_section(const ReportData& data);
std::string plan_section(const ReportData& data);
std::string curves_section(const ReportData& data);
std::string rows_section(const ReportData& data);
/// Empty where no sizes were measured.
std::string measured_section(const ReportData& data);
/// Empty where feedback was not tried.
std::string feedback_section(const ReportData& data);
/// Empty where no noise was tried.
std::string noise_section(const ReportData& data);
std::string tasks_section(const ReportData& data);
std::string provenance_section(const ReportData& data);

/// A share as a change in percent of perplexity, of a difference in nats.
double percent_of(double nats);
/// @return "2.999" for bytes on an axis in MB.
double megabytes(double bytes);
/// @return "ram compare ORIGINAL FOLDER... --text FILE" and the like, with --study where it is not
/// the default one.
std::string command_of(const ReportData& data, const std::string& command);
/// @return what the verdict of a task says, as half a sentence. @pre it has one.
std::string ladder_text(const ReportData& data, const ReportTask& task);

}  // namespace ram
