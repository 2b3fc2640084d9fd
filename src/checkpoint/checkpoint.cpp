// Opens a model folder: config, headers, the table of units; and reads rows of it.
#include "ram/checkpoint.h"

#include <algorithm>
#include <array>
#include <utility>

#include "ram/error.h"

#include "config.h"
#include "folder.h"
#include "json_text.h"
#include "table.h"

namespace ram {
namespace {

// @source the hub's largest config.json are below 1 MB
constexpr int64_t kMaxConfigBytes = int64_t{16} << 20;

// In the order of Role.
constexpr std::array<std::string_view, kRoleCount> kRoleNames = {
    "embedding", "attention", "mlp", "expert", "shared_expert", "router", "norm", "head", "other"};

/// All shards' tensors, sorted by name.
std::vector<SourceTensor> read_headers(const std::vector<InputFile>& files) {
  std::vector<SourceTensor> tensors;
  for (size_t i = 0; i < files.size(); ++i) {
    for (TensorInfo& info : read_safetensors_header(files[i]).tensors) {
      tensors.push_back({std::move(info), static_cast<int>(i)});
    }
  }
  std::sort(tensors.begin(), tensors.end(),
            [](const SourceTensor& a, const SourceTensor& b) { return a.info.name < b.info.name; });
  const auto twin = std::adjacent_find(
      tensors.begin(), tensors.end(),
      [](const SourceTensor& a, const SourceTensor& b) { return a.info.name == b.info.name; });
  if (twin != tensors.end()) {
    const auto file = [&](const SourceTensor& tensor) {
      return files.at(static_cast<size_t>(tensor.file)).path().filename().string();
    };
    fail(Code::kCorrupt, "tensor {} is in {} and in {}: one of them must go ({})",
         printable(twin->info.name), file(*twin), file(*(twin + 1)),
         files.front().path().parent_path().string());
  }
  return tensors;
}

/// Every tensor that the index names must be in the shard that it names.
void check_index(const ShardList& shards, const std::vector<SourceTensor>& tensors,
                 const ModelFolder& folder) {
  for (const auto& [name, file] : shards.located) {
    const auto at = std::lower_bound(
        tensors.begin(), tensors.end(), name,
        [](const SourceTensor& tensor, const std::string& key) { return tensor.info.name < key; });
    const bool there = at != tensors.end() && at->info.name == name &&
                       shards.files.at(static_cast<size_t>(at->file)) == file;
    if (there) continue;
    fail(Code::kMissing,
         "tensor {} is not in {}, where the index says it is: fetch the files again "
         "({})",
         printable(name), printable(file), folder.path.string());
  }
}

/// generation_config.json's end of a text wins over config.json's.
/// @source transformers 5.23, generation/utils.py; mlx_lm 0.32, utils.py, `load_config`
void prefer_generation_config(const std::filesystem::path& folder, ModelConfig& config) {
  const std::filesystem::path path = folder / "generation_config.json";
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return;
  const std::string file = path.string();
  const nlohmann::json json = parse_json(read_text_file(path, kMaxConfigBytes), file);
  if (!json.is_object()) fail(Code::kCorrupt, "no JSON object ({})", file);
  std::vector<int32_t> ids = read_eos_ids(json, file);
  if (!ids.empty()) config.eos_ids = std::move(ids);
}

int64_t element_bytes(const Unit& unit) {
  return dtype_bits(unit.dtype) / 8;
}

/// Of one row of a unit that is stored quantized.
int64_t code_row_bytes(const Unit& unit) {
  return unit.cols / 8 * unit.stored->bits;
}

int64_t scale_row_bytes(const Unit& unit) {
  return unit.cols / unit.stored->group_size * element_bytes(unit);
}

}  // namespace

std::string_view role_name(Role role) {
  return kRoleNames.at(static_cast<size_t>(role));
}

std::optional<Role> parse_role(std::string_view name) {
  const auto at = std::find(kRoleNames.begin(), kRoleNames.end(), name);
  if (at == kRoleNames.end()) return std::nullopt;
  return static_cast<Role>(at - kRoleNames.begin());
}

Checkpoint Checkpoint::open(const std::string& folder_or_id, Quantized quantized) {
  const ModelFolder folder = find_model_folder(folder_or_id);
  const std::filesystem::path config_path = folder.path / "config.json";
  std::error_code error;
  const bool there = std::filesystem::exists(config_path, error);
  if (error) fail(Code::kMissing, "cannot read {}: {}", config_path.string(), error.message());
  if (!there) {
    fail(Code::kMissing, "no config.json in {}: a model's folder has one{}", folder.path.string(),
         folder.fetch);
  }
  Checkpoint checkpoint;
  checkpoint.name = folder.name;
  checkpoint.folder = folder.path;
  checkpoint.config_json = read_text_file(config_path, kMaxConfigBytes);
  ParsedConfig config = parse_config(checkpoint.config_json, config_path.string(), quantized);
  checkpoint.model_type = config.model.model_type;
  checkpoint.layers = static_cast<int>(config.model.layers);
  checkpoint.torch_dtype = config.dtype;

  const ShardList shards = find_shards(folder);
  checkpoint.files.reserve(shards.files.size());
  for (const std::string& file : shards.files) checkpoint.files.emplace_back(folder.path / file);
  checkpoint.tensors = read_headers(checkpoint.files);
  check_index(shards, checkpoint.tensors, folder);

  UnitTable table = build_units(config, checkpoint.tensors, folder.path.string());
  checkpoint.units = std::move(table.units);
  checkpoint.dropped = std::move(table.dropped);
  checkpoint.tied_embeddings = table.tied;
  checkpoint.config = std::move(config.model);
  checkpoint.config.tied_head = table.tied;
  prefer_generation_config(folder.path, checkpoint.config);
  checkpoint.carried_files = find_carried_files(folder.path);
  checkpoint.licence = read_licence(folder.path);
  return checkpoint;
}

DType Checkpoint::default_dtype() const {
  return torch_dtype == DType::kF16 ? DType::kF16 : DType::kBF16;
}

int64_t Checkpoint::weights() const {
  int64_t total = 0;
  for (const Unit& unit : units) {
    total += unit.weights();
    for (const Carried& carried : unit.carried) {
      total += tensors.at(static_cast<size_t>(carried.tensor)).info.elements();
    }
  }
  return total;
}

int64_t Checkpoint::bytes() const {
  int64_t total = 0;
  for (const Unit& unit : units) {
    const auto parts = static_cast<int64_t>(unit.parts.size());
    total += unit.stored ? encoded_bytes(parts * unit.rows, unit.cols, *unit.stored, unit.dtype)
                         : unit.weights() * element_bytes(unit);
    for (const Carried& carried : unit.carried) {
      total += tensors.at(static_cast<size_t>(carried.tensor)).info.bytes();
    }
  }
  return total;
}

void Checkpoint::read_rows(const Unit& unit, int part, int64_t row, int64_t count,
                           std::byte* out) const {
  RAM_CHECK(!unit.stored);
  RAM_CHECK(row >= 0 && count >= 0 && row <= unit.rows - count);
  const Part& from = unit.parts.at(static_cast<size_t>(part));
  const int64_t row_bytes = unit.cols * element_bytes(unit);
  switch (from.reshape) {
    case Reshape::kRows:
      read_tensor(from.tensor, (from.first_row + row) * row_bytes,
                  {out, static_cast<size_t>(count * row_bytes)});
      return;
  }
  RAM_CHECK(false);
}

void Checkpoint::read_encoded_rows(const Unit& unit, int part, int64_t row, int64_t count,
                                   uint32_t* codes, std::byte* scales, std::byte* biases) const {
  RAM_CHECK(unit.stored);
  RAM_CHECK(row >= 0 && count >= 0 && row <= unit.rows - count);
  const Part& from = unit.parts.at(static_cast<size_t>(part));
  const int64_t first = from.first_row + row;
  const auto read = [&](int tensor, int64_t row_bytes, std::byte* out) {
    read_tensor(tensor, first * row_bytes, {out, static_cast<size_t>(count * row_bytes)});
  };
  read(from.tensor, code_row_bytes(unit), reinterpret_cast<std::byte*>(codes));
  read(from.scales, scale_row_bytes(unit), scales);
  read(from.biases, scale_row_bytes(unit), biases);
}

void Checkpoint::prefetch_rows(const Unit& unit, int part, int64_t row, int64_t count) const {
  const Part& from = unit.parts.at(static_cast<size_t>(part));
  const auto prefetch = [&](int index, int64_t row_bytes) {
    const SourceTensor& tensor = tensors.at(static_cast<size_t>(index));
    files.at(static_cast<size_t>(tensor.file))
        .prefetch(tensor.info.begin + (from.first_row + row) * row_bytes, count * row_bytes);
  };
  if (!unit.stored) return prefetch(from.tensor, unit.cols * element_bytes(unit));
  prefetch(from.tensor, code_row_bytes(unit));
  prefetch(from.scales, scale_row_bytes(unit));
  prefetch(from.biases, scale_row_bytes(unit));
}

void Checkpoint::read_tensor(int tensor, int64_t offset, std::span<std::byte> out) const {
  const SourceTensor& source = tensors.at(static_cast<size_t>(tensor));
  const auto size = static_cast<int64_t>(out.size());
  RAM_CHECK(offset >= 0 && offset <= source.info.bytes() - size);
  files.at(static_cast<size_t>(source.file)).read(source.info.begin + offset, out);
}

}  // namespace ram
