// The tables of calibration texts and probes.
#include "ram/calibration_table.h"

#include <cmath>
#include <cstddef>
#include <string_view>

#include "ram/error.h"

namespace ram {
namespace {

constexpr int64_t kVersion = 3;  // of the schema: the first that has the tables

int64_t number(Study& study, std::string_view sql, const std::string& fingerprint) {
  Study::Statement find(study, sql);
  return find.bind(fingerprint).step() ? find.number(0) : 0;
}

}  // namespace

std::optional<CalibrationRecord> CalibrationTextTable::find(const std::string& fingerprint,
                                                            const std::string& spec) {
  if (study_.version() < kVersion) return std::nullopt;
  Study::Statement find(
      study_,
      "SELECT digest, row_length, ids FROM calibration_text WHERE fingerprint = ? AND "
      "spec = ?");
  if (!find.bind(fingerprint, spec).step()) return std::nullopt;
  CalibrationRecord text{.fingerprint = fingerprint,
                         .spec = spec,
                         .digest = find.text(0),
                         .row_length = find.number(1),
                         .ids = unpack_blob<int32_t>(find.blob(2))};
  const bool whole = find.blob(2).size() % sizeof(int32_t) == 0;
  find.reset();
  if (!whole || text.row_length < 1 || std::ssize(text.ids) % text.row_length != 0) {
    fail(Code::kCorrupt, "study {}: damaged (calibration text '{}'); name another with --study",
         study_.path().string(), spec);
  }
  return text;
}

void CalibrationTextTable::put(const CalibrationRecord& text) {
  study_.require_version(kVersion);
  Study::Transaction transaction(study_);
  const int64_t run = transaction.run();
  Study::Statement insert(
      transaction,
      "INSERT INTO calibration_text "
      "(fingerprint, spec, digest, row_length, ids, run) VALUES (?, ?, ?, ?, ?, ?) "
      "ON CONFLICT (fingerprint, spec) DO UPDATE SET digest = excluded.digest, "
      "row_length = excluded.row_length, ids = excluded.ids, run = excluded.run "
      "WHERE length(excluded.ids) >= length(ids) OR "
      "substr(ids, 1, length(excluded.ids)) <> excluded.ids");
  insert
      .bind(text.fingerprint, text.spec, text.digest, text.row_length, pack_blob<int32_t>(text.ids),
            run)
      .run();
  transaction.commit();
}

int64_t CalibrationTextTable::bytes(const std::string& fingerprint) {
  if (study_.version() < kVersion) return 0;
  return number(study_,
                "SELECT coalesce(sum(length(ids)), 0) FROM calibration_text WHERE fingerprint = ?",
                fingerprint);
}

void CalibrationTextTable::remove(Study::Transaction& transaction, const std::string& fingerprint) {
  Study::Statement(transaction, "DELETE FROM calibration_text WHERE fingerprint = ?")
      .bind(fingerprint)
      .run();
}

std::vector<ProbeRow> ProbeTable::find(const ProbeKey& key) {
  std::vector<ProbeRow> rows;
  if (study_.version() < kVersion) return rows;
  Study::Statement find(
      study_,
      "SELECT unit, seed, row, tokens, kl_sum FROM probe WHERE fingerprint = ? AND "
      "text = ? AND disturbance = ? ORDER BY unit, seed, row");
  find.bind(key.fingerprint, key.text, key.disturbance);
  while (find.step()) {
    rows.push_back({.unit = find.text(0),
                    .seed = find.number(1),
                    .row = find.number(2),
                    .tokens = find.number(3),
                    .kl_sum = find.real(4)});
    const ProbeRow& row = rows.back();
    if (row.tokens < 1 || !std::isfinite(row.kl_sum) || row.kl_sum < 0) {
      fail(Code::kCorrupt, "study {}: damaged (probe of {}, row {}); name another with --study",
           study_.path().string(), row.unit, row.row);
    }
  }
  return rows;
}

void ProbeTable::put(const ProbeKey& key, std::span<const ProbeRow> rows) {
  study_.require_version(kVersion);
  Study::Transaction transaction(study_);
  const int64_t run = transaction.run();
  Study::Statement insert(
      transaction,
      "INSERT OR REPLACE INTO probe (fingerprint, text, disturbance, unit, seed, row, "
      "tokens, kl_sum, run) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");
  for (const ProbeRow& row : rows) {
    RAM_CHECK(std::isfinite(row.kl_sum));
    insert
        .bind(key.fingerprint, key.text, key.disturbance, row.unit, row.seed, row.row, row.tokens,
              row.kl_sum, run)
        .run();
  }
  transaction.commit();
}

int64_t ProbeTable::bytes(const std::string& fingerprint) {
  if (study_.version() < kVersion) return 0;
  return number(study_,
                "SELECT coalesce(sum(length(unit) + 120), 0) FROM probe WHERE fingerprint = ?",
                fingerprint);
}

void ProbeTable::remove(Study::Transaction& transaction, const std::string& fingerprint) {
  Study::Statement(transaction, "DELETE FROM probe WHERE fingerprint = ?").bind(fingerprint).run();
}

}  // namespace ram
