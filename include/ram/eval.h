// What a model loses on a text, and how far compressed models lie from their original: rows of
// tokens, their losses and divergences, kept in the study as they are computed. The statistics on
// them are in statistics.h, the rules in docs/evaluation.md.
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
  kPlain,     ///< as it is
};

/// Where the tokens stand that the tokenizer's template puts before a text.
enum class Bos : uint8_t {
  kStart,     ///< once, before the whole text; what the template puts after it comes too
  kEveryRow,  ///< before each row, which then holds so many tokens less of the text
  kNone,
};

std::string_view text_format_name(TextFormat format);  ///< "wikitext", "plain"
std::string_view bos_name(Bos bos);                    ///< "start", "every-row", "none"
std::optional<TextFormat> parse_text_format(std::string_view name);
std::optional<Bos> parse_bos(std::string_view name);
std::string_view precision_name(Precision precision);  ///< "f32", "bf16"

struct RowOptions {
  int64_t length = 2048;             ///< tokens of a row, at least 2
  std::optional<int64_t> rows = {};  ///< how many are drawn at most, at least 1; nothing: all
  uint32_t seed = 42;                ///< of the draw
  Bos bos = Bos::kStart;
  std::optional<TextFormat> format = {};  ///< nothing: as the text looks
};

/// The largest text that is read, bytes.
inline constexpr int64_t kLargestText = int64_t{256} << 20;

/// A text file, read whole and checked.
struct Text {
  std::string path;
  std::string content;             ///< UTF-8; lines end with "\n", no byte order mark
  std::string sha256;              ///< of the content: the file's own where nothing was left out
  std::vector<std::string> notes;  ///< what was not taken as the file has it
};

/// Reads text as Python does: "\r\n" and "\r" end lines as "\n" does; a byte order mark is left
/// out. Of a .jsonl or .ndjson file the field "text" of each line is taken, an empty line between
/// each two.
/// @throws Error{kMissing} unreadable; {kCorrupt} not UTF-8 (names the byte), empty, or a line
///         of .jsonl without a text (names it); {kUnsupported} larger than kLargestText,
///         compressed, a table, or JSON (says what to do).
Text read_text(const std::filesystem::path& path);

/// @return kWikitext if a line among the first has the form of WikiText's headings, " = Title = ".
TextFormat detect_format(std::string_view content);

/// A text as the rows that are scored. Of a row of n tokens, n - 1 are: each but the first.
struct TextRows {
  std::string text_sha256;
  std::vector<std::string> notes;  ///< as Text::notes
  TextFormat format = TextFormat::kPlain;
  bool detected = false;  ///< the format was not given
  Bos bos = Bos::kStart;
  int64_t length = 0;
  int64_t text_tokens = 0;       ///< of the whole text; with kStart also what the template adds
  int64_t prefix_tokens = 0;     ///< that the template puts before a text
  int64_t rows_total = 0;        ///< what does not fill a row is left out
  std::vector<int64_t> indices;  ///< of the rows drawn, ascending
  std::vector<TokenRow> rows;    ///< the same rows

  int64_t scored_tokens() const { return std::ssize(rows) * (length - 1); }
  /// What names this way of cutting, whichever rows are drawn: "wikitext length 2048 bos start".
  std::string protocol() const;
};

/// Tokenizes once and cuts rows that do not overlap.
/// @throws Error{kCorrupt} the text has fewer tokens than a row (says how many there are);
///         {kUsage} options out of range.
TextRows cut_rows(const Text& text, const Tokenizer& tokenizer, const RowOptions& options);

/// The beginning of a row's text on one line: control characters escaped as \n, \t, \x1b, the rest
/// as it is, at most `width` characters.
std::string excerpt(const Tokenizer& tokenizer, std::span<const TokenId> row, size_t width);

/// KL(reference || model) over tokens, nats.
struct Divergence {
  double mean = 0;
  double median = 0;
  double p90 = 0;
  double p99 = 0;
  double p999 = 0;
  double max = 0;
  double same_top1 = 0;    ///< share of tokens at which both hold the same one for the likeliest
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

/// What was found of one model.
struct Perplexity {
  EvaluatedModel model;
  Precision precision = Precision::kF32;
  int64_t max_positions = 0;   ///< that the model was made for, by its config
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

/// Scores a model on a text. What the study holds is not computed again; what is computed is kept
/// in it block by block.
///
/// @param model_name folder or repository id.
/// @param options    its memory is shared by all models that run side by side.
/// @param progress   phases "hash" (bytes) and "evaluate" (tokens).
/// @throws Error{kCorrupt} a token of the text that the model has no row for (names it), a row that
///         cannot be cut, a hidden state or logit that is not finite (names the layer);
///         {kInterrupted}: blocks that were finished are kept; and what Checkpoint, Tokenizer,
///         LanguageModel and Study throw.
PerplexityResult evaluate_perplexity(const std::string& model_name,
                                     const std::filesystem::path& text, const RowOptions& rows,
                                     const EngineOptions& options, Study& study,
                                     const ProgressFn& progress = {});

/// What a difference of two models' mean perplexities amounts to.
enum class Verdict : uint8_t {
  kWorse,        ///< p_holm < kLevel
  kBetter,       ///< the same
  kTied,         ///< no more than the margin apart: within_margin
  kWithinNoise,  ///< tied: no farther from the reference than kNoiseFactor times its own rounding
  kTooFewRows,   ///< none of these is known
};

/// A difference of mean losses, a minus b, with all that is known of it.
struct PairTest {
  int a = 0;  ///< 0 is the reference, i the i-th model
  int b = 0;
  PairedDifference difference;
  Interval bootstrap95;
  double median_difference = 0;  ///< over rows, of a's loss per token minus b's
  double sign_p = 1;
  double wilcoxon_p = 1;
  int wilcoxon_sign = 0;  ///< RankTest::sign: -1 where a's losses are lower by their ranks
  double p_holm = 1;      ///< of difference.p, over all pairs
  PairedDifference kl;    ///< mean KL from the reference, a's minus b's; the reference's own is 0
  std::optional<double> kl_ratio;  ///< a's mean KL over b's; nothing where b's is 0
  Interval kl_ratio95;             ///< rows resampled as for bootstrap95; where kl_ratio is
  /// Of no difference in KL: from the reference, that a's rows lie no farther than kNoiseFactor
  /// noise floors (p_above_floor); of two models, that both lie equally far (kl.p). 1 where the
  /// mean KL of each is within kNoiseFactor noise floors, as the verdict has it.
  double kl_p = 1;
  double kl_p_holm = 1;  ///< over all pairs
  /// b is the reference, and a lies kFarFactor noise floors from it or more: no rounding does that,
  /// however few the rows.
  bool kl_far = false;
  Verdict verdict = Verdict::kTooFewRows;  ///< of a against b
  /// For kTooFewRows: how many rows would be enough (rows_to_tell); nothing where that is not
  /// known.
  std::optional<int64_t> rows_needed;

  /// @return whether KL tells a from b beyond chance, whatever perplexity says.
  bool kl_tells() const { return kl_far || kl_p_holm < kLevel; }
};

struct ComparedModel {
  Perplexity perplexity;
  Divergence divergence;
  PairTest against_reference;
};

/// Which ranking of two models deserves belief when they contradict each other.
enum class Belief : uint8_t { kMean, kMedian, kNeither };

struct InversionReport {
  int better_by_mean = 0;  ///< 0 is the reference, i the i-th model
  int better_by_median = 0;
  int other = 0;                 ///< the worse one on the mean
  bool beats_reference = false;  ///< a model is better than its reference on the mean
  std::vector<int64_t> rows;  ///< indices before drawing, of the rows that do it, strongest first
  std::vector<WorstRow> excerpts;  ///< of the first five of them, with the reference's perplexity
  double mean_better_without = 0;  ///< perplexity of better_by_mean without those rows ...
  double mean_other_without = 0;   ///< ... and of the other model
  Belief belief = Belief::kNeither;
  std::string why;  ///< half a sentence

  /// @return the model that is better by the ranking to believe; nothing for kNeither.
  std::optional<int> better() const;
};

/// Perplexities that lie no farther apart are taken for equal, unless told: a share of them.
inline constexpr double kDefaultMargin = 0.005;

struct Comparison {
  double margin = kDefaultMargin;  ///< that the verdicts are of
  TextRows text;
  Perplexity reference;
  std::vector<ComparedModel> models;
  Divergence noise_floor;       ///< the reference in bf16 against itself in float32
  std::vector<PairTest> pairs;  ///< all pairs, reference included
  std::vector<InversionReport> inversions;
};

/// Models that lie no farther from the reference than this many noise floors are tied.
inline constexpr double kNoiseFactor = 1.5;
/// Models that lie this many noise floors from the reference differ from it.
inline constexpr double kFarFactor = 10;

/// Compares models with a reference on the same rows, in float32: losses, divergences, tests, and
/// verdicts with kDefaultMargin. Reference and models run side by side over blocks of rows; logits
/// are never held.
///
/// @param names of the reference, then of the models: folders or repository ids.
/// @param seed  of the bootstrap.
/// @param options its precision is not looked at.
/// @throws as evaluate_perplexity; Error{kUnsupported} vocabularies or token ids differ: there is
///         no common row to compare.
Comparison compare_models(std::span<const std::string> names, const std::filesystem::path& text,
                          const RowOptions& rows, uint64_t seed, const EngineOptions& options,
                          Study& study, const ProgressFn& progress = {});

/// Gives the verdicts anew. @param margin in (0, 1]: a share of perplexity.
void judge(Comparison& comparison, double margin);

/// Sums over the scored tokens of each row (all but the last), nats.
struct RowSums {
  std::vector<std::vector<double>> nll;  ///< [sources][rows]
  std::vector<std::vector<double>> kl;   ///< [sources - 1][rows], from the first source
};

/// Losses and divergences of the rows whose hidden states the sources hold.
/// @param rows the ids of those rows, at least two each.
/// @throws as visit_logits
RowSums row_sums(std::span<const TokenRow> rows, std::span<const LogitSource> sources);

/// KL(first source || other source) of the rows whose hidden states the sources hold.
/// @param rows the ids of those rows, at least two each; the last token of a row is not scored.
/// @return [sources - 1][rows], nats, summed over a row's scored tokens.
/// @throws as visit_logits
std::vector<std::vector<double>> divergence_sums(std::span<const TokenRow> rows,
                                                 std::span<const LogitSource> sources);

/// Digest of a model folder's content (weight files, config.json, tokenizer.json), as the study
/// keeps it (docs/formats/study.md). Weight files are read only if the study does not know them.
/// @param progress phase "hash".
/// @throws Error{kCorrupt} a file changed while it was read; {kInterrupted}; and what Study throws.
std::string model_digest(const Checkpoint& checkpoint, Study& study,
                         const ProgressFn& progress = {});

/// Fails where rows hold an id that the model has no row of the embedding for. A tokenizer may have
/// such ids, as fine-tunes with an added token do: only the texts that need one cannot be scored.
/// @throws Error{kCorrupt} names the id and the model's last.
void check_token_ids(std::span<const TokenRow> rows, const Checkpoint& checkpoint);

/// @return what the study keeps of a model that is run, after keeping it there.
/// @param progress phase "hash". @throws as model_digest
EvaluatedModel evaluated_model(const Checkpoint& checkpoint, Study& study,
                               const ProgressFn& progress = {});

}  // namespace ram
