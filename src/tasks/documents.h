// Data files of tasks: JSON lines, plain or gzip, and all their possible errors.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "ram/json_tree.h"

namespace ram {

/// The memory available for the questions of a run, unpacked.
class DataMemory {
 public:
  explicit DataMemory(int64_t bytes) : bytes_(bytes), left_(bytes) {}

  /// @throws Error{kUsage} not enough is left. @param file the file that needs it.
  void take(int64_t bytes, const std::string& file);
  int64_t left() const { return left_; }
  int64_t taken() const { return bytes_ - left_; }

 private:
  int64_t bytes_;
  int64_t left_;
};

/// One line of a data file. Returned values are checked; errors name file, line and field.
class Document {
 public:
  Document(JsonTree content, std::string file, int64_t line, int64_t index)
      : content_(std::move(content)), file_(std::move(file)), line_(line), index_(index) {}

  /// @throws Error{kCorrupt} from all of these: missing, or of another type.
  std::string text(const char* field) const;
  std::vector<std::string> texts(const char* field) const;
  /// An integer, or digits in a string.
  int64_t integer(const char* field) const;
  /// The document in a field.
  Document inner(const char* field) const;

  /// The text or integer of a field as text; `otherwise` if missing or null.
  std::string text_or(const char* field, std::string otherwise) const;

  int64_t index() const { return index_; }
  /// Equal for documents of equal content, and only for those.
  std::string identity() const { return content_->dump(); }
  [[noreturn]] void reject(const std::string& what) const;

 private:
  const nlohmann::json& at(const char* field) const;

  JsonTree content_;
  std::string file_;
  int64_t line_;
  int64_t index_;
};

struct DocumentFile {
  std::string path;
  std::string digest;  ///< of its unpacked bytes
  std::vector<Document> documents;
};

/// @throws Error{kMissing} unreadable; {kCorrupt} damaged, not JSON lines of objects, or no line;
/// {kUnsupported} parquet (with the command that converts it), or more than 1 GiB unpacked;
/// {kUsage} more than fits into `memory`.
/// @cost compressed data is unpacked piece by piece, so that too large a file is rejected early.
DocumentFile read_documents(const std::filesystem::path& path, DataMemory& memory);

/// @return `folder`/`stem` with .jsonl, .jsonl.gz, .json or .json.gz, whichever exists; an empty
/// path if none does.
std::filesystem::path find_documents(const std::filesystem::path& folder, std::string_view stem);

/// @throws Error{kMissing} with the command that makes the file, from parquet if that exists.
/// @param source arguments of datasets.load_dataset.
[[noreturn]] void fail_without(const std::filesystem::path& folder, std::string_view stem,
                               const char* source);

}  // namespace ram
