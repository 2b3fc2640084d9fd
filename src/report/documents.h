// The texts that commands left in the study, read with every field checked.
#pragma once

#include <string>
#include <vector>

#include "ram/study.h"

#include "gather.h"

namespace ram {

/// @param study named in errors. @throws Error{kCorrupt} from all of these.
ReportPlan read_plan_document(const StudyDocument& document, const std::string& study);
ReportNoise read_noise_document(const StudyDocument& document, const std::string& study);
ReportFeedback read_gptq_document(const StudyDocument& document, const std::string& study);
ReportMeasuredSweep read_measured_sweep_document(const StudyDocument& document,
                                                 const std::string& study);
ReportSweep read_sweep_document(const StudyDocument& document, const std::string& study);
std::vector<ReportCurve> read_curves_document(const StudyDocument& document,
                                              const std::string& study);

}  // namespace ram
