// Reading a folder and checking it against its own plan: see folder_view.h.
#include "folder_view.h"

#include <array>
#include <cmath>
#include <set>
#include <system_error>

#include "ram/error.h"
#include "ram/json.h"
#include "ram/json_tree.h"

#include "walk.h"

namespace ram {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

// The largest of these files, the index of a model of 20,000 tensors, takes 3 MB.
constexpr int64_t kMaxJsonBytes = int64_t{256} << 20;
constexpr const char* kIndexName = "model.safetensors.index.json";

void list_files(FolderView& view, Problems& problems) {
  std::error_code error;
  if (!fs::is_directory(view.out, error)) {
    fail(Code::kMissing, "{} is not a folder: give the folder that ram wrote", view.out.string());
  }
  visit_files(view.out, [&](const std::string& name, const fs::directory_entry& entry) {
    if (!entry.is_regular_file(error)) {  // a link to a file, as in a cache, counts as one
      problems.add("{}: not a regular file", name);
      return;
    }
    const auto size = static_cast<int64_t>(entry.file_size());
    view.files[name] = size;
    view.total_bytes += size;
  });
}

/// Runs an action and turns the faults that it finds into problems. A failure to read is an error,
/// not a problem: a file that this user may not read says nothing about the folder.
template <typename Action>
void noting(Problems& problems, const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    const bool found = error.code() == Code::kCorrupt || error.code() == Code::kUnsupported ||
                       error.code() == Code::kUsage;
    if (!found) throw;
    problems.add("{}", error.what());
  }
}

void read_plan_file(FolderView& view, Problems& problems) {
  if (!view.files.contains("plan.json")) {
    problems.add("plan.json: missing; without it a folder cannot be checked");
    return;
  }
  noting(problems, [&] {
    view.plan_text = read_text_file(view.out / "plan.json", kMaxJsonBytes);
    view.plan = parse_plan(view.plan_text, "plan.json");
  });
}

std::optional<JsonTree> read_json(const FolderView& view, const std::string& name,
                                  Problems& problems) {
  if (!view.files.contains(name)) {
    problems.add("{}: missing", name);
    return std::nullopt;
  }
  std::optional<JsonTree> json;
  noting(problems, [&] {
    json.emplace(
        parse_json(read_text_file(view.out / name, kMaxJsonBytes), name, {.non_finite = true}));
  });
  if (!json) return std::nullopt;
  if (!(*json)->is_object()) {
    problems.add("{}: not a JSON object", name);
    return std::nullopt;
  }
  return json;
}

void read_shard(FolderView& view, const std::string& name, Problems& problems) {
  noting(problems, [&] {
    InputFile file(view.out / name);
    const SafetensorsHeader header = read_safetensors_header(file);
    const auto format = header.metadata.find("format");
    if (format == header.metadata.end() || format->second != "mlx") {
      problems.add("{}: metadata format is not \"mlx\"", name);
    }
    const InputFile& kept = view.shards.emplace_back(std::move(file));
    for (const TensorInfo& info : header.tensors) {
      if (!view.tensors.emplace(info.name, FoundTensor{info, &kept}).second) {
        problems.add("{}: tensor {} is also in another shard", name, info.name);
      }
    }
  });
}

void check_index(const FolderView& view, Problems& problems) {
  const std::optional<JsonTree> index = read_json(view, kIndexName, problems);
  if (!index) return;
  const auto entry = (*index)->find("weight_map");
  if (entry == (*index)->end() || !entry->is_object()) {
    return problems.add("{}: no weight_map", kIndexName);
  }
  const Json& map = *entry;
  for (const auto& [tensor, shard] : map.items()) {
    const std::string name = shard.is_string() ? shard.get<std::string>() : shard.dump();
    const FoundTensor* found = view.find(tensor);
    if (!view.files.contains(name)) {
      problems.add("{}: missing, but {} says that it contains {}", name, kIndexName, tensor);
    } else if (found == nullptr || found->file->path().filename() != name) {
      problems.add("{}: {} is not in {}", kIndexName, tensor, name);
    }
  }
  for (const auto& [tensor, found] : view.tensors) {
    if (!map.contains(tensor)) problems.add("{}: tensor {} is not listed", kIndexName, tensor);
  }
  int64_t bytes = 0;
  for (const auto& [tensor, found] : view.tensors) bytes += found.info.bytes();
  const Json metadata = (*index)->value("metadata", Json());
  if (!metadata.is_object() || metadata.value("total_size", Json()) != Json(bytes)) {
    problems.add("{}: total_size is not {}", kIndexName, bytes);
  }
}

bool check_one(const std::string& name, const FoundTensor* found, DType dtype,
               const std::vector<int64_t>& shape, Problems& problems) {
  if (found == nullptr) {
    problems.add("tensor {}: missing", name);
    return false;
  }
  const TensorInfo& info = found->info;
  if (info.dtype == dtype && info.shape == shape) return true;
  problems.add("tensor {}: {} {}, the plan says {} {}", name, dtype_name(info.dtype),
               shape_text(info.shape), dtype_name(dtype), shape_text(shape));
  return false;
}

/// @return the tensors of a unit in this format, if they match the format.
std::optional<FoundUnit> match_unit(const FolderView& view, const PlannedUnit& unit, DType dtype,
                                    Problems& problems) {
  FoundUnit found;
  std::string name = unit.name + ".weight";
  // Some modules are a bare parameter: the unit's name is then the tensor's.
  if (view.find(name) == nullptr && view.find(unit.name) != nullptr) name = unit.name;
  found.weight = view.find(name);
  if (found.weight == nullptr) {
    problems.add("tensor {}: missing", name);
    return std::nullopt;
  }
  const TensorInfo& info = found.weight->info;
  if (!unit.format) {
    if (!check_one(name, found.weight, dtype, info.shape, problems)) return std::nullopt;
    if (info.elements() == unit.weights) return found;
    problems.add("tensor {}: {} weights, the plan says {}", name, info.elements(), unit.weights);
    return std::nullopt;
  }
  const AffineFormat format = *unit.format;
  const int64_t words = info.shape.empty() ? 0 : info.shape.back();
  const int64_t cols = words * 32 / format.bits;
  if (info.dtype != DType::kU32 || words == 0 || words * 32 % format.bits != 0 ||
      cols % format.group_size != 0 || info.elements() / words * cols != unit.weights) {
    problems.add("tensor {}: {} {} is not {} weights at {}", name, dtype_name(info.dtype),
                 shape_text(info.shape), unit.weights, format_name(format));
    return std::nullopt;
  }
  std::vector<int64_t> groups = info.shape;
  groups.back() = cols / format.group_size;
  found.scales = view.find(unit.name + ".scales");
  found.biases = view.find(unit.name + ".biases");
  const bool scales = check_one(unit.name + ".scales", found.scales, dtype, groups, problems);
  const bool biases = check_one(unit.name + ".biases", found.biases, dtype, groups, problems);
  if (!scales || !biases) return std::nullopt;
  return found;
}

/// The format that mlx_lm will give a module. Problems with the entry itself are reported.
/// @source mlx_lm/utils.py, load_model: class_predicate
UnitFormat loaded_format(const Json& quantization, const std::string& name, bool has_scales,
                         Problems& problems) {
  const auto read = [&](const Json& entry) -> UnitFormat {
    const Json bits = entry.value("bits", Json());
    const Json group = entry.value("group_size", Json());
    if (!bits.is_number_integer() || !group.is_number_integer()) return std::nullopt;
    return AffineFormat{.bits = bits.get<int>(), .group_size = group.get<int>()};
  };
  const auto entry = quantization.find(name);
  if (entry == quantization.end()) return has_scales ? read(quantization) : std::nullopt;
  if (entry->is_boolean()) return entry->get<bool>() ? read(quantization) : std::nullopt;
  if (!entry->is_object() || entry->size() != 3 || entry->value("mode", Json()) != "affine") {
    problems.add("config.json: quantization of {}: expected group_size, bits and mode affine",
                 name);
    return std::nullopt;
  }
  return read(*entry);
}

std::string format_text(const UnitFormat& format) {
  return format ? fmt::format("{}:{}", format->bits, format->group_size) : "unquantized";
}

}  // namespace

FolderView read_folder(const fs::path& out, Problems& problems) {
  FolderView view;
  view.out = out;
  list_files(view, problems);
  read_plan_file(view, problems);
  for (const auto& [name, size] : view.files) {
    if (name.ends_with(".safetensors") && name.find('/') == std::string::npos) {
      read_shard(view, name, problems);
    }
  }
  check_index(view, problems);
  if (!view.files.contains("README.md")) problems.add("README.md: missing");
  return view;
}

std::vector<FoundUnit> check_tensors(const FolderView& view, Problems& problems) {
  std::map<std::string, size_t> units;
  for (size_t i = 0; i < view.plan->units.size(); ++i) units[view.plan->units[i].name] = i;
  std::vector<int64_t> bytes(view.plan->units.size());
  for (const auto& [name, found] : view.tensors) {
    // The unit is the longest prefix that ends at a dot, or the whole name.
    std::string prefix = name;
    while (!prefix.empty() && !units.contains(prefix)) {
      const size_t dot = prefix.rfind('.');
      prefix = dot == std::string::npos ? "" : prefix.substr(0, dot);
    }
    if (prefix.empty()) {
      problems.add("tensor {}: belongs to no unit of plan.json", name);
    } else {
      bytes[units[prefix]] += found.info.bytes();
    }
  }
  std::vector<FoundUnit> matched(bytes.size());
  for (size_t i = 0; i < bytes.size(); ++i) {
    const PlannedUnit& unit = view.plan->units[i];
    const auto found = match_unit(view, unit, view.plan->dtype, problems);
    if (!found) continue;
    if (bytes[i] != unit.bytes) {
      problems.add("unit {}: {} bytes, plan.json says {}", unit.name, bytes[i], unit.bytes);
    }
    matched[i] = *found;
  }
  return matched;
}

void check_config(const FolderView& view, Problems& problems) {
  const std::optional<JsonTree> config = read_json(view, "config.json", problems);
  if (!config) return;
  const JsonTree own((*config)->value("quantization", Json::object()));
  const JsonTree other((*config)->value("quantization_config", Json::object()));
  const Json& quantization = *own;
  if (!quantization.is_object()) return problems.add("config.json: quantization is not an object");
  if (*other != quantization) {
    problems.add("config.json: quantization_config differs from quantization");
  }
  std::set<std::string> known;
  for (const PlannedUnit& unit : view.plan->units) {
    known.insert(unit.name);
    const bool has_scales = view.find(unit.name + ".scales") != nullptr;
    const UnitFormat format = loaded_format(quantization, unit.name, has_scales, problems);
    if (format != unit.format) {
      problems.add("config.json: {} would be loaded as {}, plan.json says {}", unit.name,
                   format_text(format), format_text(unit.format));
    }
  }
  for (const auto& [key, value] : quantization.items()) {
    if ((value.is_object() || value.is_boolean()) && !known.contains(key)) {
      problems.add("config.json: quantization of {}, which is not a unit of plan.json", key);
    }
  }
}

void check_totals(const FolderView& view, Problems& problems) {
  const Plan& plan = *view.plan;
  if (view.total_bytes != plan.total_bytes) {
    problems.add("the files take {} bytes, plan.json says {}", view.total_bytes, plan.total_bytes);
  }
  if (plan.total_bytes > plan.budget_bytes) {
    problems.add("plan.json: total_bytes {} is above budget_bytes {}", plan.total_bytes,
                 plan.budget_bytes);
  }
  int64_t bytes = 0;
  for (const auto& [name, found] : view.tensors) bytes += found.info.bytes();
  if (bytes != plan.weight_bytes) {
    problems.add("the tensors take {} bytes, plan.json says {}", bytes, plan.weight_bytes);
  }
  // Versions of ram that wrote no digests laid the columns out differently: only the numbers of
  // their text can be checked.
  if (!plan.file_hashes.empty() && render_plan(plan) != view.plan_text) {
    problems.add("plan.json: edited since it was written");
  }
}

}  // namespace ram
