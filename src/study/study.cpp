// What was measured and built, and by whom; evaluations.cpp has the rest. docs/formats/study.md
// describes every column.
#include "ram/study.h"

#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <system_error>

#include "ram/error.h"
#include "ram/file.h"
#include "ram/machine.h"

#include "state.h"

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

int64_t now_ms() {
  const auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(since_epoch).count();
}

}  // namespace

std::string path_key(const fs::path& path) {
  std::error_code error;
  const fs::path absolute = fs::absolute(path, error);
  return (error ? path : absolute).lexically_normal().string();
}

Statement& bind_identity(Statement& statement, int first, const FileIdentity& identity) {
  return statement.bind(first, identity.size)
      .bind(first + 1, identity.mtime_ns)
      .bind(first + 2, identity.ctime_ns)
      .bind(first + 3, static_cast<int64_t>(identity.inode))
      .bind(first + 4, static_cast<int64_t>(identity.device));
}

Study::State::State(const std::filesystem::path& path)
    : database(path), version(prepare_schema(database)), opened_ms(now_ms()) {}

int64_t Study::State::run_in_transaction() {
  if (run != 0) return run;
  Statement insert(database,
                   "INSERT INTO run (program, started_ms, options, machine) VALUES (?, ?, ?, ?)");
  insert.bind(1, std::string_view("ram " RAM_VERSION))
      .bind(2, opened_ms)
      .bind(3, options)
      .bind(4, machine_name())
      .run();
  return sqlite3_last_insert_rowid(database.handle());
}

void Study::State::commit(Transaction& transaction, int64_t new_run) {
  Statement update(database, "UPDATE run SET last_write_ms = ? WHERE id = ?");
  update.bind(1, now_ms()).bind(2, new_run).run();
  transaction.commit();
  run = new_run;
}

namespace {

Statement& bind_key(Statement& statement, const CurveKey& key) {
  return statement.bind(1, key.tensor_hash)
      .bind(2, key.part)
      .bind(3, dtype_name(key.source))
      .bind(4, dtype_name(key.dtype))
      .bind(5, curve_encoder_name(key.encoder));
}

std::map<std::string, std::string> read_pairs(Statement& statement) {
  std::map<std::string, std::string> pairs;
  while (statement.step()) pairs.emplace(statement.text(0), statement.text(1));
  return pairs;
}

}  // namespace

int64_t Study::State::file_row(const std::string& path, const FileIdentity& identity) {
  Statement insert(database,
                   "INSERT OR IGNORE INTO file (path, size, mtime_ns, ctime_ns, inode, device) "
                   "VALUES (?, ?, ?, ?, ?, ?)");
  bind_identity(insert.bind(1, path), 2, identity).run();
  Statement find(database,
                 "SELECT id FROM file WHERE path = ? AND size = ? AND mtime_ns = ? AND "
                 "ctime_ns = ? AND inode = ? AND device = ?");
  RAM_CHECK(bind_identity(find.bind(1, path), 2, identity).step());
  const int64_t row = find.number(0);
  find.reset();
  return row;
}

void Study::State::put_tensors(const std::string& path, const FileIdentity& identity,
                               std::span<const TensorRecord> tensors, int64_t run_row) {
  const int64_t file = file_row(path, identity);
  Statement insert(database,
                   "INSERT OR REPLACE INTO tensor (file, name, hash, run) VALUES (?, ?, ?, ?)");
  // What an earlier file of this path held under the name is stale from now on.
  Statement forget(database,
                   "DELETE FROM tensor WHERE name = ? AND file IN "
                   "(SELECT id FROM file WHERE path = ? AND id <> ?)");
  for (const TensorRecord& record : tensors) {
    insert.bind(1, file).bind(2, record.tensor).bind(3, record.hash).bind(4, run_row).run();
    forget.bind(1, record.tensor).bind(2, path).bind(3, file).run();
  }
  Statement sweep(database,
                  "DELETE FROM file WHERE path = ? AND id <> ? AND NOT EXISTS "
                  "(SELECT 1 FROM tensor WHERE tensor.file = file.id)");
  sweep.bind(1, path).bind(2, file).run();
}

void Study::State::put_curves(std::span<const std::pair<CurveKey, PartCurve>> curves,
                              int64_t run_row) {
  Statement insert(database,
                   "INSERT OR REPLACE INTO curve "
                   "(tensor_hash, part, source, dtype, encoder, formats, sums, run) "
                   "VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
  for (const auto& [key, curve] : curves) {
    const SumsBlob sums = pack_sums(curve.distortion);
    bind_key(insert, key)
        .bind(6, static_cast<int64_t>(curve.formats))
        .bind(7, std::span<const std::byte>(sums))
        .bind(8, run_row)
        .run();
  }
}

Study::Study(const fs::path& path) : state_(std::make_unique<State>(path_key(path))) {}
Study::~Study() = default;
Study::Study(Study&&) noexcept = default;

const fs::path& Study::path() const {
  return state_->database.path();
}

void Study::set_options(std::string options) {
  state_->options = std::move(options);
  state_->run = 0;
}

std::map<std::string, std::string> Study::tensor_hashes(const fs::path& file,
                                                        const FileIdentity& identity) {
  Statement find(state_->database,
                 "SELECT tensor.name, tensor.hash FROM tensor JOIN file ON file.id = tensor.file "
                 "WHERE path = ? AND size = ? AND mtime_ns = ? AND ctime_ns = ? AND inode = ? AND "
                 "device = ?");
  find.bind(1, path_key(file));
  return read_pairs(bind_identity(find, 2, identity));
}

std::map<std::string, std::string> Study::stale_tensor_hashes(const fs::path& file) {
  Statement find(state_->database,
                 "SELECT tensor.name, tensor.hash FROM tensor JOIN file ON file.id = tensor.file "
                 "WHERE path = ? ORDER BY file.id DESC");
  return read_pairs(find.bind(1, path_key(file)));
}

std::map<CurveKey, PartCurve> Study::curves(std::span<const CurveKey> keys) {
  Statement find(state_->database,
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
  Transaction transaction(state_->database);
  const int64_t run = state_->run_in_transaction();
  if (!tensors.empty()) state_->put_tensors(path_key(file), identity, tensors, run);
  state_->put_curves(curves, run);
  state_->commit(transaction, run);
}

void Study::put_model(const ModelRecord& model) {
  const std::vector<ModelRecord> known = models();
  for (const ModelRecord& record : known) {
    if (record == model) return;  // a study that cannot be written still serves
  }
  Transaction transaction(state_->database);
  const int64_t run = state_->run_in_transaction();
  Statement insert(state_->database,
                   "INSERT OR REPLACE INTO model "
                   "(fingerprint, name, model_type, folder, weights, bytes, run) "
                   "VALUES (?, ?, ?, ?, ?, ?, ?)");
  insert.bind(1, model.fingerprint)
      .bind(2, model.name)
      .bind(3, model.model_type)
      .bind(4, model.folder)
      .bind(5, model.weights)
      .bind(6, model.bytes)
      .bind(7, run)
      .run();
  state_->commit(transaction, run);
}

std::vector<ModelRecord> Study::models() {
  Statement find(state_->database,
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

void Study::put_build(const BuildRecord& build) {
  Transaction transaction(state_->database);
  const int64_t run = state_->run_in_transaction();
  Statement forget(state_->database, "DELETE FROM build WHERE plan_hash = ?");
  forget.bind(1, build.plan_hash).run();
  Statement insert(state_->database,
                   "INSERT INTO build (plan_hash, fingerprint, run) VALUES (?, ?, ?)");
  insert.bind(1, build.plan_hash).bind(2, build.fingerprint).bind(3, run).run();
  Statement insert_file(state_->database,
                        "INSERT INTO build_file (plan_hash, name, hash) VALUES (?, ?, ?)");
  for (const auto& [name, hash] : build.file_hashes) {
    insert_file.bind(1, build.plan_hash).bind(2, name).bind(3, hash).run();
  }
  state_->commit(transaction, run);
}

std::optional<BuildRecord> Study::build(const std::string& plan_hash) {
  Statement find(state_->database, "SELECT fingerprint FROM build WHERE plan_hash = ?");
  if (!find.bind(1, plan_hash).step()) return std::nullopt;
  BuildRecord build{.fingerprint = find.text(0), .plan_hash = plan_hash, .file_hashes = {}};
  find.reset();
  Statement files(state_->database, "SELECT name, hash FROM build_file WHERE plan_hash = ?");
  build.file_hashes = read_pairs(files.bind(1, plan_hash));
  return build;
}

}  // namespace ram
