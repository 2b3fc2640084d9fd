// The sections of the page, in order. Each is HTML; a section without data says what to run.
#pragma once

#include <string>

#include "gather.h"

namespace ram {

std::string verdict_section(const ReportData& data);
std::string quality_section(const ReportData& data);
std::string plan_section(const ReportData& data);
std::string curves_section(const ReportData& data);
std::string rows_section(const ReportData& data);
/// Empty if no sizes were measured.
std::string measured_section(const ReportData& data);
/// Empty if feedback was not measured.
std::string feedback_section(const ReportData& data);
/// Empty if no noise was measured.
std::string noise_section(const ReportData& data);
std::string tasks_section(const ReportData& data);
std::string provenance_section(const ReportData& data);

/// The change of perplexity, in percent, that a difference in nats means.
double percent_of(double nats);
/// @return "2.999" for bytes on an axis in MB.
double megabytes(double bytes);
/// @return a command such as "ram compare ORIGINAL FOLDER... --text FILE", with --study unless it
///         is the default one.
std::string command_of(const ReportData& data, const std::string& command);
/// @return the verdict of a task as half a sentence. @pre It has one.
std::string ladder_text(const ReportData& data, const ReportTask& task);

}  // namespace ram
