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
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ram/dtype.h"
#include "ram/file.h"
#include "ram/quant.h"

namespace ram {

/// What names a measured matrix: content, not place. Two models that share a tensor share its
/// curve.
struct CurveKey {
  std::string tensor_hash;  ///< Hasher's digest of the whole source tensor
  std::string part;  ///< which part of it and its shape, as "rows 0+768 x 2048"; see curve.cpp
  DType source = DType::kBF16;
  DType dtype = DType::kBF16;
  Encoder encoder = Encoder::kMlx;
  auto operator<=>(const CurveKey&) const = default;
};

/// A curve: sums over one part, for the formats that its rows allow.
struct PartCurve {
  uint32_t formats = 0;  ///< bit i for kAffineFormats[i]
  Distortion distortion;
};

struct TensorRecord {
  std::string tensor;  ///< name in the file
  std::string hash;
};

struct ModelRecord {
  std::string fingerprint;
  std::string name;
  std::string model_type;
  std::string folder;
  int64_t weights = 0;
  int64_t bytes = 0;
  bool operator==(const ModelRecord&) const = default;
};

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
  /// @throws Error{kMissing} unreadable; {kCorrupt} no study, or damaged; {kUnsupported} made by a
  /// later
  ///         version; {kWriteFailed} it is missing and cannot be created.
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

  /// Hashes known for a file of exactly this identity (tensor name -> digest); empty if the file is
  /// new or changed. A file is known by its absolute path; symbolic links are not resolved.
  std::map<std::string, std::string> tensor_hashes(const std::filesystem::path& file,
                                                   const FileIdentity& identity);
  /// Hashes known for this path under any identity: what a changed file held before.
  std::map<std::string, std::string> stale_tensor_hashes(const std::filesystem::path& file);

  /// Curves that are known, of those asked for.
  std::map<CurveKey, PartCurve> curves(std::span<const CurveKey> keys);

  /// Keeps what was measured: all of it or, on failure, nothing. A tensor's hash replaces what was
  /// known of that name in this path, under whatever identity.
  /// @throws Error{kWriteFailed} disk full, or another writer held the study for longer than 60 s.
  void put(const std::filesystem::path& file, const FileIdentity& identity,
           std::span<const TensorRecord> tensors,
           std::span<const std::pair<CurveKey, PartCurve>> curves);

  /// Replaces the record of that fingerprint; writes nothing if it is the same.
  void put_model(const ModelRecord& model);
  /// By name, then fingerprint.
  std::vector<ModelRecord> models();

  /// The digest known for a whole file of exactly this identity; nothing if it is new or changed.
  std::optional<std::string> file_hash(const std::filesystem::path& file,
                                       const FileIdentity& identity);
  /// Replaces what was known of this path.
  void put_file_hash(const std::filesystem::path& file, const FileIdentity& identity,
                     const std::string& hash);

  /// Gives the room of removed rows back to the file system. @cost as much room again for a moment.
  void shrink();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ram
