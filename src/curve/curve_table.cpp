// The tables of files, hashes, curves and models.
#include "ram/curve_table.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <string_view>
#include <system_error>

#include <fmt/format.h>

#include "ram/error.h"

namespace ram {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kFileHashVersion = 2;  // of the schema: the first with this table

// sum_squares, then squared_error of every format.
constexpr size_t kSums = 1 + kFormatCount;

std::vector<std::byte> pack_sums(const Distortion& distortion) {
  std::array<double, kSums> sums = {distortion.sum_squares};
  std::copy(distortion.squared_error.begin(), distortion.squared_error.end(), sums.begin() + 1);
  return pack_blob<double>(sums);
}

/// @return nothing for a blob of a different length.
std::optional<Distortion> unpack_sums(std::span<const std::byte> blob) {
  if (blob.size() != kSums * sizeof(double)) return std::nullopt;
  const std::vector<double> sums = unpack_blob<double>(blob);
  Distortion distortion;
  distortion.sum_squares = sums.front();
  std::copy(sums.begin() + 1, sums.end(), distortion.squared_error.begin());
  return distortion;
}

// Files of a model's folder (parameter 1); files in the folder of another model below it belong to
// that model.
constexpr std::string_view kFilesIn =
    "(path = ?1 OR substr(path, 1, length(?1) + 1) = ?1 || '/') AND NOT EXISTS (SELECT 1 FROM "
    "model AS other WHERE substr(other.folder, 1, length(?1) + 1) = ?1 || '/' AND substr(path, 1, "
    "length(other.folder) + 1) = other.folder || '/')";

/// The encoder name under which curves are stored. Search and feedback have no curves: they choose
/// codes by a matrix's inputs, and plans use the curves of kMlx for them.
std::string_view curve_encoder_name(Encoder encoder) {
  RAM_CHECK(encoder == Encoder::kMlx || encoder == Encoder::kSimulated);
  return encoder == Encoder::kMlx ? "mlx" : "reference";
}

/// One spelling per file, so that the working directory does not matter.
std::string path_key(const fs::path& path) {
  std::error_code error;
  const fs::path absolute = fs::absolute(path, error);
  return (error ? path : absolute).lexically_normal().string();
}

/// Binds size, both times, inode and device.
Study::Statement& bind_identity(Study::Statement& statement, const FileIdentity& identity) {
  return statement.bind(identity.size, identity.mtime_ns, identity.ctime_ns,
                        static_cast<int64_t>(identity.inode),
                        static_cast<int64_t>(identity.device));
}

/// @return the row of the file with exactly this identity, created if new.
int64_t file_row(Study::Transaction& transaction, const std::string& path,
                 const FileIdentity& identity) {
  Study::Statement insert(
      transaction,
      "INSERT OR IGNORE INTO file (path, size, mtime_ns, ctime_ns, inode, device) "
      "VALUES (?, ?, ?, ?, ?, ?)");
  bind_identity(insert.bind(path), identity).run();
  Study::Statement find(transaction,
                        "SELECT id FROM file WHERE path = ? AND size = ? AND mtime_ns = ? AND "
                        "ctime_ns = ? AND inode = ? AND device = ?");
  RAM_CHECK(bind_identity(find.bind(path), identity).step());
  const int64_t row = find.number(0);
  find.reset();
  return row;
}

Study::Statement& bind_key(Study::Statement& statement, const CurveKey& key) {
  return statement.bind(key.tensor_hash, key.part, dtype_name(key.source), dtype_name(key.dtype),
                        curve_encoder_name(key.encoder));
}

std::map<std::string, std::string> read_pairs(Study::Statement& statement) {
  std::map<std::string, std::string> pairs;
  while (statement.step()) pairs.emplace(statement.text(0), statement.text(1));
  return pairs;
}

void put_tensors(Study::Transaction& transaction, const std::string& path,
                 const FileIdentity& identity, std::span<const TensorRecord> tensors) {
  const int64_t run = transaction.run();
  const int64_t file = file_row(transaction, path, identity);
  Study::Statement insert(
      transaction, "INSERT OR REPLACE INTO tensor (file, name, hash, run) VALUES (?, ?, ?, ?)");
  // Entries of earlier files of this path under the same name are now stale.
  Study::Statement forget(transaction,
                          "DELETE FROM tensor WHERE name = ? AND file IN "
                          "(SELECT id FROM file WHERE path = ? AND id <> ?)");
  for (const TensorRecord& record : tensors) {
    insert.bind(file, record.tensor, record.hash, run).run();
    forget.bind(record.tensor, path, file).run();
  }
  Study::Statement sweep(transaction,
                         "DELETE FROM file WHERE path = ? AND id <> ? AND NOT EXISTS "
                         "(SELECT 1 FROM tensor WHERE tensor.file = file.id)");
  sweep.bind(path, file).run();
}

void put_curves(Study::Transaction& transaction,
                std::span<const std::pair<CurveKey, PartCurve>> curves) {
  const int64_t run = transaction.run();
  Study::Statement insert(transaction,
                          "INSERT OR REPLACE INTO curve "
                          "(tensor_hash, part, source, dtype, encoder, formats, sums, run) "
                          "VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
  for (const auto& [key, curve] : curves) {
    bind_key(insert, key)
        .bind(static_cast<int64_t>(curve.formats), pack_sums(curve.distortion), run)
        .run();
  }
}

}  // namespace

std::map<std::string, std::string> CurveTable::tensor_hashes(const fs::path& file,
                                                             const FileIdentity& identity) {
  Study::Statement find(
      study_,
      "SELECT tensor.name, tensor.hash FROM tensor JOIN file ON file.id = tensor.file "
      "WHERE path = ? AND size = ? AND mtime_ns = ? AND ctime_ns = ? AND inode = ? AND "
      "device = ?");
  find.bind(path_key(file));
  return read_pairs(bind_identity(find, identity));
}

std::map<std::string, std::string> CurveTable::stale_tensor_hashes(const fs::path& file) {
  Study::Statement find(
      study_,
      "SELECT tensor.name, tensor.hash FROM tensor JOIN file ON file.id = tensor.file "
      "WHERE path = ? ORDER BY file.id DESC");
  return read_pairs(find.bind(path_key(file)));
}

std::map<CurveKey, PartCurve> CurveTable::curves(std::span<const CurveKey> keys) {
  Study::Statement find(study_,
                        "SELECT formats, sums FROM curve WHERE tensor_hash = ? AND part = ? AND "
                        "source = ? AND dtype = ? AND encoder = ?");
  std::map<CurveKey, PartCurve> found;
  for (const CurveKey& key : keys) {
    if (!bind_key(find, key).step()) continue;
    const int64_t formats = find.number(0);
    const std::optional<Distortion> sums = unpack_sums(find.blob(1));
    if (formats < 0 || formats >= int64_t{1} << kFormatCount || !sums) {
      fail(Code::kCorrupt, "study {}: damaged (curve of {}); remove it to measure again",
           study_.path().string(), key.tensor_hash);
    }
    found.emplace(key, PartCurve{static_cast<uint32_t>(formats), *sums});
    find.reset();
  }
  return found;
}

void CurveTable::put(const fs::path& file, const FileIdentity& identity,
                     std::span<const TensorRecord> tensors,
                     std::span<const std::pair<CurveKey, PartCurve>> curves) {
  if (tensors.empty() && curves.empty()) return;
  Study::Transaction transaction(study_);
  if (!tensors.empty()) put_tensors(transaction, path_key(file), identity, tensors);
  put_curves(transaction, curves);
  transaction.commit();
}

int64_t CurveTable::bytes(const std::string& folder) {
  Study::Statement find(
      study_,
      fmt::format("SELECT coalesce(sum(length(part) + length(sums) + 64), 0) FROM curve WHERE "
                  "tensor_hash IN (SELECT hash FROM tensor JOIN file ON file.id = tensor.file "
                  "WHERE {})",
                  kFilesIn));
  return find.bind(folder).step() ? find.number(0) : 0;
}

void CurveTable::remove_files(Study::Transaction& transaction, const std::string& folder) {
  Study::Statement(transaction, "DROP TABLE IF EXISTS temp.gone").run();
  Study::Statement(transaction, "CREATE TEMP TABLE gone (hash TEXT PRIMARY KEY)").run();
  Study::Statement(transaction,
                   fmt::format("INSERT OR IGNORE INTO gone SELECT hash FROM tensor JOIN file ON "
                               "file.id = tensor.file WHERE {}",
                               kFilesIn))
      .bind(folder)
      .run();
  Study::Statement(transaction, fmt::format("DELETE FROM file WHERE {}", kFilesIn))
      .bind(folder)
      .run();
  Study::Statement(
      transaction,
      "DELETE FROM file WHERE id IN (SELECT file FROM tensor WHERE hash IN gone) AND NOT EXISTS "
      "(SELECT 1 FROM model WHERE substr(path, 1, length(folder) + 1) = folder || '/')")
      .run();
}

void CurveTable::remove_unused(Study::Transaction& transaction) {
  Study::Statement(transaction,
                   "DELETE FROM curve WHERE tensor_hash NOT IN (SELECT hash FROM tensor)")
      .run();
}

std::optional<std::string> FileHashTable::find(const fs::path& file, const FileIdentity& identity) {
  if (study_.version() < kFileHashVersion) return std::nullopt;
  Study::Statement find(
      study_,
      "SELECT hash FROM file_hash JOIN file ON file.id = file_hash.file WHERE path = ? "
      "AND size = ? AND mtime_ns = ? AND ctime_ns = ? AND inode = ? AND device = ?");
  find.bind(path_key(file));
  if (!bind_identity(find, identity).step()) return std::nullopt;
  std::string hash = find.text(0);
  find.reset();
  return hash;
}

void FileHashTable::put(const fs::path& file, const FileIdentity& identity,
                        const std::string& hash) {
  study_.require_version(kFileHashVersion);
  Study::Transaction transaction(study_);
  const int64_t run = transaction.run();
  const std::string path = path_key(file);
  const int64_t row = file_row(transaction, path, identity);
  Study::Statement forget(
      transaction, "DELETE FROM file_hash WHERE file IN (SELECT id FROM file WHERE path = ?)");
  forget.bind(path).run();
  Study::Statement insert(transaction, "INSERT INTO file_hash (file, hash, run) VALUES (?, ?, ?)");
  insert.bind(row, hash, run).run();
  transaction.commit();
}

void ModelTable::put(const ModelRecord& model) {
  const std::vector<ModelRecord> known = all();
  for (const ModelRecord& record : known) {
    if (record == model) return;  // works even if the study cannot be written
  }
  Study::Transaction transaction(study_);
  const int64_t run = transaction.run();
  Study::Statement insert(transaction,
                          "INSERT OR REPLACE INTO model "
                          "(fingerprint, name, model_type, folder, weights, bytes, run) "
                          "VALUES (?, ?, ?, ?, ?, ?, ?)");
  insert
      .bind(model.fingerprint, model.name, model.model_type, model.folder, model.weights,
            model.bytes, run)
      .run();
  transaction.commit();
}

std::vector<ModelRecord> ModelTable::all() {
  Study::Statement find(study_,
                        "SELECT fingerprint, name, model_type, folder, weights, bytes FROM model "
                        "ORDER BY name, fingerprint");
  std::vector<ModelRecord> models;
  while (find.step()) {
    models.push_back({.fingerprint = find.text(0),
                      .name = find.text(1),
                      .model_type = find.text(2),
                      .folder = find.text(3),
                      .weights = find.number(4),
                      .bytes = find.number(5)});
  }
  return models;
}

std::string ModelTable::folder_of(const std::string& fingerprint) {
  for (const ModelRecord& model : all()) {
    if (model.fingerprint == fingerprint) return model.folder;
  }
  return {};
}

void ModelTable::remove(Study::Transaction& transaction, const std::string& fingerprint) {
  Study::Statement(transaction, "DELETE FROM model WHERE fingerprint = ?").bind(fingerprint).run();
}

}  // namespace ram
