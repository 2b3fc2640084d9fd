// A study of unknown origin: as an SQLite file, as the blobs of its tables, and as the texts that
// commands stored in it. For any content, reading gives records or a clear refusal.
//
// The first byte says which: 'D' a whole file, 'B' the blobs of every row, otherwise a document of
// each kind.
#include "ram/study.h"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

#include <fmt/format.h>
#include <sqlite3.h>

#include "ram/answer_table.h"
#include "ram/build_table.h"
#include "ram/calibration_table.h"
#include "ram/curve_table.h"
#include "ram/report.h"
#include "ram/results.h"
#include "ram/score_table.h"
#include "ram/studies.h"

#include "documents.h"
#include "refusal.h"
#include "scratch_folder.h"

namespace {

namespace fs = std::filesystem;

void clearly(const std::function<void()>& act) {
  try {
    act();
  } catch (const ram::Error& error) {
    if (error.code() == ram::Code::kWriteFailed) return;  // a read-only study
    ram::expect_clear(error);
  }
}

void read_all(const fs::path& path) {
  clearly([&] {
    ram::Study study(path);
    clearly([&] { ram::make_report(study, {.study = "ram.db"}); });
    clearly([&] { ram::model_uses(study); });
    clearly([&] { ram::ModelTable(study).all(); });
    clearly([&] { study.runs(); });
    clearly([&] {
      for (const ram::EvaluationKey& key : ram::ScoreTable(study).evaluations()) {
        clearly([&] { ram::ScoreTable(study).scores(key); });
      }
    });
    clearly([&] {
      for (const ram::DivergencePair& pair : ram::ScoreTable(study).pairs()) {
        clearly([&] { ram::ScoreTable(study).divergences(pair.reference, pair.model); });
      }
    });
    clearly([&] {
      ram::AnswerTable answers(study);
      for (const ram::TaskRecord& task : answers.tasks()) {
        clearly([&] { answers.answers(task.key); });
      }
    });
    clearly([&] { ram::CalibrationTextTable(study).find("f", "spec"); });
    clearly([&] {
      ram::ProbeTable(study).find({.fingerprint = "f", .text = "t", .disturbance = "d"});
    });
    const ram::CurveKey key{.tensor_hash = "h", .part = "p"};
    clearly([&] { ram::CurveTable(study).curves({&key, 1}); });
    clearly([&] { ram::BuildTable(study).find("p"); });
  });
}

/// A study with a row in every table that has blobs.
void write_small(const fs::path& path) {
  ram::Study study(path);
  ram::EvaluatedModelTable(study).put(
      {.digest = "a", .name = "a", .bytes = 2, .bits_per_weight = 16});
  ram::EvaluatedModelTable(study).put(
      {.digest = "b", .name = "b", .bytes = 1, .bits_per_weight = 4});
  const ram::EvaluationKey key{.model = "a", .precision = "f32", .text = "t", .protocol = "p"};
  ram::EvaluationKey other = key;
  other.model = "b";
  const ram::EvaluatedRows rows{.key = key, .scores = {{.row = 0, .tokens = 2, .nll_sum = 1.5}}};
  const ram::DivergentRows divergent{
      .reference = key, .model = other, .rows = {{.row = 0, .same_top1 = 1, .kl = {0.5F, 0.25F}}}};
  ram::ScoreTable(study).put({&rows, 1}, {&divergent, 1});
  ram::CalibrationTextTable(study).put(
      {.fingerprint = "f", .spec = "spec", .digest = "d", .row_length = 2, .ids = {1, 2, 3, 4}});
  const ram::ProbeRow probe{.unit = "u", .seed = 1, .row = 0, .tokens = 2, .kl_sum = 0.5};
  ram::ProbeTable(study).put({.fingerprint = "f", .text = "t", .disturbance = "d"}, {&probe, 1});
  const ram::TaskRecord task{
      .key = {.model = "a", .precision = "f32", .task = "choice", .data = "d", .protocol = "p"},
      .metric = "acc",
      .questions = 1};
  const ram::TaskAnswer answer{
      .question = 0, .group = "", .answer = 1, .choice = 0, .log_likelihoods = {-1, -2}};
  ram::AnswerTable(study).put(task, {&answer, 1});
  const std::pair<ram::CurveKey, ram::PartCurve> curve{{.tensor_hash = "h", .part = "p"}, {}};
  const ram::TensorRecord tensor{.tensor = "x", .hash = "h"};
  ram::CurveTable(study).put("file", {}, {&tensor, 1}, {&curve, 1});
}

/// Puts the blob into every blob column.
void replace_blobs(const fs::path& path, const std::string& blob) {
  sqlite3* database = nullptr;
  if (sqlite3_open(path.c_str(), &database) != SQLITE_OK) std::abort();
  sqlite3_stmt* tables = nullptr;
  sqlite3_prepare_v2(database,
                     "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c "
                     "WHERE m.type = 'table' AND upper(c.type) = 'BLOB'",
                     -1, &tables, nullptr);
  int replaced = 0;
  while (sqlite3_step(tables) == SQLITE_ROW) {
    const std::string table = reinterpret_cast<const char*>(sqlite3_column_text(tables, 0));
    const std::string column = reinterpret_cast<const char*>(sqlite3_column_text(tables, 1));
    sqlite3_stmt* update = nullptr;
    const std::string sql = fmt::format("UPDATE \"{}\" SET \"{}\" = ?", table, column);
    if (sqlite3_prepare_v2(database, sql.c_str(), -1, &update, nullptr) != SQLITE_OK) std::abort();
    sqlite3_bind_blob(update, 1, blob.data(), static_cast<int>(blob.size()), SQLITE_STATIC);
    sqlite3_step(update);
    replaced += sqlite3_changes(database);
    sqlite3_finalize(update);
  }
  sqlite3_finalize(tables);
  sqlite3_close(database);
  if (replaced == 0) std::abort();
}

void remove_study(const fs::path& path) {
  for (const char* suffix : {"", "-wal", "-shm", "-journal"}) fs::remove(path.string() + suffix);
}

/// A text as a document of one kind; if its reader accepts it, it is shown on a page.
template <typename Read>
void read_document(const char* kind, const char* key, const std::string& text, const Read& read) {
  clearly([&] {
    const ram::StudyDocument document{.kind = kind, .key = key, .text = text};
    (void)read(document, "ram.db");
    const fs::path path = ram::scratch_folder() / "page.db";
    remove_study(path);
    write_small(path);
    ram::Study study(path);
    study.put_document(document);
    ram::make_report(study, {.study = "ram.db"});
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  const fs::path path = ram::scratch_folder() / "ram.db";
  if (data[0] == 'D' || data[0] == 'B') {
    remove_study(path);
    if (data[0] == 'D') {
      std::ofstream(path, std::ios::binary) << rest;
    } else {
      write_small(path);
      replace_blobs(path, rest);
    }
    read_all(path);
    return 0;
  }
  const std::string text(reinterpret_cast<const char*>(data), size);
  // The keys that the page looks up: a folder, the original, a source without a fingerprint.
  read_document("plan", "b", text, ram::read_plan_document);
  read_document("noise", "b", text, ram::read_record<ram::NoiseRecord>);
  read_document("gptq", "a", text, ram::read_record<ram::FeedbackRecord>);
  read_document("measured_sweep", "a squared", text, ram::read_record<ram::MeasuredSweepRecord>);
  read_document("sweep", " squared", text, ram::read_record<ram::SweepRecord>);
  read_document("curves", "", text, ram::read_record<ram::CurvesRecord>);
  return 0;
}
