// What a model folder is, by content.
#include <map>
#include <vector>

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/eval.h"
#include "ram/hash.h"

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
    if (progress) progress({.phase = "hash", .done_bytes = done + offset, .total_bytes = total});
  }
  if (file_identity(file.path()) != file.identity()) {
    fail(Code::kCorrupt, "{}: it changed while it was read; run again when nobody writes to it",
         file.path().string());
  }
  return hasher.digest();
}

}  // namespace

std::string model_digest(const Checkpoint& checkpoint, Study& study, const ProgressFn& progress) {
  std::map<std::string, std::string> hashes;
  int64_t total = 0;
  std::vector<const InputFile*> unknown;
  for (const InputFile& file : checkpoint.files) {
    const std::optional<std::string> known = study.file_hash(file.path(), file.identity());
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
    study.put_file_hash(file->path(), file->identity(), hash);
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

}  // namespace ram
