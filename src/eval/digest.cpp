// Identifies a model folder by its content, and describes it for the study.
#include <map>
#include <optional>
#include <system_error>
#include <vector>

#include <fmt/format.h>

#include "ram/cancellation.h"
#include "ram/curve_table.h"
#include "ram/error.h"
#include "ram/eval.h"
#include "ram/hash.h"
#include "ram/plan.h"
#include "ram/progress.h"
#include "ram/score_table.h"

namespace ram {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kBlock = int64_t{4} << 20;
constexpr int64_t kLargestTokenizer = int64_t{256} << 20;

std::string hash_file(const InputFile& file, int64_t done, int64_t total,
                      const ProgressFn& progress) {
  Hasher hasher;
  std::vector<std::byte> buffer(static_cast<size_t>(std::min(kBlock, file.size())));
  for (int64_t offset = 0; offset < file.size(); offset += kBlock) {
    check_interrupted();
    const int64_t size = std::min(kBlock, file.size() - offset);
    const std::span<std::byte> bytes = std::span(buffer).first(static_cast<size_t>(size));
    file.prefetch(offset + size, kBlock);
    file.read(offset, bytes);
    hasher.update(bytes);
    if (progress) progress({.phase = "hash", .done = done + offset, .total = total});
  }
  if (file_identity(file.path()) != file.identity()) {
    fail(Code::kCorrupt, "{}: changed while it was being read; run again when nothing writes to it",
         file.path().string());
  }
  return hasher.digest();
}

// For display: files that cannot be read are not counted, and are not an error. Only one folder is
// open at a time; one that fails is skipped, where a recursive iterator would end.
int64_t folder_bytes(const fs::path& folder) {
  int64_t bytes = 0;
  std::vector<fs::path> left = {folder};
  while (!left.empty()) {
    std::error_code failed;
    fs::directory_iterator entry(left.back(), failed);
    left.pop_back();
    for (; !failed && entry != fs::directory_iterator(); entry.increment(failed)) {
      std::error_code ignored;
      const std::string name = entry->path().lexically_relative(folder).generic_string();
      if (side_file(name) == SideFile::kClutter) continue;
      if (entry->is_regular_file(ignored)) {
        const uintmax_t size = entry->file_size(ignored);
        if (!ignored) bytes += static_cast<int64_t>(size);
      } else if (entry->is_directory(ignored) && !entry->is_symlink(ignored)) {
        left.push_back(entry->path());
      }
    }
  }
  return bytes;
}

}  // namespace

std::string model_digest(const Checkpoint& checkpoint, Study& study, const ProgressFn& progress) {
  std::map<std::string, std::string> hashes;
  int64_t total = 0;
  std::vector<const InputFile*> unknown;
  for (const InputFile& file : checkpoint.files) {
    const std::optional<std::string> known =
        FileHashTable(study).find(file.path(), file.identity());
    if (known) {
      hashes[file.path().filename().string()] = *known;
    } else {
      unknown.push_back(&file);
      total += file.size();
    }
  }
  int64_t done = 0;
  for (const InputFile* file : unknown) {
    const std::string hash = hash_file(*file, done, total, progress);
    FileHashTable(study).put(file->path(), file->identity(), hash);
    hashes[file->path().filename().string()] = hash;
    done += file->size();
  }
  const fs::path tokenizer = checkpoint.folder / "tokenizer.json";
  hashes["tokenizer.json"] = hash_text(read_text_file(tokenizer, kLargestTokenizer));
  hashes["config.json"] = hash_text(checkpoint.config_json);
  Hasher digest;
  for (const auto& [name, hash] : hashes) digest.update(fmt::format("{} {}\n", name, hash));
  return digest.digest();
}

void check_token_ids(std::span<const TokenRow> rows, const Checkpoint& checkpoint) {
  for (const TokenRow& row : rows) {
    for (const TokenId id : row) {
      if (id >= 0 && id < checkpoint.config.vocab) continue;
      fail(Code::kCorrupt,
           "{}: the text has token id {} of tokenizer.json, and the model's ids end at {}: the "
           "tokenizer belongs to another model, or the text needs a token that was added to it",
           checkpoint.folder.string(), id, checkpoint.config.vocab - 1);
    }
  }
}

EvaluatedModel evaluated_model(const Checkpoint& checkpoint, Study& study,
                               const ProgressFn& progress) {
  EvaluatedModel record{.digest = model_digest(checkpoint, study, progress),
                        .name = checkpoint.name,
                        .model_type = checkpoint.model_type,
                        .folder = fs::absolute(checkpoint.folder).lexically_normal().string(),
                        .bytes = folder_bytes(checkpoint.folder),
                        .bits_per_weight = 8.0 * static_cast<double>(checkpoint.bytes()) /
                                           static_cast<double>(checkpoint.weights())};
  EvaluatedModelTable(study).put(record);
  // For reports: how the folder was made.
  if (const auto text = plan_text(checkpoint.folder)) {
    study.put_document({.kind = "plan", .key = record.digest, .text = *text});
  }
  return record;
}

}  // namespace ram
