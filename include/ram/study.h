// The study: one SQLite file for any number of models, in which work is kept as it is done.
//
// A study opens the file, says who wrote, and keeps texts. What was measured is in tables of the
// modules that fill them (curve_table.h, score_table.h and others), by study_table.h. Hides SQLite,
// the wait for other programs and the schema (docs/formats/study.md). WAL: several programs can
// read while one writes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace ram {

/// A text that a command wrote: what a report shows, or a command looks up again.
struct StudyDocument {
  std::string kind;  ///< what the key and the text are: docs/formats/study.md, "document"
  std::string key;
  std::string text;
};

/// A program that wrote to the study.
struct RunRecord {
  std::string program;        ///< with its version
  int64_t started_ms = 0;     ///< that it opened the study
  std::string options;        ///< what it was asked to do
  std::string machine;        ///< empty: not known
  int64_t last_write_ms = 0;  ///< that it last kept something; 0: not known
};

/// One thread at a time; not to be used after a fork.
class Study {
 public:
  class Statement;    // study_table.h
  class Transaction;  // study_table.h

  /// Opens or creates; brings an older one up to date. One that cannot be written is opened for
  /// reading.
  /// @param path empty: kept in memory, and nowhere when the object goes.
  /// @throws Error{kMissing} unreadable; {kCorrupt} no study, or damaged; {kUnsupported} made by a
  ///         later version; {kWriteFailed} it is missing and cannot be created.
  explicit Study(const std::filesystem::path& path);
  ~Study();
  Study(Study&&) noexcept;

  const std::filesystem::path& path() const;

  /// Says what the work written from now on was asked to do ("analyze --encoder mlx").
  void set_options(std::string options);
  /// Programs that wrote to the study, the first one first.
  std::vector<RunRecord> runs();

  /// @return the version of the file's schema: an older one only where the file cannot be written.
  int64_t version() const;
  /// @throws Error{kWriteFailed} the version is less.
  void require_version(int64_t least) const;

  /// Replaces the text of that kind and key; writes nothing if it is the same. @throws as
  /// Transaction.
  void put_document(const StudyDocument& document);
  /// Replaces the text by what `change` makes of the one that is there (empty if there is none), in
  /// one step: what another program writes meanwhile is not lost. @throws as Transaction.
  void change_document(const std::string& kind, const std::string& key,
                       const std::function<std::string(const std::string& text)>& change);
  /// By key.
  std::vector<StudyDocument> documents(const std::string& kind);

  /// @return bytes of the texts whose key holds `name`, a digest.
  int64_t document_bytes(const std::string& name);
  void remove_documents(Transaction& transaction, const std::string& name);

  /// Gives the room of removed rows back to the file system. @cost as much room again for a moment.
  void shrink();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ram
