// Opens a model folder (config, headers, the table of units) and reads rows of it.
#include "ram/checkpoint.h"

#include <algorithm>
#include <array>
#include <memory>
#include <set>
#include <tuple>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ram/cancellation.h"
#include "ram/error.h"
#include "ram/json_tree.h"

#include "card.h"
#include "config.h"
#include "folder.h"
#include "foreign.h"
#include "json_text.h"
#include "open_checkpoint.h"
#include "side_files.h"
#include "table.h"

namespace ram {
namespace {

// @source the hub's largest config.json are below 1 MB
constexpr int64_t kMaxConfigBytes = int64_t{16} << 20;

// In the order of Role.
constexpr std::array<std::string_view, kRoleCount> kRoleNames = {
    "embedding", "attention", "mlp", "expert", "shared_expert", "router", "norm", "head", "other"};

/// Whether two tensors hold the same values. @cost reads both, up to the first difference.
bool same_values(const std::vector<InputFile>& files, const SourceTensor& a,
                 const SourceTensor& b) {
  if (a.info.shape != b.info.shape) return false;
  const bool same_dtype = a.info.dtype == b.info.dtype;
  if (!same_dtype && !(is_weight_dtype(a.info.dtype) && is_weight_dtype(b.info.dtype))) {
    return false;
  }
  constexpr int64_t kBlockBytes = int64_t{1} << 20;
  const auto block = [&](const SourceTensor& tensor, int64_t begin, int64_t size) {
    check_interrupted();
    std::vector<std::byte> bytes(static_cast<size_t>(size));
    files.at(static_cast<size_t>(tensor.file)).read(tensor.info.begin + begin, bytes);
    return bytes;
  };
  if (same_dtype) {
    for (int64_t at = 0; at < a.info.bytes(); at += kBlockBytes) {
      const int64_t size = std::min(kBlockBytes, a.info.bytes() - at);
      if (block(a, at, size) != block(b, at, size)) return false;
    }
    return true;
  }
  const auto floats = [&](const SourceTensor& tensor, int64_t begin, int64_t count) {
    const int64_t width = dtype_bytes(tensor.info.dtype);
    const std::vector<std::byte> bytes = block(tensor, begin * width, count * width);
    std::vector<float> values(static_cast<size_t>(count));
    to_f32(bytes.data(), tensor.info.dtype, count, values.data());
    return values;
  };
  constexpr int64_t kBlock = kBlockBytes / 4;
  for (int64_t at = 0; at < a.info.elements(); at += kBlock) {
    const int64_t count = std::min(kBlock, a.info.elements() - at);
    if (floats(a, at, count) != floats(b, at, count)) return false;
  }
  return true;
}

/// A git clone without LFS leaves such a file in place of a large one.
void refuse_pointer(const InputFile& file) {
  constexpr std::string_view kStart = "version https://git-lfs";
  constexpr int64_t kLargestPointer = 1024;
  if (file.size() < static_cast<int64_t>(kStart.size()) || file.size() > kLargestPointer) return;
  std::string start(kStart.size(), '\0');
  file.read(0, std::as_writable_bytes(std::span(start)));
  if (start != kStart) return;
  fail(Code::kMissing,
       "{} is a Git LFS pointer, not the file itself: fetch it with `git lfs pull` in {}",
       printable(file.path().filename().string()), file.path().parent_path().string());
}

/// All shards' tensors, sorted by name. A tensor may be in two files only if both agree.
std::vector<SourceTensor> read_headers(const std::vector<InputFile>& files,
                                       std::vector<std::string>& notes) {
  std::vector<SourceTensor> tensors;
  for (size_t i = 0; i < files.size(); ++i) {
    refuse_pointer(files[i]);
    for (TensorInfo& info : read_safetensors_header(files[i]).tensors) {
      tensors.push_back({std::move(info), static_cast<int>(i)});
    }
  }
  std::sort(tensors.begin(), tensors.end(), [](const SourceTensor& a, const SourceTensor& b) {
    return std::tie(a.info.name, a.file) < std::tie(b.info.name, b.file);
  });
  const auto file = [&](const SourceTensor& tensor) {
    return files.at(static_cast<size_t>(tensor.file)).path().filename().string();
  };
  std::vector<SourceTensor> kept;
  kept.reserve(tensors.size());
  int64_t twins = 0;
  for (SourceTensor& tensor : tensors) {
    if (kept.empty() || kept.back().info.name != tensor.info.name) {
      kept.push_back(std::move(tensor));
      continue;
    }
    if (!same_values(files, kept.back(), tensor)) {
      fail(Code::kCorrupt,
           "tensor {} is in both {} and {}, with different values: delete the file that does not "
           "belong to the model ({})",
           printable(tensor.info.name), file(kept.back()), file(tensor),
           files.front().path().parent_path().string());
    }
    if (twins++ == 0) {
      notes.push_back(fmt::format("tensor {} is in both {} and {}, with the same values",
                                  printable(tensor.info.name), file(kept.back()), file(tensor)));
    }
  }
  if (twins > 1) notes.back() += fmt::format("; so are {} more", twins - 1);
  return kept;
}

const SourceTensor* find_tensor(const std::vector<SourceTensor>& tensors, std::string_view name) {
  const auto at = std::lower_bound(
      tensors.begin(), tensors.end(), name,
      [](const SourceTensor& tensor, std::string_view key) { return tensor.info.name < key; });
  return at != tensors.end() && at->info.name == name ? &*at : nullptr;
}

/// The headers of the shards are authoritative, as for mlx_lm and transformers, which use only the
/// file names of the index. Its other claims are compared, and differences noted.
void compare_index(const ShardList& shards, const std::vector<SourceTensor>& tensors,
                   std::vector<std::string>& notes) {
  int64_t wrong = 0;
  for (const auto& [name, file] : shards.located) {
    const SourceTensor* tensor = find_tensor(tensors, name);
    if (tensor != nullptr && shards.files.at(static_cast<size_t>(tensor->file)) == file) continue;
    if (wrong++ > 0) continue;
    notes.push_back(fmt::format("the index says that {} has tensor {}, which {}", printable(file),
                                printable(name),
                                tensor == nullptr ? "no file has" : "another file has"));
  }
  if (wrong > 1) notes.back() += fmt::format("; it is wrong about {} more", wrong - 1);
}

/// The weight of the embedding or of the head, or null.
const SourceTensor* find_weight(const Family& family, Role role,
                                const std::vector<SourceTensor>& tensors) {
  for (const std::string& name : weight_names(family, role)) {
    const SourceTensor* tensor = find_tensor(tensors, name);
    if (tensor != nullptr) return tensor;
  }
  return nullptr;
}

/// config.json ties the head to the embedding, and the files hold a head: if it differs, the model
/// uses it, and config.json is wrong.
/// @source transformers 5.24, modeling_utils.py, `tie_weights`: unequal ones are not tied. mlx_lm
/// 0.32.2 drops the head, so config.json of the output says that it is not tied.
void settle_head(ParsedConfig& config, const std::vector<InputFile>& files,
                 const std::vector<SourceTensor>& tensors, std::vector<std::string>& notes) {
  const SourceTensor* head = find_weight(*config.family, Role::kHead, tensors);
  const SourceTensor* embedding = find_weight(*config.family, Role::kEmbedding, tensors);
  if (config.tied != true || head == nullptr || embedding == nullptr) return;
  if (config.stored.any()) {
    // A folder that only mlx_lm reads is interpreted as mlx_lm does.
    notes.push_back(
        fmt::format("tie_word_embeddings is true: {} is ignored, as by mlx_lm", head->info.name));
    return;
  }
  if (same_values(files, *head, *embedding)) {
    // mlx_lm cannot tie the head in some families; then the files' own head, which is equal, is
    // used.
    if (!config.family->may_be_tied) config.tied = false;
    return;
  }
  config.tied = false;
  notes.push_back(fmt::format(
      "tie_word_embeddings is true, and {} differs from {}: the head of the files is used, as by "
      "transformers 5, and a finished folder says that it is not tied",
      head->info.name, embedding->info.name));
}

/// Two keys of config.json name the dtype, and the files have their own.
std::optional<DType> settle_dtype(const ParsedConfig& config,
                                  const std::vector<SourceTensor>& tensors,
                                  std::vector<std::string>& notes) {
  if (config.dtypes.empty()) return std::nullopt;
  const SourceTensor* embedding = find_weight(*config.family, Role::kEmbedding, tensors);
  const std::optional<DType> stored =
      embedding != nullptr ? std::optional(embedding->info.dtype) : std::nullopt;
  DType chosen = config.dtypes.front();
  if (config.dtypes.size() > 1) {
    if (stored == config.dtypes.back()) chosen = config.dtypes.back();
    notes.push_back(fmt::format(
        "config.json says torch_dtype {} and dtype {}: {} is used; --dtype chooses another",
        weight_dtype_name(config.dtypes.front()), weight_dtype_name(config.dtypes.back()),
        weight_dtype_name(chosen)));
  } else if (!config.stored.any() && stored && *stored != chosen && chosen != DType::kF32 &&
             (stored == DType::kF16 || stored == DType::kBF16)) {
    notes.push_back(fmt::format(
        "config.json says {}, and the files hold {}: a finished folder is {}, as mlx_lm.convert "
        "makes it; --dtype chooses another",
        weight_dtype_name(chosen), weight_dtype_name(*stored), weight_dtype_name(chosen)));
  }
  return chosen;
}

/// Files read from elsewhere are noted: a stranger's folder may link to files that are not its own.
void note_links(const std::filesystem::path& folder, const std::vector<std::string>& names,
                std::vector<std::string>& notes) {
  int64_t count = 0;
  for (const std::string& name : names) {
    const std::filesystem::path real = linked_out(folder, name);
    if (real.empty() || count++ > 0) continue;
    notes.push_back(fmt::format("{} is a link out of the model's folder and is read at {}",
                                printable(name), printable(real.string())));
  }
  if (count > 1) notes.back() += fmt::format("; so are {} more files", count - 1);
}

/// Notes it if config.json itself, not a family's default, gives other ids.
void note_other_end(Checkpoint& checkpoint, const std::vector<int32_t>& ids) {
  const JsonTree config(parse_json(checkpoint.config_json, "config.json", kAsPython));
  const std::vector<int32_t> others = read_eos_ids(*config, "config.json");
  if (others.empty() || std::set(others.begin(), others.end()) == std::set(ids.begin(), ids.end()))
    return;
  checkpoint.notes.push_back(
      fmt::format("config.json ends a text at token {} and generation_config.json at {}: "
                  "generation_config.json is used, as by transformers and mlx_lm",
                  fmt::join(others, ", "), fmt::join(ids, ", ")));
}

/// The end of a text in generation_config.json takes precedence over config.json's. A damaged file
/// is not an error.
/// @source transformers 5.24, generation/utils.py; mlx_lm 0.32.2, utils.py, `load_config`
void prefer_generation_config(const std::filesystem::path& folder, Checkpoint& checkpoint) {
  const std::filesystem::path path = folder / "generation_config.json";
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return;
  const std::string file = path.string();
  try {
    const JsonTree json(parse_json(read_text_file(path, kMaxConfigBytes), file, kAsPython));
    if (!json->is_object()) fail(Code::kCorrupt, "not a JSON object ({})", file);
    std::vector<int32_t> ids = read_eos_ids(*json, file);
    if (ids.empty()) return;
    note_other_end(checkpoint, ids);
    checkpoint.config.eos_ids = std::move(ids);
  } catch (const Error& damage) {
    checkpoint.notes.push_back(fmt::format(
        "generation_config.json is ignored, and config.json's end of a text is used: {}",
        damage.what()));
  }
}

void note_file(Checkpoint& checkpoint, const std::filesystem::path& path) {
  for (const auto& [known, identity] : checkpoint.other_files) {
    if (known == path) return;
  }
  checkpoint.other_files.emplace_back(path, file_identity(path));
}

/// The files of fixed names, before any is read. README.md and the index are not included: they are
/// read once, when the model is opened, and the weights do not depend on them.
void note_files(Checkpoint& checkpoint) {
  for (const char* name : {"config.json", "generation_config.json"}) {
    std::error_code error;
    const std::filesystem::path path = checkpoint.folder / name;
    if (std::filesystem::is_regular_file(path, error)) note_file(checkpoint, path);
  }
}

/// A chmod or a new hard link counts as a change: they change only ctime, and so does a copy over
/// the file that resets mtime (cp -p, rsync -t). Hashing again would take as long as reading
/// everything.
void check_identity(const std::filesystem::path& path, const FileIdentity& opened) {
  std::error_code error;
  if (std::filesystem::exists(path, error) && file_identity(path) == opened) return;
  fail(Code::kCorrupt,
       "{}: changed while it was being read; run again when nothing writes to it any more",
       path.string());
}

}  // namespace

bool is_rows(const Part& part, int64_t cols) {
  return part.storage == StorageFormat::kPlain && part.below.empty() &&
         part.view.row_step == cols && part.view.col_step == 1 &&
         (cols == 0 || part.view.first % cols == 0);
}

std::vector<int> other_tensors(const Part& part) {
  std::vector<int> others = part.below;
  if (part.storage != StorageFormat::kPlain) others.push_back(part.scales);
  return others;
}

std::string_view role_name(Role role) {
  return kRoleNames.at(static_cast<size_t>(role));
}

std::optional<Role> parse_role(std::string_view name) {
  const auto at = std::find(kRoleNames.begin(), kRoleNames.end(), name);
  if (at == kRoleNames.end()) return std::nullopt;
  return static_cast<Role>(at - kRoleNames.begin());
}

std::vector<std::string> role_names() {
  std::vector<std::string> names;
  names.reserve(kRoleCount);
  for (int i = 0; i < kRoleCount; ++i) names.emplace_back(role_name(static_cast<Role>(i)));
  return names;
}

Checkpoint Checkpoint::open(const std::string& folder_or_id, Quantized quantized) {
  return open_checkpoint(folder_or_id, quantized, families());
}

Checkpoint open_checkpoint(const std::string& folder_or_id, Quantized quantized,
                           FamilyTable families) {
  const ModelFolder folder = find_model_folder(folder_or_id);
  const std::filesystem::path config_path = folder.path / "config.json";
  std::error_code error;
  const bool there = std::filesystem::exists(config_path, error);
  if (error) {
    fail(Code::kMissing, "cannot read {}: {}", printable(config_path.string()), error.message());
  }
  if (!there) fail_foreign_folder(folder, "config.json");
  Checkpoint checkpoint;
  checkpoint.name = folder.name;
  checkpoint.folder = folder.path;
  note_files(checkpoint);
  checkpoint.config_json = read_text_file(config_path, kMaxConfigBytes);
  ParsedConfig config =
      parse_config(checkpoint.config_json, config_path.string(), quantized, families);
  checkpoint.family = config.family;
  checkpoint.model_type = config.model.model_type;
  checkpoint.layers = static_cast<int>(config.model.layers.size());
  ShardList shards = find_shards(folder);
  checkpoint.files.reserve(shards.files.size());
  for (const std::string& file : shards.files) checkpoint.files.emplace_back(folder.path / file);
  checkpoint.notes = std::move(config.notes);
  std::move(shards.notes.begin(), shards.notes.end(), std::back_inserter(checkpoint.notes));
  std::vector<std::string> read = shards.files;
  read.emplace_back("config.json");
  note_links(folder.path, read, checkpoint.notes);
  checkpoint.tensors = read_headers(checkpoint.files, checkpoint.notes);
  compare_index(shards, checkpoint.tensors, checkpoint.notes);
  settle_head(config, checkpoint.files, checkpoint.tensors, checkpoint.notes);
  checkpoint.torch_dtype = settle_dtype(config, checkpoint.tensors, checkpoint.notes);

  UnitTable table = build_units(config, checkpoint.tensors,
                                {.folder = folder.path.string(),
                                 .fetch = folder.fetch,
                                 .located = std::move(shards.located)});
  checkpoint.units = std::move(table.units);
  checkpoint.dropped = std::move(table.dropped);
  checkpoint.tied_embeddings = table.tied;
  checkpoint.embedding = table.embedding;
  checkpoint.final_norm = table.final_norm;
  checkpoint.head = table.head;
  checkpoint.spelled_config = std::make_shared<const JsonTree>(std::exchange(config.spelled, {}));
  checkpoint.config = std::move(config.model);
  checkpoint.config.tied_head = table.tied;
  prefer_generation_config(folder.path, checkpoint);
  SideFiles side_files = find_side_files(folder.path, folder.fetch);
  checkpoint.carried_files = std::move(side_files.carried);
  std::move(side_files.notes.begin(), side_files.notes.end(), std::back_inserter(checkpoint.notes));
  for (const CarriedFile& file : checkpoint.carried_files) {
    note_file(checkpoint, folder.path / file.name);
  }
  checkpoint.card = read_card(folder.path);
  return checkpoint;
}

bool Checkpoint::has_tokenizer() const {
  return std::any_of(carried_files.begin(), carried_files.end(), [](const CarriedFile& file) {
    return file.name == "tokenizer.json" || file.name == "tokenizer.model" ||
           file.name == "vocab.json" || file.name.ends_with(".tiktoken");
  });
}

void Checkpoint::check_weights_unchanged() const {
  for (const InputFile& file : files) check_identity(file.path(), file.identity());
}

void Checkpoint::check_unchanged() const {
  check_weights_unchanged();
  for (const auto& [path, identity] : other_files) check_identity(path, identity);
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

bool Checkpoint::is_quantized() const {
  return std::any_of(units.begin(), units.end(),
                     [](const Unit& unit) { return unit.stored.has_value(); });
}

int64_t Checkpoint::stored_bytes(const Unit& unit) const {
  int64_t total = 0;
  std::set<int> others;  // a tensor may hold several parts
  for (const Part& part : unit.parts) {
    if (part.storage != StorageFormat::kPlain) {
      others.insert({part.tensor, part.scales});
    } else {
      total += unit.stored ? encoded_bytes(unit.rows, unit.cols, *unit.stored, unit.dtype)
                           : unit.part_weights() * dtype_bytes(unit.dtype);
    }
  }
  for (const Carried& carried : unit.carried) others.insert(carried.tensor);
  for (const int tensor : others) total += tensors.at(static_cast<size_t>(tensor)).info.bytes();
  return total;
}

int64_t Checkpoint::bytes() const {
  int64_t total = 0;
  for (const Unit& unit : units) total += stored_bytes(unit);
  return total;
}

}  // namespace ram
