// The texts that plans are calibrated on, and what disturbing a unit did to the model's
// predictions.
#include <cmath>
#include <cstddef>

#include "ram/error.h"
#include "ram/study_table.h"

namespace ram {
std::optional<CalibrationRecord> Study::calibration_text(const std::string& fingerprint,
                                                         const std::string& spec) {
  if (version() < 3) return std::nullopt;
  Statement find(*this,
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
         path().string(), spec);
  }
  return text;
}

void Study::put_calibration_text(const CalibrationRecord& text) {
  require_version(3);
  Transaction transaction(*this);
  const int64_t run = transaction.run();
  Statement insert(transaction,
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

std::vector<ProbeRow> Study::probes(const ProbeKey& key) {
  std::vector<ProbeRow> rows;
  if (version() < 3) return rows;
  Statement find(*this,
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
           path().string(), row.unit, row.row);
    }
  }
  return rows;
}

void Study::put_probes(const ProbeKey& key, std::span<const ProbeRow> rows) {
  require_version(3);
  Transaction transaction(*this);
  const int64_t run = transaction.run();
  Statement insert(transaction,
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

}  // namespace ram
