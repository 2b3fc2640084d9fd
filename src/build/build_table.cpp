// The tables of finished folders.
#include "ram/build_table.h"

namespace ram {

void BuildTable::put(const BuildRecord& build) {
  Study::Transaction transaction(study_);
  const int64_t run = transaction.run();
  Study::Statement forget(transaction, "DELETE FROM build WHERE plan_hash = ?");
  forget.bind(build.plan_hash).run();
  Study::Statement insert(transaction,
                          "INSERT INTO build (plan_hash, fingerprint, run) VALUES (?, ?, ?)");
  insert.bind(build.plan_hash, build.fingerprint, run).run();
  Study::Statement insert_file(transaction,
                               "INSERT INTO build_file (plan_hash, name, hash) VALUES (?, ?, ?)");
  for (const auto& [name, hash] : build.file_hashes) {
    insert_file.bind(build.plan_hash, name, hash).run();
  }
  transaction.commit();
}

std::optional<BuildRecord> BuildTable::find(const std::string& plan_hash) {
  Study::Statement find(study_, "SELECT fingerprint FROM build WHERE plan_hash = ?");
  if (!find.bind(plan_hash).step()) return std::nullopt;
  BuildRecord build{.fingerprint = find.text(0), .plan_hash = plan_hash, .file_hashes = {}};
  find.reset();
  Study::Statement files(study_, "SELECT name, hash FROM build_file WHERE plan_hash = ?");
  files.bind(plan_hash);
  while (files.step()) build.file_hashes.emplace(files.text(0), files.text(1));
  return build;
}

int64_t BuildTable::count(const std::string& fingerprint) {
  Study::Statement find(study_, "SELECT count(*) FROM build WHERE fingerprint = ?");
  return find.bind(fingerprint).step() ? find.number(0) : 0;
}

void BuildTable::remove(Study::Transaction& transaction, const std::string& fingerprint) {
  Study::Statement(transaction, "DELETE FROM build WHERE fingerprint = ?").bind(fingerprint).run();
}

}  // namespace ram
