// Which folders were written, and the hashes of their files, as a study keeps them.
// docs/formats/study.md describes every column. Part of the module `build`.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "ram/study_table.h"

namespace ram {

/// A finished output folder: what verify compares it with when the source is not available.
struct BuildRecord {
  std::string fingerprint;                         ///< of the source
  std::string plan_hash;                           ///< Hasher's digest of plan.json's text
  std::map<std::string, std::string> file_hashes;  ///< file name -> digest
  bool operator==(const BuildRecord&) const = default;
};

/// Tables `build` and `build_file`.
class BuildTable {
 public:
  /// @param study outlives the object.
  explicit BuildTable(Study& study) : study_(study) {}

  std::optional<BuildRecord> find(const std::string& plan_hash);
  /// Replaces the record of that plan. @throws Error{kWriteFailed} as Study::Transaction.
  void put(const BuildRecord& build);

  /// @return how many folders of a source are known.
  int64_t count(const std::string& fingerprint);
  void remove(Study::Transaction& transaction, const std::string& fingerprint);

 private:
  Study& study_;
};

}  // namespace ram
