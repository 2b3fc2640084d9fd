// The tables of a study, version by version. docs/formats/study.md describes every column.
#include "schema.h"

#include "ram/error.h"
#include "ram/scoped.h"

namespace ram {
namespace {

constexpr int64_t kApplicationId = 0x52414d53;  // "RAMS"
constexpr int64_t kSchemaVersion = 5;

constexpr const char* kVersion1 = R"sql(
CREATE TABLE run (
  id INTEGER PRIMARY KEY, program TEXT NOT NULL, started_ms INTEGER NOT NULL, options TEXT NOT NULL);
CREATE TABLE file (
  id INTEGER PRIMARY KEY, path TEXT NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
  ctime_ns INTEGER NOT NULL, inode INTEGER NOT NULL, device INTEGER NOT NULL,
  UNIQUE (path, size, mtime_ns, ctime_ns, inode, device));
CREATE TABLE tensor (
  file INTEGER NOT NULL REFERENCES file (id) ON DELETE CASCADE, name TEXT NOT NULL,
  hash TEXT NOT NULL, run INTEGER NOT NULL REFERENCES run (id),
  PRIMARY KEY (file, name)) WITHOUT ROWID;
CREATE TABLE curve (
  tensor_hash TEXT NOT NULL, part TEXT NOT NULL, source TEXT NOT NULL, dtype TEXT NOT NULL,
  encoder TEXT NOT NULL, formats INTEGER NOT NULL, sums BLOB NOT NULL,
  run INTEGER NOT NULL REFERENCES run (id),
  PRIMARY KEY (tensor_hash, part, source, dtype, encoder)) WITHOUT ROWID;
CREATE TABLE model (
  fingerprint TEXT PRIMARY KEY, name TEXT NOT NULL, model_type TEXT NOT NULL, folder TEXT NOT NULL,
  weights INTEGER NOT NULL, bytes INTEGER NOT NULL, run INTEGER NOT NULL REFERENCES run (id)
  ) WITHOUT ROWID;
CREATE TABLE build (
  plan_hash TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, run INTEGER NOT NULL REFERENCES run (id)
  ) WITHOUT ROWID;
CREATE TABLE build_file (
  plan_hash TEXT NOT NULL REFERENCES build (plan_hash) ON DELETE CASCADE, name TEXT NOT NULL,
  hash TEXT NOT NULL, PRIMARY KEY (plan_hash, name)) WITHOUT ROWID;
)sql";

// Evaluations.
constexpr const char* kVersion2 = R"sql(
CREATE TABLE file_hash (
  file INTEGER PRIMARY KEY REFERENCES file (id) ON DELETE CASCADE, hash TEXT NOT NULL,
  run INTEGER NOT NULL REFERENCES run (id));
CREATE TABLE evaluated_model (
  digest TEXT PRIMARY KEY, name TEXT NOT NULL, model_type TEXT NOT NULL, folder TEXT NOT NULL,
  bytes INTEGER NOT NULL, bits_per_weight REAL NOT NULL, run INTEGER NOT NULL REFERENCES run (id)
  ) WITHOUT ROWID;
CREATE TABLE evaluation (
  id INTEGER PRIMARY KEY, model TEXT NOT NULL, precision TEXT NOT NULL, text TEXT NOT NULL,
  protocol TEXT NOT NULL, run INTEGER NOT NULL REFERENCES run (id),
  UNIQUE (model, precision, text, protocol));
CREATE TABLE evaluation_row (
  evaluation INTEGER NOT NULL REFERENCES evaluation (id) ON DELETE CASCADE, row INTEGER NOT NULL,
  tokens INTEGER NOT NULL, nll_sum REAL NOT NULL, run INTEGER NOT NULL REFERENCES run (id),
  PRIMARY KEY (evaluation, row)) WITHOUT ROWID;
CREATE TABLE divergence_row (
  reference INTEGER NOT NULL REFERENCES evaluation (id) ON DELETE CASCADE,
  model INTEGER NOT NULL REFERENCES evaluation (id) ON DELETE CASCADE, row INTEGER NOT NULL,
  same_top1 INTEGER NOT NULL, change_sum REAL NOT NULL, change_squares REAL NOT NULL,
  kl BLOB NOT NULL, run INTEGER NOT NULL REFERENCES run (id), UNIQUE (reference, model, row));
)sql";

// Calibration of plans.
constexpr const char* kVersion3 = R"sql(
CREATE TABLE calibration_text (
  fingerprint TEXT NOT NULL, spec TEXT NOT NULL, digest TEXT NOT NULL, row_length INTEGER NOT NULL,
  ids BLOB NOT NULL, run INTEGER NOT NULL REFERENCES run (id),
  PRIMARY KEY (fingerprint, spec)) WITHOUT ROWID;
CREATE TABLE probe (
  fingerprint TEXT NOT NULL, text TEXT NOT NULL, disturbance TEXT NOT NULL, unit TEXT NOT NULL,
  seed INTEGER NOT NULL, row INTEGER NOT NULL, tokens INTEGER NOT NULL, kl_sum REAL NOT NULL,
  run INTEGER NOT NULL REFERENCES run (id),
  PRIMARY KEY (fingerprint, text, disturbance, unit, seed, row)) WITHOUT ROWID;
)sql";

// Tasks, and other results for reports.
constexpr const char* kVersion4 = R"sql(
CREATE TABLE task (
  id INTEGER PRIMARY KEY, model TEXT NOT NULL, precision TEXT NOT NULL, task TEXT NOT NULL,
  data TEXT NOT NULL, protocol TEXT NOT NULL, metric TEXT NOT NULL, questions INTEGER NOT NULL,
  run INTEGER NOT NULL REFERENCES run (id), UNIQUE (model, precision, task, data, protocol));
CREATE TABLE task_answer (
  task INTEGER NOT NULL REFERENCES task (id) ON DELETE CASCADE, question INTEGER NOT NULL,
  subject TEXT NOT NULL, answer INTEGER NOT NULL, choice INTEGER NOT NULL,
  cut INTEGER NOT NULL, log_likelihoods BLOB NOT NULL, run INTEGER NOT NULL REFERENCES run (id),
  PRIMARY KEY (task, question)) WITHOUT ROWID;
CREATE TABLE document (
  kind TEXT NOT NULL, key TEXT NOT NULL, text TEXT NOT NULL,
  run INTEGER NOT NULL REFERENCES run (id), PRIMARY KEY (kind, key)) WITHOUT ROWID;
)sql";

// On which machine and how long programs ran.
constexpr const char* kVersion5 = R"sql(
ALTER TABLE run ADD COLUMN machine TEXT NOT NULL DEFAULT '';
ALTER TABLE run ADD COLUMN last_write_ms INTEGER NOT NULL DEFAULT 0;
)sql";

bool is_empty(Database& database) {
  return database.number("SELECT count(*) FROM sqlite_schema") == 0 &&
         database.number("PRAGMA application_id") == 0 &&
         database.number("PRAGMA user_version") == 0;
}

int64_t check_schema(Database& database) {
  const std::string path = database.path().string();
  if (database.number("PRAGMA application_id") != kApplicationId) {
    fail(Code::kCorrupt,
         "study {}: not a study but another program's SQLite file; name another with --study",
         path);
  }
  const int64_t version = database.number("PRAGMA user_version");
  if (version > kSchemaVersion) {
    fail(Code::kUnsupported,
         "study {}: made by a later version of ram (schema {}, this one reads up to {}); "
         "use that version, or name another study with --study",
         path, version, kSchemaVersion);
  }
  if (version < 1) fail(Code::kCorrupt, "study {}: damaged (schema version {})", path, version);
  return version;
}

void create_schema(Database& database) {
  if (database.read_only()) {
    fail(Code::kWriteFailed, "study {}: empty, and cannot be written; name another with --study",
         database.path().string());
  }
  // Before any table, and outside a transaction. If the file system does not support it, SQLite
  // keeps its rollback journal, and readers wait for writers.
  database.exec_patiently("PRAGMA journal_mode = WAL");
  database.begin();
  const AtScopeExit rollback([&] { database.rollback(); });
  if (!is_empty(database)) return;  // another program was faster
  database.exec(kVersion1);
  database.exec(kVersion2);
  database.exec(kVersion3);
  database.exec(kVersion4);
  database.exec(kVersion5);
  database.exec(fmt::format("PRAGMA application_id = {}", kApplicationId));
  database.exec(fmt::format("PRAGMA user_version = {}", kSchemaVersion));
  database.commit();
}

// One program upgrades; the others then see that it is done.
void upgrade(Database& database) {
  database.begin();
  const AtScopeExit rollback([&] { database.rollback(); });
  const int64_t version = check_schema(database);
  if (version < 2) database.exec(kVersion2);
  if (version < 3) database.exec(kVersion3);
  if (version < 4) database.exec(kVersion4);
  if (version < 5) database.exec(kVersion5);
  database.exec(fmt::format("PRAGMA user_version = {}", kSchemaVersion));
  database.commit();
}

}  // namespace

int64_t prepare_schema(Database& database) {
  if (is_empty(database)) create_schema(database);
  const int64_t version = check_schema(database);
  // FULL: there is at most one commit every few seconds, so its sync is cheap, and committed work
  // survives even a power cut.
  database.exec("PRAGMA synchronous = FULL");
  database.exec("PRAGMA foreign_keys = ON");
  if (version == kSchemaVersion || database.read_only()) return version;
  upgrade(database);
  return kSchemaVersion;
}

}  // namespace ram
