// What was measured and built.
#include <array>
#include <bit>
#include <cstddef>
#include <filesystem>
#include <system_error>

#include "ram/error.h"
#include "ram/study_table.h"

#include "files.h"

namespace ram {
namespace {

namespace fs = std::filesystem;

// sum_squares, then squared_error of every format.
constexpr size_t kSums = 1 + kFormatCount;
using SumsBlob = std::array<std::byte, kSums * sizeof(uint64_t)>;

SumsBlob pack_sums(const Distortion& distortion) {
  SumsBlob blob;
  const auto store = [&blob](size_t index, double value) {
    const auto bits = std::bit_cast<uint64_t>(value);
    for (size_t i = 0; i < 8; ++i) blob[index * 8 + i] = static_cast<std::byte>(bits >> (8 * i));
  };
  store(0, distortion.sum_squares);
  for (size_t i = 0; i < kFormatCount; ++i) store(1 + i, distortion.squared_error[i]);
  return blob;
}

Distortion unpack_sums(std::span<const std::byte> blob) {
  const auto load = [blob](size_t index) {
    uint64_t bits = 0;
    for (size_t i = 0; i < 8; ++i) bits |= static_cast<uint64_t>(blob[index * 8 + i]) << (8 * i);
    return std::bit_cast<double>(bits);
  };
  Distortion distortion;
  distortion.sum_squares = load(0);
  for (size_t i = 0; i < kFormatCount; ++i) distortion.squared_error[i] = load(1 + i);
  return distortion;
}

/// How curves were measured. Search and feedback have none: they choose codes by what a matrix
/// multiplies, and plans take the curves of kMlx for them.
std::string_view curve_encoder_name(Encoder encoder) {
  RAM_CHECK(encoder == Encoder::kMlx || encoder == Encoder::kReference);
  return encoder == Encoder::kMlx ? "mlx" : "reference";
}

}  // namespace

std::string path_key(const fs::path& path) {
  std::error_code error;
  const fs::path absolute = fs::absolute(path, error);
  return (error ? path : absolute).lexically_normal().string();
}

Study::Statement& bind_identity(Study::Statement& statement, const FileIdentity& identity) {
  return statement.bind(identity.size, identity.mtime_ns, identity.ctime_ns,
                        static_cast<int64_t>(identity.inode),
                        static_cast<int64_t>(identity.device));
}

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

namespace {

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
  // What an earlier file of this path held under the name is stale from now on.
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
    const SumsBlob sums = pack_sums(curve.distortion);
    bind_key(insert, key)
        .bind(static_cast<int64_t>(curve.formats), std::span<const std::byte>(sums), run)
        .run();
  }
}

}  // namespace

std::map<std::string, std::string> Study::tensor_hashes(const fs::path& file,
                                                        const FileIdentity& identity) {
  Statement find(*this,
                 "SELECT tensor.name, tensor.hash FROM tensor JOIN file ON file.id = tensor.file "
                 "WHERE path = ? AND size = ? AND mtime_ns = ? AND ctime_ns = ? AND inode = ? AND "
                 "device = ?");
  find.bind(path_key(file));
  return read_pairs(bind_identity(find, identity));
}

std::map<std::string, std::string> Study::stale_tensor_hashes(const fs::path& file) {
  Statement find(*this,
                 "SELECT tensor.name, tensor.hash FROM tensor JOIN file ON file.id = tensor.file "
                 "WHERE path = ? ORDER BY file.id DESC");
  return read_pairs(find.bind(path_key(file)));
}

std::map<CurveKey, PartCurve> Study::curves(std::span<const CurveKey> keys) {
  Statement find(*this,
                 "SELECT formats, sums FROM curve WHERE tensor_hash = ? AND part = ? AND "
                 "source = ? AND dtype = ? AND encoder = ?");
  std::map<CurveKey, PartCurve> found;
  for (const CurveKey& key : keys) {
    if (!bind_key(find, key).step()) continue;
    const int64_t formats = find.number(0);
    const std::span<const std::byte> sums = find.blob(1);
    if (formats < 0 || formats >= int64_t{1} << kFormatCount || sums.size() != sizeof(SumsBlob)) {
      fail(Code::kCorrupt, "study {}: damaged (curve of {}); remove it to measure again",
           path().string(), key.tensor_hash);
    }
    found.emplace(key, PartCurve{static_cast<uint32_t>(formats), unpack_sums(sums)});
    find.reset();
  }
  return found;
}

void Study::put(const fs::path& file, const FileIdentity& identity,
                std::span<const TensorRecord> tensors,
                std::span<const std::pair<CurveKey, PartCurve>> curves) {
  if (tensors.empty() && curves.empty()) return;
  Transaction transaction(*this);
  if (!tensors.empty()) put_tensors(transaction, path_key(file), identity, tensors);
  put_curves(transaction, curves);
  transaction.commit();
}

void Study::put_model(const ModelRecord& model) {
  const std::vector<ModelRecord> known = models();
  for (const ModelRecord& record : known) {
    if (record == model) return;  // a study that cannot be written still serves
  }
  Transaction transaction(*this);
  const int64_t run = transaction.run();
  Statement insert(transaction,
                   "INSERT OR REPLACE INTO model "
                   "(fingerprint, name, model_type, folder, weights, bytes, run) "
                   "VALUES (?, ?, ?, ?, ?, ?, ?)");
  insert
      .bind(model.fingerprint, model.name, model.model_type, model.folder, model.weights,
            model.bytes, run)
      .run();
  transaction.commit();
}

std::vector<ModelRecord> Study::models() {
  Statement find(*this,
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

std::optional<std::string> Study::file_hash(const fs::path& file, const FileIdentity& identity) {
  if (version() < 2) return std::nullopt;
  Statement find(*this,
                 "SELECT hash FROM file_hash JOIN file ON file.id = file_hash.file WHERE path = ? "
                 "AND size = ? AND mtime_ns = ? AND ctime_ns = ? AND inode = ? AND device = ?");
  find.bind(path_key(file));
  if (!bind_identity(find, identity).step()) return std::nullopt;
  std::string hash = find.text(0);
  find.reset();
  return hash;
}

void Study::put_file_hash(const fs::path& file, const FileIdentity& identity,
                          const std::string& hash) {
  require_version(2);
  Transaction transaction(*this);
  const int64_t run = transaction.run();
  const std::string path = path_key(file);
  const int64_t row = file_row(transaction, path, identity);
  Statement forget(transaction,
                   "DELETE FROM file_hash WHERE file IN (SELECT id FROM file WHERE path = ?)");
  forget.bind(path).run();
  Statement insert(transaction, "INSERT INTO file_hash (file, hash, run) VALUES (?, ?, ?)");
  insert.bind(row, hash, run).run();
  transaction.commit();
}

}  // namespace ram
