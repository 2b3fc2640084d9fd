// From a plan to formats: see folder_job.h.
#include "folder_job.h"

#include "ram/error.h"

namespace ram {

std::vector<UnitFormat> formats_of_plan(const Checkpoint& checkpoint, const Plan& plan) {
  RAM_CHECK(plan.units.size() == checkpoint.units.size());
  std::vector<UnitFormat> formats;
  for (size_t i = 0; i < plan.units.size(); ++i) {
    RAM_CHECK(plan.units[i].name == checkpoint.units[i].name);
    formats.push_back(plan.units[i].format);
  }
  return formats;
}

}  // namespace ram
