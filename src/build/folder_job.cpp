// From a plan to formats and layout: see folder_job.h.
#include "folder_job.h"

#include <utility>

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

FolderLayout layout_for(const Checkpoint& checkpoint, const Plan& plan, int64_t max_shard_bytes) {
  FolderLayout layout = layout_plan(checkpoint, plan);
  if (max_shard_bytes == kMaxShardBytes) return layout;
  FolderLayout cut =
      layout_folder(checkpoint, formats_of_plan(checkpoint, plan), plan.dtype, max_shard_bytes);
  layout.shards = std::move(cut.shards);
  for (RenderedFile& own : layout.rendered) {
    for (const RenderedFile& file : cut.rendered) {
      if (file.name == own.name) own.text = file.text;
    }
  }
  return layout;
}

}  // namespace ram
