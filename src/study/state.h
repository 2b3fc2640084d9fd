// What the study's sources share: the connection, who writes, and how files are named.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>

#include "ram/study.h"

#include "schema.h"
#include "sqlite.h"

namespace ram {

struct Study::State {
  explicit State(const std::filesystem::path& path);

  /// The row that says which program wrote the others; made inside the first transaction.
  int64_t run_in_transaction();
  /// Also notes that this run worked until now.
  void commit(Transaction& transaction, int64_t new_run);

  /// The row of a file of exactly this identity, made if it is new.
  int64_t file_row(const std::string& path, const FileIdentity& identity);
  void put_tensors(const std::string& path, const FileIdentity& identity,
                   std::span<const TensorRecord> tensors, int64_t run_row);
  void put_curves(std::span<const std::pair<CurveKey, PartCurve>> curves, int64_t run_row);

  /// @return the row of an evaluation, or 0.
  int64_t find_evaluation(const EvaluationKey& key);
  int64_t make_evaluation(const EvaluationKey& key, int64_t run_row);
  /// @pre has_tasks(). @return the text of a document; nothing if there is none.
  std::optional<std::string> document(const std::string& kind, const std::string& key);
  /// @throws Error{kWriteFailed} an older study that could not be brought up to date.
  void require_version(int64_t least) const;
  bool has_evaluations() const { return version >= 2; }
  bool has_calibration() const { return version >= 3; }
  bool has_tasks() const { return version >= 4; }
  bool has_machines() const { return version >= 5; }

  Database database;
  int64_t version;  ///< of the schema
  int64_t opened_ms;
  std::string options;
  int64_t run = 0;  ///< 0: none yet
};

/// One spelling per file, so that the folder a program is started from does not matter.
std::string path_key(const std::filesystem::path& path);

/// Binds size, both times, inode and device to five parameters from `first` on.
Statement& bind_identity(Statement& statement, int first, const FileIdentity& identity);

}  // namespace ram
