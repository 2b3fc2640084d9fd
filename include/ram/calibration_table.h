// What calibration stores in a study: the texts that plans are calibrated on, and the effects of
// disturbances. docs/formats/study.md describes every column. Part of the module `calibrate`.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ram/study_table.h"

namespace ram {

/// A text that coefficients and moments are measured on.
struct CalibrationRecord {
  std::string fingerprint;  ///< of the model that it is for
  std::string spec;         ///< how it was made: "own rows 64 length 256 seed 42 rule 5"
  std::string digest;       ///< Hasher's, of the ids
  int64_t row_length = 0;
  std::vector<int32_t> ids;  ///< rows of row_length, one after another
  bool operator==(const CalibrationRecord&) const = default;
};

/// Table `calibration_text`.
class CalibrationTextTable {
 public:
  /// @param study outlives the object.
  explicit CalibrationTextTable(Study& study) : study_(study) {}

  /// A model's text with that specification; nothing if there is none.
  /// @throws Error{kCorrupt} damaged.
  std::optional<CalibrationRecord> find(const std::string& fingerprint, const std::string& spec);
  /// Replaces the text of that model and specification, unless this text is only a prefix of the
  /// stored one: another program may have written more rows of the same text.
  /// @throws Error{kWriteFailed} as Study::Transaction, or an older study.
  void put(const CalibrationRecord& text);

  /// @return bytes of a model's texts.
  int64_t bytes(const std::string& fingerprint);
  void remove(Study::Transaction& transaction, const std::string& fingerprint);

 private:
  Study& study_;
};

/// Identifies the effects of one disturbance on a text.
struct ProbeKey {
  std::string fingerprint;  ///< of the model
  std::string text;         ///< CalibrationRecord::digest
  std::string disturbance;  ///< "gaussian 0.08 seed 42 rule 2"
};
struct ProbeRow {
  std::string unit;
  int64_t seed = 0;
  int64_t row = 0;
  int64_t tokens = 0;
  double kl_sum = 0;  ///< KL(original || disturbed), nats, over the row's tokens
  bool operator==(const ProbeRow&) const = default;
};

/// Table `probe`.
class ProbeTable {
 public:
  /// @param study outlives the object.
  explicit ProbeTable(Study& study) : study_(study) {}

  /// All known effects of a disturbance, by unit, seed and row. @throws Error{kCorrupt} damaged.
  std::vector<ProbeRow> find(const ProbeKey& key);
  /// Keeps some rows: all of them or, on failure, none. @pre all numbers are finite.
  /// @throws Error{kWriteFailed} as Study::Transaction, or an older study.
  void put(const ProbeKey& key, std::span<const ProbeRow> rows);

  /// @return about the bytes of a model's probes.
  int64_t bytes(const std::string& fingerprint);
  void remove(Study::Transaction& transaction, const std::string& fingerprint);

 private:
  Study& study_;
};

}  // namespace ram
