// The texts that plans are calibrated on, and what disturbing a unit did to the model's
// predictions.
#include <cmath>
#include <cstddef>

#include "ram/error.h"

#include "blob.h"
#include "state.h"

namespace ram {
std::optional<CalibrationRecord> Study::calibration_text(const std::string& fingerprint,
                                                         const std::string& spec) {
  if (!state_->has_calibration()) return std::nullopt;
  Statement find(state_->database,
                 "SELECT digest, row_length, ids FROM calibration_text WHERE fingerprint = ? AND "
                 "spec = ?");
  if (!find.bind(1, fingerprint).bind(2, spec).step()) return std::nullopt;
  CalibrationRecord text{.fingerprint = fingerprint,
                         .spec = spec,
                         .digest = find.text(0),
                         .row_length = find.number(1),
                         .ids = unpack_blob<int32_t>(find.blob(2))};
  const bool whole = find.blob(2).size() % sizeof(int32_t) == 0;
  find.reset();
  if (!whole || text.row_length < 1 || std::ssize(text.ids) % text.row_length != 0) {
    fail(Code::kCorrupt, "study {}: damaged (calibration text '{}'); name another with --study",
         state_->database.path().string(), spec);
  }
  return text;
}

void Study::put_calibration_text(const CalibrationRecord& text) {
  state_->require_version(3);
  Transaction transaction(state_->database);
  const int64_t run = state_->run_in_transaction();
  Statement insert(state_->database,
                   "INSERT INTO calibration_text "
                   "(fingerprint, spec, digest, row_length, ids, run) VALUES (?, ?, ?, ?, ?, ?) "
                   "ON CONFLICT (fingerprint, spec) DO UPDATE SET digest = excluded.digest, "
                   "row_length = excluded.row_length, ids = excluded.ids, run = excluded.run "
                   "WHERE length(excluded.ids) >= length(ids) OR "
                   "substr(ids, 1, length(excluded.ids)) <> excluded.ids");
  insert.bind(1, text.fingerprint)
      .bind(2, text.spec)
      .bind(3, text.digest)
      .bind(4, text.row_length)
      .bind(5, std::span<const std::byte>(pack_blob<int32_t>(text.ids)))
      .bind(6, run)
      .run();
  state_->commit(transaction, run);
}

std::vector<ProbeRow> Study::probes(const ProbeKey& key) {
  std::vector<ProbeRow> rows;
  if (!state_->has_calibration()) return rows;
  Statement find(state_->database,
                 "SELECT unit, seed, row, tokens, kl_sum FROM probe WHERE fingerprint = ? AND "
                 "text = ? AND disturbance = ? ORDER BY unit, seed, row");
  find.bind(1, key.fingerprint).bind(2, key.text).bind(3, key.disturbance);
  while (find.step()) {
    rows.push_back({.unit = find.text(0),
                    .seed = find.number(1),
                    .row = find.number(2),
                    .tokens = find.number(3),
                    .kl_sum = find.real(4)});
    const ProbeRow& row = rows.back();
    if (row.tokens < 1 || !std::isfinite(row.kl_sum) || row.kl_sum < 0) {
      fail(Code::kCorrupt, "study {}: damaged (probe of {}, row {}); name another with --study",
           state_->database.path().string(), row.unit, row.row);
    }
  }
  return rows;
}

void Study::put_probes(const ProbeKey& key, std::span<const ProbeRow> rows) {
  state_->require_version(3);
  Transaction transaction(state_->database);
  const int64_t run = state_->run_in_transaction();
  Statement insert(state_->database,
                   "INSERT OR REPLACE INTO probe (fingerprint, text, disturbance, unit, seed, row, "
                   "tokens, kl_sum, run) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");
  for (const ProbeRow& row : rows) {
    RAM_CHECK(std::isfinite(row.kl_sum));
    insert.bind(1, key.fingerprint)
        .bind(2, key.text)
        .bind(3, key.disturbance)
        .bind(4, row.unit)
        .bind(5, row.seed)
        .bind(6, row.row)
        .bind(7, row.tokens)
        .bind(8, row.kl_sum)
        .bind(9, run)
        .run();
  }
  state_->commit(transaction, run);
}

}  // namespace ram
