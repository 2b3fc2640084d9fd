// A model's loss on a text, and the divergence of compressed models from their original: rows of
// tokens, their losses and divergences, kept in the study as they are computed. statistics.h has
// the statistics, docs/evaluation.md the rules.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ram/engine.h"
#include "ram/progress.h"
#include "ram/score_table.h"
#include "ram/statistics.h"
#include "ram/study.h"
#include "ram/tokenizer.h"

namespace ram {

/// How lines become one text.
enum class TextFormat : uint8_t {
  kWikitext,  ///< lines that are not blank, joined by two newlines
  kPlain,     ///< unchanged
};

/// Where the tokens go that the tokenizer's template puts before a text.
enum class Bos : uint8_t {
  kStart,     ///< once, before the whole text; the template's suffix is added too
  kEveryRow,  ///< before each row, which then has room for fewer tokens of the text
  kNone,
};

std::string_view text_format_name(TextFormat format);  ///< "wikitext", "plain"
std::string_view bos_name(Bos bos);                    ///< "start", "every-row", "none"
std::optional<TextFormat> parse_text_format(std::string_view name);
std::optional<Bos> parse_bos(std::string_view name);
std::string_view precision_name(Precision precision);  ///< "f32", "bf16"

struct RowOptions {
  int64_t length = 2048;             ///< tokens of a row, at least 2
  std::optional<int64_t> rows = {};  ///< the most that are drawn, at least 1; nothing: all
  uint32_t seed = 42;                ///< of the draw
  Bos bos = Bos::kStart;
  std::optional<TextFormat> format = {};  ///< nothing: detected from the text
};

/// The largest text that is read, bytes.
inline constexpr int64_t kLargestText = int64_t{256} << 20;

/// A text file, read whole and checked.
struct Text {
  std::string path;
  std::string content;             ///< UTF-8; lines end with "\n", no byte order mark
  std::string sha256;              ///< of the content; equal to the file's if nothing was left out
  std::vector<std::string> notes;  ///< where the content differs from the file
};

/// Reads text as Python does: "\r\n" and "\r" end lines as "\n" does; a byte order mark is dropped.
/// Of a .jsonl or .ndjson file it takes the field "text" of each line, with an empty line between
/// two.
/// @throws Error{kMissing} unreadable; {kCorrupt} not UTF-8 (names the byte), empty, or a line
///         of .jsonl without a text (names it); {kUnsupported} larger than kLargestText,
///         compressed, a table, or JSON (says what to do).
Text read_text(const std::filesystem::path& path);

/// @return kWikitext if a line among the first has the form of WikiText's headings, " = Title = ".
TextFormat detect_format(std::string_view content);

/// A text as the rows that are scored. In a row of n tokens, n - 1 are scored: all but the first.
struct TextRows {
  std::string text_sha256;
  std::vector<std::string> notes;  ///< as Text::notes
  TextFormat format = TextFormat::kPlain;
  bool detected = false;  ///< the format was not given
  Bos bos = Bos::kStart;
  int64_t length = 0;
  int64_t text_tokens = 0;       ///< of the whole text; with kStart including the template's
  int64_t prefix_tokens = 0;     ///< that the template puts before a text
  int64_t rows_total = 0;        ///< an incomplete last row is left out
  std::vector<int64_t> indices;  ///< of the rows drawn, ascending
  std::vector<TokenRow> rows;    ///< the same rows

  int64_t scored_tokens() const { return std::ssize(rows) * (length - 1); }
  /// The name of this way of splitting, for any draw of rows: "wikitext length 2048 bos start".
  std::string protocol() const;
};

/// Tokenizes once and splits the ids into rows that do not overlap.
/// @throws Error{kCorrupt} the text has fewer tokens than a row (says how many there are);
///         {kUsage} options out of range.
TextRows cut_rows(const Text& text, const Tokenizer& tokenizer, const RowOptions& options);

/// The beginning of a row's text on one line: control characters escaped as \n, \t, \x1b, at most
/// `width` characters.
std::string excerpt(const Tokenizer& tokenizer, std::span<const TokenId> row, size_t width);

/// KL(reference || model) over tokens, nats.
struct Divergence {
  double mean = 0;
  double median = 0;
  double p90 = 0;
  double p99 = 0;
  double p999 = 0;
  double max = 0;
  double same_top1 = 0;    ///< share of tokens for which both predict the same likeliest token
  double mean_change = 0;  ///< of the correct token's probability, model minus reference
  double rms_change = 0;
  std::vector<double> row_sums;  ///< [rows] in the order of TextRows::indices, nats
};

/// One row among the worst, for people.
struct WorstRow {
  int64_t row = 0;  ///< index before drawing
  double perplexity = 0;
  std::string excerpt;
};

/// The result for one model.
struct Perplexity {
  EvaluatedModel model;
  Precision precision = Precision::kF32;
  int64_t max_positions = 0;   ///< of the model's config
  std::vector<RowScore> rows;  ///< in the order of TextRows::indices
  PerplexitySummary summary;   ///< positions are positions in `rows`
  std::vector<WorstRow> worst;
  int64_t rows_known = 0;  ///< taken from the study

  Losses losses(std::vector<double>& nll_sums, std::vector<int64_t>& tokens) const;
};

struct PerplexityResult {
  TextRows text;
  Perplexity perplexity;
};

/// Scores a model on a text. Rows in the study are not computed again; new ones are kept in it
/// block by block.
///
/// @param model_name folder or repository id.
/// @param options its memory is shared by all models that run at the same time.
/// @param progress   phases "hash" (bytes) and "evaluate" (tokens).
/// @throws Error{kCorrupt} a token of the text that is outside the model's vocabulary (names it), a
///         text shorter than a row, a hidden state or logit that is not finite (names the layer);
///         {kInterrupted}: finished blocks are kept; and what Checkpoint, Tokenizer, LanguageModel
///         and Study throw.
PerplexityResult evaluate_perplexity(const std::string& model_name,
                                     const std::filesystem::path& text, const RowOptions& rows,
                                     const EngineOptions& options, Study& study,
                                     const ProgressFn& progress = {});

/// The conclusion from a difference of two models' mean perplexities.
enum class Verdict : uint8_t {
  kWorse,        ///< p_holm < kLevel
  kBetter,       ///< the same
  kTied,         ///< no more than the margin apart: within_margin
  kWithinNoise,  ///< tied: no farther from the reference than kNoiseFactor times its rounding noise
  kTooFewRows,   ///< none of these is known
};

/// A difference of mean losses, a minus b, with its statistics.
struct PairTest {
  int a = 0;  ///< 0 is the reference, i the i-th model
  int b = 0;
  PairedDifference difference;
  Interval bootstrap95;
  double median_difference = 0;  ///< over rows, of a's loss per token minus b's
  double sign_p = 1;
  double wilcoxon_p = 1;
  int wilcoxon_sign = 0;  ///< RankTest::sign: -1 if a's losses are lower by rank
  double p_holm = 1;      ///< of difference.p, over all pairs
  PairedDifference kl;    ///< mean KL from the reference, a's minus b's; the reference's own is 0
  std::optional<double> kl_ratio;  ///< a's mean KL over b's; nothing if b's is 0
  Interval kl_ratio95;             ///< if there is a kl_ratio; rows resampled as for bootstrap95
  /// p of the hypothesis of no difference in KL. Against the reference: that a's rows are no
  /// farther than kNoiseFactor noise floors (p_above_floor); between two models: that both are
  /// equally far (kl.p). 1 if the mean KL of each is within kNoiseFactor noise floors, as for the
  /// verdict.
  double kl_p = 1;
  double kl_p_holm = 1;  ///< over all pairs
  /// b is the reference, and a is at least kFarFactor noise floors away: rounding alone does not
  /// cause that, even with few rows.
  bool kl_far = false;
  Verdict verdict = Verdict::kTooFewRows;  ///< of a against b
  /// For kTooFewRows: how many rows would be enough (rows_to_tell); nothing if that is not known.
  std::optional<int64_t> rows_needed;

  /// @return whether KL distinguishes a from b beyond chance, whatever perplexity says.
  bool kl_tells() const { return kl_far || kl_p_holm < kLevel; }
};

struct ComparedModel {
  Perplexity perplexity;
  Divergence divergence;
  PairTest against_reference;
};

/// Which ranking of two models to believe when mean and median contradict each other.
enum class Belief : uint8_t { kMean, kMedian, kNeither };

struct InversionReport {
  int better_by_mean = 0;  ///< 0 is the reference, i the i-th model
  int better_by_median = 0;
  int other = 0;                   ///< the worse one on the mean
  bool beats_reference = false;    ///< a model is better than its reference on the mean
  std::vector<int64_t> rows;       ///< indices before drawing, of the causing rows, strongest first
  std::vector<WorstRow> excerpts;  ///< of the first five of them, with the reference's perplexity
  double mean_better_without = 0;  ///< perplexity of better_by_mean without those rows ...
  double mean_other_without = 0;   ///< ... and of the other model
  Belief belief = Belief::kNeither;
  std::string why;  ///< a clause

  /// @return the model that is better by the ranking to believe; nothing for kNeither.
  std::optional<int> better() const;
};

/// Perplexities that differ by at most this share count as equal, unless another margin is given.
inline constexpr double kDefaultMargin = 0.005;

struct Comparison {
  double margin = kDefaultMargin;  ///< that the verdicts use
  TextRows text;
  Perplexity reference;
  std::vector<ComparedModel> models;
  Divergence noise_floor;       ///< the reference in bf16 against itself in float32
  std::vector<PairTest> pairs;  ///< all pairs, reference included
  std::vector<InversionReport> inversions;
};

/// Models that are at most this many noise floors from the reference are tied.
inline constexpr double kNoiseFactor = 1.5;
/// Models that are at least this many noise floors from the reference differ from it.
inline constexpr double kFarFactor = 10;

/// Compares models with a reference on the same rows, in float32: losses, divergences, tests, and
/// verdicts with kDefaultMargin. Reference and models run together over blocks of rows; logits are
/// never kept.
///
/// @param names of the reference, then of the models: folders or repository ids.
/// @param seed  of the bootstrap.
/// @param options its precision is ignored.
/// @throws as evaluate_perplexity; Error{kUnsupported} vocabularies or token ids differ: there are
///         no common rows to compare.
Comparison compare_models(std::span<const std::string> names, const std::filesystem::path& text,
                          const RowOptions& rows, uint64_t seed, const EngineOptions& options,
                          Study& study, const ProgressFn& progress = {});

/// Recomputes the verdicts. @param margin in (0, 1]: a share of perplexity.
void judge(Comparison& comparison, double margin);

/// Sums over the scored tokens of each row (all but the last), nats.
struct RowSums {
  std::vector<std::vector<double>> nll;  ///< [sources][rows]
  std::vector<std::vector<double>> kl;   ///< [sources - 1][rows], from the first source
};

/// Losses and divergences of the rows whose hidden states are in the sources.
/// @param rows the ids of those rows, at least two each.
/// @throws as visit_logits
RowSums row_sums(std::span<const TokenRow> rows, std::span<const LogitSource> sources);

/// KL(first source || other source) of the rows whose hidden states are in the sources.
/// @param rows the ids of those rows, at least two each; the last token of a row is not scored.
/// @return [sources - 1][rows], nats, summed over a row's scored tokens.
/// @throws as visit_logits
std::vector<std::vector<double>> divergence_sums(std::span<const TokenRow> rows,
                                                 std::span<const LogitSource> sources);

/// Digest of a model folder's content (weight files, config.json, tokenizer.json), as the study
/// keeps it (docs/formats/study.md). Weight files are read only if the study does not have their
/// digests.
/// @param progress phase "hash".
/// @throws Error{kCorrupt} a file changed while it was read; {kInterrupted}; and what Study throws.
std::string model_digest(const Checkpoint& checkpoint, Study& study,
                         const ProgressFn& progress = {});

/// Fails if rows contain an id for which the embedding has no row. A tokenizer may have such ids,
/// as in fine-tunes with an added token: only texts that use one cannot be scored.
/// @throws Error{kCorrupt} names the id and the model's last.
void check_token_ids(std::span<const TokenRow> rows, const Checkpoint& checkpoint);

/// Records a model that is run in the study. @return the record.
/// @param progress phase "hash". @throws as model_digest
EvaluatedModel evaluated_model(const Checkpoint& checkpoint, Study& study,
                               const ProgressFn& progress = {});

/// A model folder and its tokenizer, with its identity in the study.
struct OpenedModel {
  std::string name;  ///< as requested
  Checkpoint checkpoint;
  Tokenizer tokenizer;
  EvaluatedModel record;
};

/// Opens a model that is run, quantized or not, and records it in the study.
/// @throws as Checkpoint::open, Tokenizer::open and evaluated_model
OpenedModel open_model(const std::string& name, Study& study, const ProgressFn& progress = {});

}  // namespace ram
