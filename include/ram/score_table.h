// What runs of models on texts store in a study: which folders were run, the loss of each row, and
// its divergence from a reference. docs/formats/study.md describes every column. Part of the module
// `eval`.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "ram/study_table.h"

namespace ram {

/// A model that was run: the key of its rows, and facts for readers.
struct EvaluatedModel {
  std::string digest;  ///< of weights, config.json and tokenizer.json; see eval.h
  std::string name;
  std::string model_type;
  std::string folder;
  int64_t bytes = 0;  ///< of all files of the folder
  double bits_per_weight = 0;
  bool operator==(const EvaluatedModel&) const = default;
};

/// Table `evaluated_model`.
class EvaluatedModelTable {
 public:
  /// @param study outlives the object.
  explicit EvaluatedModelTable(Study& study) : study_(study) {}

  /// By name, then digest.
  std::vector<EvaluatedModel> all();
  /// Replaces the record of that digest; writes nothing if it is the same.
  /// @throws Error{kWriteFailed} as Study::Transaction, or an older study.
  void put(const EvaluatedModel& model);

  /// @return the digests of the models that were run from `folder`, and of those whose plan was
  ///         made for `fingerprint`.
  std::vector<std::string> digests_of(const std::string& fingerprint, const std::string& folder);
  void remove(Study::Transaction& transaction, const std::string& digest);

 private:
  Study& study_;
};

/// Everything that a row's loss depends on, besides its index.
struct EvaluationKey {
  std::string model;      ///< EvaluatedModel::digest
  std::string precision;  ///< "f32" or "bf16"
  std::string text;       ///< SHA-256 of the text as read (eval.h, Text), hexadecimal
  std::string protocol;  ///< how the text is split into rows, and the rule by which they are scored
  auto operator<=>(const EvaluationKey&) const = default;
};

/// The loss of one row of a text.
struct RowScore {
  int64_t row = 0;     ///< index among all rows of the text
  int64_t tokens = 0;  ///< that were scored
  double nll_sum = 0;  ///< nats
  bool operator==(const RowScore&) const = default;
};

/// How far a model's predictions are from a reference's, in one row.
struct RowDivergence {
  int64_t row = 0;
  int64_t same_top1 = 0;      ///< tokens for which both predict the same likeliest token
  double change_sum = 0;      ///< of the correct token's probability, model minus reference
  double change_squares = 0;  ///< the same, squared
  std::vector<float> kl;      ///< KL(reference || model) per scored token, nats
  bool operator==(const RowDivergence&) const = default;
};

/// A block of rows to keep.
struct EvaluatedRows {
  EvaluationKey key;
  std::vector<RowScore> scores;
};
struct DivergentRows {
  EvaluationKey reference;
  EvaluationKey model;
  std::vector<RowDivergence> rows;
};

/// Two evaluations with known divergences.
struct DivergencePair {
  EvaluationKey reference;
  EvaluationKey model;
};

/// Tables `evaluation`, `evaluation_row` and `divergence_row`.
class ScoreTable {
 public:
  /// @param study outlives the object.
  explicit ScoreTable(Study& study) : study_(study) {}

  /// Evaluations that have rows, by text, protocol, precision and model.
  std::vector<EvaluationKey> evaluations();
  /// Pairs that have divergences.
  std::vector<DivergencePair> pairs();

  /// The known rows of an evaluation, by index. @throws Error{kCorrupt} damaged.
  std::map<int64_t, RowScore> scores(const EvaluationKey& key);
  std::map<int64_t, RowDivergence> divergences(const EvaluationKey& reference,
                                               const EvaluationKey& model);
  /// Keeps a block of rows: all of it or, on failure, nothing. Existing rows are replaced.
  /// @pre all numbers are finite.
  /// @throws Error{kWriteFailed} as Study::Transaction, or an older study.
  void put(std::span<const EvaluatedRows> scores, std::span<const DivergentRows> divergences);

  /// @return about the bytes of a model's divergences: the part that grows.
  int64_t bytes(const std::string& digest);
  /// Removes a model's evaluations, and all divergences in which it is model or reference.
  void remove(Study::Transaction& transaction, const std::string& digest);

 private:
  Study& study_;
};

}  // namespace ram
