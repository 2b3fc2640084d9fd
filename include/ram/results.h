// Results of commands, as the study keeps them for reports and other programs: a type for each kind
// of document, with its writer and its reader. docs/formats/study.md describes the texts.
//
// Readers accept the texts of this version and of earlier ones: keys that reports do not use may be
// missing. document() and read() are inverse except for NaN and infinities, which JSON lacks: they
// are written as null.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ram/json.h"
#include "ram/statistics.h"
#include "ram/study.h"

namespace ram {

/// Predicted loss against size, from `ram sweep`. Kept once per source and method.
struct SweepRecord {
  static constexpr const char* kKind = "sweep";
  struct Point {
    int64_t total_bytes = 0;  ///< of the finished folder
    double bits_per_weight = 0;
    double loss = 0;  ///< by the method
    double lower_bound = 0;
    double loss_saved_per_mb = 0;  ///< against the point before; 0 for the first
    std::optional<double> limit;   ///< loss_limit (plan.h)
    bool operator==(const Point&) const = default;
  };
  std::string fingerprint;  ///< of the source
  std::string model;        ///< its name
  std::string method;
  std::vector<Point> points;  ///< increasing size; at least one
  int knee = 0;               ///< position in points
  int64_t knee_bytes = 0;     ///< total_bytes of that point

  nlohmann::ordered_json json() const;
  StudyDocument document() const;
  /// @throws Error{kCorrupt} says what is wrong with the text, in a few words; so do the others.
  static SweepRecord read(const StudyDocument& document);
  bool operator==(const SweepRecord&) const = default;
};

/// The curves of a source as a table, as in `analyze --csv`. Kept once per source.
struct CurvesRecord {
  static constexpr const char* kKind = "curves";
  struct Point {
    std::string format;  ///< "4:64", "bf16"
    int64_t bytes = 0;
    double nrmse = 0;    ///< relative error
    double sqnr_db = 0;  ///< 100 if nothing is lost
    double mse = 0;
    bool operator==(const Point&) const = default;
  };
  struct Unit {
    std::string name;
    std::string role;
    int64_t tensors = 0;
    int64_t weights = 0;
    std::vector<Point> points;
    bool operator==(const Unit&) const = default;
  };
  std::string fingerprint;  ///< of the source
  std::vector<Unit> units;

  std::string csv() const;
  StudyDocument document() const;
  static CurvesRecord read(const StudyDocument& document);
  bool operator==(const CurvesRecord&) const = default;
};

/// The effect of errors in a model's weights: of one draw of noise, or of the stored errors.
struct Harm {
  double kl = 0;         ///< from the original, nats per token
  double delta_nll = 0;  ///< mean loss minus the original's, nats per token
  double mean = 0;       ///< perplexities
  double median = 0;
  bool operator==(const Harm&) const = default;
};

/// The distribution of one value of Harm over all draws.
struct HarmSpread {
  double mean = 0;
  double deviation = 0;  ///< standard deviation of one draw
  double reach = 0;      ///< another draw is within mean +- reach in 95 % of cases
};

/// @param drawn at least two. @source the prediction interval of Student's t.
HarmSpread spread_of(const std::vector<Harm>& drawn, double Harm::*value);

/// A sentence: whether the stored errors change the mean perplexity more than noise of their size
/// does.
std::string noise_verdict(const Harm& stored, const std::vector<Harm>& drawn);

/// The effect of noise of the same size as a folder's errors, from `ram noise`. Kept once per
/// folder.
struct NoiseRecord {
  static constexpr const char* kKind = "noise";
  std::string digest;  ///< EvaluatedModel::digest of the folder
  std::string model;   ///< name of the original
  std::string folder;  ///< as typed
  int64_t rows = 0;    ///< of the text
  Harm stored;
  std::vector<Harm> drawn;  ///< one per seed; writers have at least two, readers accept one
  std::string verdict;      ///< noise_verdict's

  nlohmann::ordered_json json() const;
  StudyDocument document() const;
  static NoiseRecord read(const StudyDocument& document);
  bool operator==(const NoiseRecord&) const = default;
};

/// The effect of error feedback for several choices of formats, from `ram gptq`. Kept once per
/// original.
struct FeedbackRecord {
  static constexpr const char* kKind = "gptq";
  /// Of two folders' mean KL from the original.
  struct Ratio {
    double value = 0;
    std::optional<Interval> ci95;  ///< nothing with a single row
    bool operator==(const Ratio& other) const;
  };
  struct Variant {
    std::string folder;   ///< last component of its path
    std::string formats;  ///< "4:64", or "plan"
    std::string text;     ///< that feedback used: "own", "real"; empty: plain rounding
    int64_t bytes = 0;    ///< of the finished folder
    double kl = 0;        ///< mean, nats per token
    Interval kl95;        ///< NaN with a single row
    /// KL relative to plain rounding to the same formats; nothing for plain rounding itself, and if
    /// its KL is 0.
    std::optional<Ratio> over_plain;
    bool operator==(const Variant& other) const;
  };
  std::string digest;             ///< EvaluatedModel::digest of the original
  std::vector<Variant> variants;  ///< grouped by formats, plain rounding first

  nlohmann::ordered_json json() const;
  StudyDocument document() const;
  static FeedbackRecord read(const StudyDocument& document);
  bool operator==(const FeedbackRecord&) const = default;
};

/// Predicted and measured loss of a method's folders, from `ram sweep --measure`. Kept once per
/// original and method.
struct MeasuredSweepRecord {
  static constexpr const char* kKind = "measured_sweep";
  struct Point {
    std::string folder;          ///< last component of its path
    int64_t bytes = 0;           ///< of the finished folder
    double bits = 0;             ///< per weight
    std::optional<double> loss;  ///< predicted; nothing for uniform formats
    double kl = 0;               ///< mean, nats per token
    double mean = 0;             ///< perplexities
    double median = 0;
    bool operator==(const Point&) const = default;
  };
  std::string digest;  ///< EvaluatedModel::digest of the original
  std::string method;
  std::vector<Point> points;  ///< the method's by size, then uniform formats
  double a = 0;               ///< mean perplexity = a + b ln(1 + loss)
  double b = 0;
  double rms = 0;          ///< of its residuals
  double kl_per_loss = 0;  ///< geometric mean
  double kl_rms_log = 0;   ///< of ln(KL / loss) around it
  double first_step = 0;   ///< KL saved per MB above the smallest size
  double average = 0;      ///< the same over all sizes

  nlohmann::ordered_json json() const;
  StudyDocument document() const;
  static MeasuredSweepRecord read(const StudyDocument& document);
  bool operator==(const MeasuredSweepRecord&) const = default;
};

}  // namespace ram
