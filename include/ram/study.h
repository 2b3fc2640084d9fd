// The study: one SQLite file for any number of models, in which work is kept as it is done.
//
// Hides SQL, transactions, retries and the schema (docs/formats/study.md). WAL, so that several
// programs can read while one writes; writers wait for each other.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ram/dtype.h"
#include "ram/file.h"
#include "ram/quant.h"

namespace ram {

/// What names a measured matrix: content, not place. Two models that share a tensor share its
/// curve.
struct CurveKey {
  std::string tensor_hash;  ///< Hasher's digest of the whole source tensor
  std::string part;  ///< which part of it and its shape, as "rows 0+768 x 2048"; see curve.cpp
  DType source = DType::kBF16;
  DType dtype = DType::kBF16;
  Encoder encoder = Encoder::kMlx;
  auto operator<=>(const CurveKey&) const = default;
};

/// A curve: sums over one part, for the formats that its rows allow.
struct PartCurve {
  uint32_t formats = 0;  ///< bit i for kAffineFormats[i]
  Distortion distortion;
};

struct TensorRecord {
  std::string tensor;  ///< name in the file
  std::string hash;
};

struct ModelRecord {
  std::string fingerprint;
  std::string name;
  std::string model_type;
  std::string folder;
  int64_t weights = 0;
  int64_t bytes = 0;
  bool operator==(const ModelRecord&) const = default;
};

/// A finished output folder: what verify compares it with when the source is not at hand.
struct BuildRecord {
  std::string fingerprint;                         ///< of the source
  std::string plan_hash;                           ///< Hasher's digest of plan.json's text
  std::map<std::string, std::string> file_hashes;  ///< file name -> digest
};

/// A model that was run: what its rows are kept under, and what a reader wants to know of it.
struct EvaluatedModel {
  std::string digest;  ///< of weights, config.json and tokenizer.json; see eval.h
  std::string name;
  std::string model_type;
  std::string folder;
  int64_t bytes = 0;  ///< of all files of the folder
  double bits_per_weight = 0;
  bool operator==(const EvaluatedModel&) const = default;
};

/// What a study keeps of a model.
struct ModelUse {
  ModelRecord model;
  std::vector<EvaluatedModel> evaluated;  ///< the model and folders made from it, as they were run
  int64_t plans = 0;                      ///< finished folders whose bytes are known
  int64_t kept_bytes = 0;  ///< of curves, rows and texts; what another model shares counts for both
};

/// What a row's loss depends on, besides its index.
struct EvaluationKey {
  std::string model;      ///< EvaluatedModel::digest
  std::string precision;  ///< "f32" or "bf16"
  std::string text;       ///< SHA-256 of the text as read (eval.h, Text), hexadecimal
  std::string protocol;   ///< how the text becomes rows, and the rule by which they are scored
  auto operator<=>(const EvaluationKey&) const = default;
};

/// The loss of one row of a text.
struct RowScore {
  int64_t row = 0;     ///< index among all rows of the text
  int64_t tokens = 0;  ///< that were scored
  double nll_sum = 0;  ///< nats
  bool operator==(const RowScore&) const = default;
};

/// How far a model's predictions lie from a reference's, in one row.
struct RowDivergence {
  int64_t row = 0;
  int64_t same_top1 = 0;      ///< tokens at which both think the same token likeliest
  double change_sum = 0;      ///< of the correct token's probability, model minus reference
  double change_squares = 0;  ///< the same, squared
  std::vector<float> kl;      ///< KL(reference || model) per scored token, nats
  bool operator==(const RowDivergence&) const = default;
};

/// A block of rows, as it is kept.
struct EvaluatedRows {
  EvaluationKey key;
  std::vector<RowScore> scores;
};
struct DivergentRows {
  EvaluationKey reference;
  EvaluationKey model;
  std::vector<RowDivergence> rows;
};

/// A text that coefficients and moments are measured on.
struct CalibrationRecord {
  std::string fingerprint;  ///< of the model that it is for
  std::string spec;         ///< how it came about: "own rows 64 length 256 seed 42 rule 3"
  std::string digest;       ///< Hasher's, of the ids
  int64_t row_length = 0;
  std::vector<int32_t> ids;  ///< rows of row_length, one after another
  bool operator==(const CalibrationRecord&) const = default;
};

/// What a disturbance did to one row of a text.
struct ProbeKey {
  std::string fingerprint;  ///< of the model
  std::string text;         ///< CalibrationRecord::digest
  std::string disturbance;  ///< "gaussian 0.08 seed 42 rule 2"
};
struct ProbeRow {
  std::string unit;
  int64_t seed = 0;
  int64_t row = 0;
  int64_t tokens = 0;
  double kl_sum = 0;  ///< KL(original || disturbed), nats, over the row's tokens
  bool operator==(const ProbeRow&) const = default;
};

/// What the answers to a task's questions depend on, besides the question.
struct TaskKey {
  std::string model;      ///< EvaluatedModel::digest
  std::string precision;  ///< "f32" or "bf16"
  std::string task;       ///< "arc_challenge"
  std::string data;       ///< digest of the files that questions and examples come from
  std::string protocol;   ///< how questions become prompts, and the rule by which they are scored
  auto operator<=>(const TaskKey&) const = default;
};

/// A task that a model was asked, all or in part.
struct TaskRecord {
  TaskKey key;
  std::string metric;     ///< "acc" or "acc_norm": by which `choice` was made
  int64_t questions = 0;  ///< in the data, asked or not
  bool operator==(const TaskRecord&) const = default;
};

/// A model's answer to one question.
struct TaskAnswer {
  int64_t question = 0;  ///< index in the data
  std::string group;     ///< the subject; empty where a task has none
  int64_t answer = 0;    ///< the right choice
  int64_t choice = 0;    ///< the model's
  int64_t cut = 0;       ///< tokens that the longest prompt lost, to fit the model's context
  std::vector<double> log_likelihoods;  ///< per choice, nats
  bool operator==(const TaskAnswer&) const = default;
};

/// A text that a command wrote: what a report shows, or a command looks up again.
struct StudyDocument {
  std::string kind;  ///< "plan": plan.json of a folder that was run, key its
                     ///< EvaluatedModel::digest; "curves": `analyze --csv` of a source, key its
                     ///< fingerprint; "sweep": `sweep --json`, key fingerprint and method; "gains":
                     ///< what measure_gains found, key all that it depends on; "text": the name
                     ///< of a text's file, without its folders, key EvaluationKey::text
  std::string key;
  std::string text;
};

/// Two evaluations between which divergences are known.
struct DivergencePair {
  EvaluationKey reference;
  EvaluationKey model;
};

/// A program that wrote to the study.
struct RunRecord {
  std::string program;        ///< with its version
  int64_t started_ms = 0;     ///< that it opened the study
  std::string options;        ///< what it was asked to do
  std::string machine;        ///< empty: not known
  int64_t last_write_ms = 0;  ///< that it last kept something; 0: not known
};

class Study {
 public:
  /// Opens or creates; brings an older one up to date. A study that cannot be written is opened for
  /// reading; then put throws. One thread at a time; not to be used after a fork.
  /// @param path empty: kept in memory, and nowhere when the object goes.
  /// @throws Error{kMissing} unreadable; {kCorrupt} no study, or damaged; {kUnsupported} made by a
  ///         later version; {kWriteFailed} it is missing and cannot be created.
  explicit Study(const std::filesystem::path& path);
  ~Study();
  Study(Study&&) noexcept;

  const std::filesystem::path& path() const;

  /// Says what the work written from now on was asked to do ("analyze --encoder mlx"); kept beside
  /// it with the program's version.
  void set_options(std::string options);

  /// Hashes known for a file of exactly this identity (tensor name -> digest); empty if the file is
  /// new or changed. A file is known by its absolute path; symbolic links are not resolved.
  std::map<std::string, std::string> tensor_hashes(const std::filesystem::path& file,
                                                   const FileIdentity& identity);
  /// Hashes known for this path under any identity: what a changed file held before.
  std::map<std::string, std::string> stale_tensor_hashes(const std::filesystem::path& file);

  /// Curves that are known, of those asked for.
  std::map<CurveKey, PartCurve> curves(std::span<const CurveKey> keys);

  /// Keeps what was measured: all of it or, on failure, nothing. A tensor's hash replaces what was
  /// known of that name in this path, under whatever identity.
  /// @throws Error{kWriteFailed} disk full, or another writer held the study for longer than 60 s.
  void put(const std::filesystem::path& file, const FileIdentity& identity,
           std::span<const TensorRecord> tensors,
           std::span<const std::pair<CurveKey, PartCurve>> curves);

  /// Replaces the record of that fingerprint; writes nothing if it is the same.
  void put_model(const ModelRecord& model);
  /// By name, then fingerprint.
  std::vector<ModelRecord> models();

  /// What is kept of each model, in the order of `models`.
  /// @throws Error{kWriteFailed} an older study that could not be brought up to date.
  std::vector<ModelUse> model_uses();
  /// Removes all that is kept of these models and of folders made from them, and curves that no
  /// known file has; then gives the room back to the file system: the file shrinks. Curves that
  /// another model shares stay.
  /// @throws Error{kWriteFailed} also: it needs as much room again for a moment.
  void remove_models(std::span<const std::string> fingerprints);

  /// Replaces the record of that plan.
  void put_build(const BuildRecord& build);
  std::optional<BuildRecord> build(const std::string& plan_hash);

  /// The digest known for a whole file of exactly this identity; nothing if it is new or changed.
  std::optional<std::string> file_hash(const std::filesystem::path& file,
                                       const FileIdentity& identity);
  /// Replaces what was known of this path.
  void put_file_hash(const std::filesystem::path& file, const FileIdentity& identity,
                     const std::string& hash);

  /// Replaces the record of that digest; writes nothing if it is the same.
  void put_evaluated_model(const EvaluatedModel& model);
  /// By name, then digest.
  std::vector<EvaluatedModel> evaluated_models();

  /// The rows that are known of an evaluation, by index. @throws Error{kCorrupt} damaged.
  std::map<int64_t, RowScore> row_scores(const EvaluationKey& key);
  std::map<int64_t, RowDivergence> row_divergences(const EvaluationKey& reference,
                                                   const EvaluationKey& model);
  /// Keeps a block of rows: all of it or, on failure, nothing. Rows that are there are replaced.
  /// @pre all numbers are finite. @throws Error{kWriteFailed}
  void put_rows(std::span<const EvaluatedRows> scores, std::span<const DivergentRows> divergences);

  /// The text of a model made to that specification; nothing if there is none.
  /// @throws Error{kCorrupt} damaged.
  std::optional<CalibrationRecord> calibration_text(const std::string& fingerprint,
                                                    const std::string& spec);
  /// Replaces the text of that model and specification, unless this one is only the beginning of
  /// it: another program may have written more rows of the same text.
  void put_calibration_text(const CalibrationRecord& text);

  /// All that is known of a disturbance, by unit, seed and row. @throws Error{kCorrupt} damaged.
  std::vector<ProbeRow> probes(const ProbeKey& key);
  /// Keeps some: all of it or, on failure, nothing. @pre all numbers are finite.
  void put_probes(const ProbeKey& key, std::span<const ProbeRow> rows);

  /// Evaluations that have rows, by text, protocol, precision and model.
  std::vector<EvaluationKey> evaluations();
  std::vector<DivergencePair> divergences();

  /// Replaces the text of that kind and key; writes nothing if it is the same.
  /// @throws Error{kWriteFailed} also: an older study that could not be brought up to date.
  void put_document(const StudyDocument& document);
  /// Replaces the text by what `change` makes of the one that is there (empty if there is none), in
  /// one step: what another program writes meanwhile is not lost. @throws as put_document.
  void change_document(const std::string& kind, const std::string& key,
                       const std::function<std::string(const std::string& text)>& change);
  /// By key.
  std::vector<StudyDocument> documents(const std::string& kind);
  /// Programs that wrote to the study, the first one first.
  std::vector<RunRecord> runs();

  /// The tasks that were asked, by task, then model.
  std::vector<TaskRecord> tasks();
  /// The answers that are known, by question. @throws Error{kCorrupt} damaged.
  std::map<int64_t, TaskAnswer> answers(const TaskKey& key);
  /// Keeps some answers: all of them or, on failure, nothing. Answers that are there are replaced.
  /// @pre log-likelihoods are finite, answer and choice among them. @throws Error{kWriteFailed}
  void put_answers(const TaskRecord& task, std::span<const TaskAnswer> answers);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ram
