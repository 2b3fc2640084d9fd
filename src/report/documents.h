// The texts that commands stored in the study; every field is checked when they are read.
#pragma once

#include <string>

#include "ram/error.h"
#include "ram/study.h"

#include "gather.h"

namespace ram {

/// @param study named in errors. @throws Error{kCorrupt}
ReportPlan read_plan_document(const StudyDocument& document, const std::string& study);

/// Throws an error that a document of a study is damaged. @param what is wrong with it.
[[noreturn]] void fail_damaged(const StudyDocument& document, const std::string& study,
                               const std::string& what);

/// A record of results.h. @param study named in errors. @throws Error{kCorrupt}
template <typename Record>
Record read_record(const StudyDocument& document, const std::string& study) {
  try {
    return Record::read(document);
  } catch (const Error& error) {
    fail_damaged(document, study, error.what());
  }
}

}  // namespace ram
