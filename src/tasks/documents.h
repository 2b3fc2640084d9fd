// Data files of tasks: JSON lines, plain or gzip, and everything that can be wrong with them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "ram/json_tree.h"

namespace ram {

/// The memory that the questions of a run may take, unpacked.
class DataMemory {
 public:
  explicit DataMemory(int64_t bytes) : bytes_(bytes), left_(bytes) {}

  /// @throws Error{kUsage} there is not so much left. @param file that it is needed for.
  void take(int64_t bytes, const std::string& file);
  int64_t left() const { return left_; }
  int64_t taken() const { return bytes_ - left_; }

 private:
  int64_t bytes_;
  int64_t left_;
};

/// One line of a data file. What it returns is checked; errors name file, line and field.
class Document {
 public:
  Document(JsonTree content, std::string file, int64_t line, int64_t index)
      : content_(std::move(content)), file_(std::move(file)), line_(line), index_(index) {}

  /// @throws Error{kCorrupt} from all of these: missing, or of another type.
  std::string text(const char* field) const;
  std::vector<std::string> texts(const char* field) const;
  /// An integer, or digits in a string.
  int64_t integer(const char* field) const;
  /// The document that a field holds.
  Document inner(const char* field) const;

  /// The text or integer of a field as text; `otherwise` where it is missing or null.
  std::string text_or(const char* field, std::string otherwise) const;

  int64_t index() const { return index_; }
  /// The same for documents of the same content, and for no others.
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
  std::string digest;  ///< of its bytes, unpacked
  std::vector<Document> documents;
};

/// @throws Error{kMissing} unreadable; {kCorrupt} damaged, not JSON lines of objects, or no line;
///         {kUnsupported} parquet (with the command that converts it), or more than 1 GiB unpacked;
///         {kUsage} more than `memory` holds.
/// @cost what is packed is unpacked a piece at a time, so that it is refused before it is held.
DocumentFile read_documents(const std::filesystem::path& path, DataMemory& memory);

/// @return `folder`/`stem` with .jsonl, .jsonl.gz, .json or .json.gz, whichever is there; an empty
/// path if none is.
std::filesystem::path find_documents(const std::filesystem::path& folder, std::string_view stem);

/// @throws Error{kMissing} with the command that makes the file, from parquet where that is there.
/// @param source arguments of datasets.load_dataset.
[[noreturn]] void fail_without(const std::filesystem::path& folder, std::string_view stem,
                               const char* source);

}  // namespace ram
