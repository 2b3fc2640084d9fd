// What analysis stores in a study: the hashes of files and tensors, curves, models.
// docs/formats/study.md describes every column. Part of the module `curve`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "ram/dtype.h"
#include "ram/file.h"
#include "ram/quant.h"
#include "ram/study_table.h"

namespace ram {

/// Identifies a measured matrix by content, not by place: two models that share a tensor share its
/// curve.
struct CurveKey {
  std::string tensor_hash;  ///< Hasher's digest of the whole source tensor
  std::string part;         ///< which part of it, and its shape: "rows 0+768 x 2048"; see curve.cpp
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

/// Tables `file`, `tensor` and `curve`. A file is identified by its absolute path; symbolic links
/// are not resolved.
class CurveTable {
 public:
  /// @param study outlives the object.
  explicit CurveTable(Study& study) : study_(study) {}

  /// Hashes known for a file of exactly this identity (tensor name -> digest); empty if the file is
  /// new or changed.
  std::map<std::string, std::string> tensor_hashes(const std::filesystem::path& file,
                                                   const FileIdentity& identity);
  /// Hashes known for this path under any identity: the earlier contents of a changed file.
  std::map<std::string, std::string> stale_tensor_hashes(const std::filesystem::path& file);

  /// The known ones of the requested curves. @throws Error{kCorrupt} damaged.
  std::map<CurveKey, PartCurve> curves(std::span<const CurveKey> keys);

  /// Keeps hashes and curves: all of them or, on failure, none. A tensor's hash replaces the one
  /// known for that name in this path, under any identity.
  /// @throws Error{kWriteFailed} as Study::Transaction.
  void put(const std::filesystem::path& file, const FileIdentity& identity,
           std::span<const TensorRecord> tensors,
           std::span<const std::pair<CurveKey, PartCurve>> curves);

  /// @return about the bytes of the curves of a model's tensors, including those shared with other
  ///         models.
  /// @param folder of the model, absolute; files in another model's folder below it are not
  ///         counted.
  int64_t bytes(const std::string& folder);
  /// Removes the records of the files in a model's folder and of its copies elsewhere: files that
  /// contain one of its tensors and are in no known model's folder.
  void remove_files(Study::Transaction& transaction, const std::string& folder);
  /// Removes curves of tensors that no known file contains.
  void remove_unused(Study::Transaction& transaction);

 private:
  Study& study_;
};

/// Table `file_hash`: digests of whole files.
class FileHashTable {
 public:
  /// @param study outlives the object.
  explicit FileHashTable(Study& study) : study_(study) {}

  /// The digest known for a file of exactly this identity; nothing if it is new or changed.
  std::optional<std::string> find(const std::filesystem::path& file, const FileIdentity& identity);
  /// Replaces the digest known for this path. @throws Error{kWriteFailed} as Study::Transaction.
  void put(const std::filesystem::path& file, const FileIdentity& identity,
           const std::string& hash);

 private:
  Study& study_;
};

struct ModelRecord {
  std::string fingerprint;  ///< ModelCurves::fingerprint
  std::string name;
  std::string model_type;
  std::string folder;   ///< absolute; where it was last seen
  int64_t weights = 0;  ///< elements
  int64_t bytes = 0;    ///< as stored in the source
  bool operator==(const ModelRecord&) const = default;
};

/// Table `model`: the sources that were analyzed.
class ModelTable {
 public:
  /// @param study outlives the object.
  explicit ModelTable(Study& study) : study_(study) {}

  /// By name, then fingerprint.
  std::vector<ModelRecord> all();
  /// @return where the model of that fingerprint was last seen; empty if it is unknown.
  std::string folder_of(const std::string& fingerprint);
  /// Replaces the record of that fingerprint; writes nothing if it is the same.
  /// @throws Error{kWriteFailed} as Study::Transaction.
  void put(const ModelRecord& model);
  void remove(Study::Transaction& transaction, const std::string& fingerprint);

 private:
  Study& study_;
};

}  // namespace ram
