// Lookups in a family's constants.
#include "family.h"

#include <algorithm>

#include "ram/error.h"

namespace ram {

const Family* find_family(FamilyTable families, std::string_view model_type) {
  const auto found = std::find_if(families.begin(), families.end(), [&](const Family* family) {
    return family->model_type == model_type;
  });
  return found == families.end() ? nullptr : *found;
}

std::vector<std::string_view> file_paths(const Family& family, std::string_view module) {
  std::vector<std::string_view> paths;
  for (const FileName& name : family.names) {
    if (name.module == module) paths.push_back(name.file);
  }
  paths.push_back(module);
  return paths;
}

std::vector<NamedSource> sources_of(const Family& family, const ModuleRow& row) {
  std::vector<NamedSource> sources;
  for (const Source& source : row.sources) {
    sources.push_back({std::string(source.name), source.steps});
  }
  if (!sources.empty()) return sources;
  for (const std::string_view path : file_paths(family, row.module)) {
    sources.push_back({std::string(path) + ".weight"});
  }
  return sources;
}

std::vector<std::string> weight_names(const Family& family, Role role) {
  RAM_CHECK(role == Role::kEmbedding || role == Role::kHead);
  std::vector<std::string> names;
  for (const ModuleRows& rows : role == Role::kEmbedding ? family.before : family.after) {
    for (const ModuleRow& row : rows) {
      if (row.role != role) continue;
      for (NamedSource& source : sources_of(family, row)) names.push_back(std::move(source.name));
    }
  }
  return names;
}

bool is_derived_tensor(std::string_view name) {
  // @source mlx_lm 0.32, models/llama.py, `sanitize`; older files keep such tables of sines as well
  return name.find(".rotary_emb.") != std::string_view::npos;
}

}  // namespace ram
