// Opening a study, records of the programs that write, and the texts that commands wrote.
#include "ram/study.h"

#include <chrono>
#include <optional>
#include <system_error>

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/machine.h"
#include "ram/study_table.h"

#include "state.h"

namespace ram {
namespace {

namespace fs = std::filesystem;

int64_t now_ms() {
  const auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(since_epoch).count();
}

// Absolute: the program may change its working folder later.
fs::path absolute_path(const fs::path& path) {
  std::error_code error;
  const fs::path absolute = fs::absolute(path, error);
  return (error ? path : absolute).lexically_normal();
}

std::optional<std::string> find_document(Study& study, const std::string& kind,
                                         const std::string& key) {
  Study::Statement find(study, "SELECT text FROM document WHERE kind = ? AND key = ?");
  if (!find.bind(kind, key).step()) return std::nullopt;
  std::string text = find.text(0);
  find.reset();
  return text;
}

}  // namespace

Study::State::State(const fs::path& path)
    : database(path), version(prepare_schema(database)), opened_ms(now_ms()) {}

Study::Study(const fs::path& path) : state_(std::make_unique<State>(absolute_path(path))) {}
Study::~Study() = default;
Study::Study(Study&&) noexcept = default;

const fs::path& Study::path() const {
  return state_->database.path();
}

void Study::set_options(std::string options) {
  state_->options = std::move(options);
  state_->run = 0;
}

int64_t Study::version() const {
  return state_->version;
}

void Study::require_version(int64_t least) const {
  if (version() >= least) return;
  fail(Code::kWriteFailed,
       "study {}: made by an earlier version and cannot be written, so it cannot be upgraded; "
       "name another place with --study",
       path().string());
}

void Study::put_document(const StudyDocument& document) {
  require_version(kDocumentsVersion);
  if (find_document(*this, document.kind, document.key) == document.text) return;
  change_document(document.kind, document.key,
                  [&](const std::string& /*text*/) { return document.text; });
}

void Study::change_document(const std::string& kind, const std::string& key,
                            const std::function<std::string(const std::string& text)>& change) {
  require_version(kDocumentsVersion);
  Transaction transaction(*this);
  const std::optional<std::string> known = find_document(*this, kind, key);
  const std::string text = change(known.value_or(""));
  if (known == text) return;
  Statement insert(transaction,
                   "INSERT OR REPLACE INTO document (kind, key, text, run) VALUES (?, ?, ?, ?)");
  insert.bind(kind, key, text, transaction.run()).run();
  transaction.commit();
}

std::vector<StudyDocument> Study::documents(const std::string& kind) {
  std::vector<StudyDocument> found;
  if (version() < kDocumentsVersion) return found;
  Statement find(*this, "SELECT key, text FROM document WHERE kind = ? ORDER BY key");
  find.bind(kind);
  while (find.step()) found.push_back({.kind = kind, .key = find.text(0), .text = find.text(1)});
  return found;
}

int64_t Study::document_bytes(const std::string& name) {
  if (version() < kDocumentsVersion) return 0;
  Statement find(*this,
                 "SELECT coalesce(sum(length(text)), 0) FROM document WHERE instr(key, ?) > 0");
  return find.bind(name).step() ? find.number(0) : 0;
}

void Study::remove_documents(Transaction& transaction, const std::string& name) {
  Statement(transaction, "DELETE FROM document WHERE instr(key, ?) > 0").bind(name).run();
}

std::vector<RunRecord> Study::runs() {
  std::vector<RunRecord> found;
  const bool machines = version() >= kMachinesVersion;
  Statement find(*this, fmt::format("SELECT program, started_ms, options{} FROM run ORDER BY id",
                                    machines ? ", machine, last_write_ms" : ""));
  while (find.step()) {
    RunRecord run;
    run.program = find.text(0);
    run.started_ms = find.number(1);
    run.options = find.text(2);
    if (machines) {
      run.machine = find.text(3);
      run.last_write_ms = find.number(4);
    }
    found.push_back(std::move(run));
  }
  return found;
}

void Study::shrink() {
  state_->database.exec_patiently("VACUUM");
  // Otherwise the log would keep a copy of the pages.
  state_->database.exec_patiently("PRAGMA wal_checkpoint(TRUNCATE)");
}

Study::Transaction::Transaction(Study& study) : study_(study) {
  study_.state_->database.begin();
}

Study::Transaction::~Transaction() {
  study_.state_->database.rollback();
}

int64_t Study::Transaction::run() {
  if (run_ != 0) return run_;
  const State& state = *study_.state_;
  run_ = state.run;
  if (run_ != 0) return run_;
  Statement insert(*this,
                   "INSERT INTO run (program, started_ms, options, machine) VALUES (?, ?, ?, ?)");
  insert.bind("ram " RAM_VERSION, state.opened_ms, state.options, machine_name()).run();
  run_ = state.database.last_row();
  return run_;
}

void Study::Transaction::commit() {
  State& state = *study_.state_;
  if (run_ != 0) {
    Statement update(*this, "UPDATE run SET last_write_ms = ? WHERE id = ?");
    update.bind(now_ms(), run_).run();
  }
  state.database.commit();
  if (run_ != 0) state.run = run_;
}

}  // namespace ram
