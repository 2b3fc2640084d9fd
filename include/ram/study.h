// The study: one SQLite file for any number of models, in which work is kept as it is done.
//
// Study opens the file, records which programs wrote to it, and keeps texts. Measurements are in
// tables of the modules that write them (curve_table.h, score_table.h and others), by means of
// study_table.h. Hides SQLite, waiting for other programs, and the schema (docs/formats/study.md).
// WAL mode: several programs can read while one writes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace ram {

/// A text that a command wrote, for reports and other commands.
struct StudyDocument {
  std::string kind;  ///< of key and text: docs/formats/study.md, "document"
  std::string key;
  std::string text;
};

/// A program that wrote to the study.
struct RunRecord {
  std::string program;        ///< with its version
  int64_t started_ms = 0;     ///< when it opened the study
  std::string options;        ///< the command and its options
  std::string machine;        ///< empty: not known
  int64_t last_write_ms = 0;  ///< when it last wrote; 0: not known
};

/// One thread at a time; not to be used after a fork.
class Study {
 public:
  class Statement;    // study_table.h
  class Transaction;  // study_table.h

  /// Opens or creates a study; upgrades an older one. One that cannot be written is opened for
  /// reading.
  /// @param path empty: kept in memory, and lost with the object.
  /// @throws Error{kMissing} unreadable; {kCorrupt} not a study, or damaged; {kUnsupported} made by
  ///         a later version; {kWriteFailed} it is missing and cannot be created.
  explicit Study(const std::filesystem::path& path);
  ~Study();
  Study(Study&&) noexcept;

  const std::filesystem::path& path() const;

  /// Sets RunRecord::options for everything written from now on ("analyze --encoder mlx").
  void set_options(std::string options);
  /// Programs that wrote to the study, the first one first.
  std::vector<RunRecord> runs();

  /// @return the version of the file's schema: an older one only if the file cannot be written.
  int64_t version() const;
  /// @throws Error{kWriteFailed} the version is lower.
  void require_version(int64_t least) const;

  /// Replaces the text of that kind and key; writes nothing if it is the same.
  /// @throws as Transaction.
  void put_document(const StudyDocument& document);
  /// Replaces a text by the result of `change` on it (on an empty text if there is none),
  /// atomically: another program's changes are not lost.
  /// @throws as Transaction.
  void change_document(const std::string& kind, const std::string& key,
                       const std::function<std::string(const std::string& text)>& change);
  /// Ordered by key.
  std::vector<StudyDocument> documents(const std::string& kind);

  /// @return bytes of the texts whose key contains `name`, a digest.
  int64_t document_bytes(const std::string& name);
  void remove_documents(Transaction& transaction, const std::string& name);

  /// Returns the space of removed rows to the file system. @cost temporarily as much space again.
  void shrink();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ram
