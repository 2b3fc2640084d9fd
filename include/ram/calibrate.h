// What a plan can learn from running the model: text that the model generates itself, how much each
// unit matters for its predictions, and encodings that take a matrix's inputs into account. No
// external data is needed.
//
// Hides the passes over the layers: layers before a disturbed one are computed once, weights are
// read from disk a fixed number of times, and second moments of one layer are held at a time.
// Memory grows with the text and with the largest layer as stored, not with the model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ram/encoder.h"
#include "ram/engine.h"
#include "ram/file.h"
#include "ram/plan.h"
#include "ram/progress.h"
#include "ram/study.h"
#include "ram/tokenizer.h"

namespace ram {

/// A text to calibrate on, in rows of one length.
struct CalibrationText {
  std::string spec;    ///< how it was made: "own rows 64 length 256 seed 42 rule 5"
  std::string digest;  ///< Hasher's, of the ids
  std::vector<TokenRow> rows;

  int64_t tokens() const;
};

/// How memory is divided between a model and the calibration that runs it.
struct CalibrationMemory {
  int64_t model = 0;     ///< EngineOptions::memory_bytes
  int64_t variants = 0;  ///< ProbeOptions::memory_bytes
  int64_t moments = 0;   ///< CompressOptions::memory_bytes
};

/// Divides `total` bytes so that own_text, measure_coefficients and compress_units stay within them
/// on a text of rows x length: each gets the minimum that it needs, then the model gets one half of
/// the rest.
/// @param length capped at the model's max_positions.
/// @throws Error{kUsage} it is too little (says how much is needed, and how to need less).
CalibrationMemory share_memory(const Checkpoint& checkpoint, int64_t total, int threads,
                               int64_t rows, int64_t length);

/// The work of a calibration: what will be done with a model that is run before it is planned or
/// written.
struct CalibrationWork {
  int64_t rows = 64;     ///< of the text
  int64_t length = 256;  ///< tokens of a row, capped at the model's max_positions
  bool write_text = true;
  std::vector<int> units = {};           ///< to be measured and compressed
  bool coefficients = true;              ///< measure_coefficients, with its usual options
  bool gradients = false;                ///< instead: gradient_coefficients, likewise
  bool gains = true;                     ///< measure_gains
  Encoder encoder = Encoder::kFeedback;  ///< for compress_units; kMlx: nothing is compressed
  bool sequential = true;                ///< CompressOptions::sequential
  DType dtype = DType::kBF16;
};

/// What one step will take.
struct StepForecast {
  double seconds = 0;
  int64_t memory_bytes = 0;  ///< including the program
};

struct CalibrationForecast {
  StepForecast text;
  StepForecast coefficients;  ///< on as many rows as other models needed (docs/performance.md)
  double least_coefficients_seconds = 0;  ///< on two rows, the minimum under any time limit
  StepForecast gains;
  StepForecast compress;
};

/// Estimates what a calibration takes by doing a little of each step: two passes of some rows
/// through a layer, logits, and a factorization and an encoding for each matrix width. Results that
/// the study already has by then make it faster.
/// @throws as LanguageModel; {kInterrupted}.
/// @cost a few seconds: several times the reading and multiplying of a layer; more for wide
///         matrices.
CalibrationForecast forecast_calibration(LanguageModel& model, const CalibrationWork& work,
                                         const CalibrationMemory& memory);

struct CalibrationTextOptions {
  int64_t rows = 64;
  int64_t length = 256;  ///< tokens of a row, capped at the model's max_positions
  uint64_t seed = 42;
  /// Rows of own text that are generated together, one token of each at a time; an interrupted run
  /// loses that many. 0: 32, or, if the model does not fit in memory, as many as fit in a quarter
  /// of the memory.
  int64_t rows_at_once = 0;
  /// The first token of own text after text_beginning is drawn uniformly from the vocabulary's
  /// ordinary tokens, so that rows do not all start like the beginning of a text.
  bool random_start = false;
};

/// The ids that a text generated from nothing begins with: the tokenizer's prefix, else BOS, else
/// the document separator. @throws Error{kUnsupported} the model has none of these.
std::vector<TokenId> text_beginning(const Tokenizer& tokenizer, const ModelConfig& config);

/// @return CalibrationText::spec of a text that does not exist yet.
/// @param source "own", "random", or "file sha256 " and the file's hash.
/// @param options rows_at_once is ignored; random_start counts for own text only.
std::string text_spec(std::string_view source, const ModelConfig& config,
                      const CalibrationTextOptions& options);

/// The seed of a row of own text (SampleOptions::seed). Rows of different seeds are unrelated, and
/// unrelated to what `ram generate` draws with the same seed.
uint64_t own_text_seed(uint64_t seed, int64_t row);

/// Text that the model generates itself, at temperature 1 from text_beginning. An end of text is a
/// token like any other: the next text follows in the same row. The result does not depend on
/// rows_at_once. Rows are kept in the study as they are finished, and are not generated again.
///
/// @param fingerprint the model's, as in the study.
/// @param progress    phase "own text", in tokens.
/// @throws as Decoder::feed and Study; {kInterrupted}.
CalibrationText own_text(LanguageModel& model, const Tokenizer& tokenizer,
                         const std::string& fingerprint, const CalibrationTextOptions& options,
                         Study& study, const ProgressFn& progress = {});

/// Ids drawn uniformly from the vocabulary. @param vocabulary size of the tokenizer's, at least 1.
CalibrationText random_text(int64_t vocabulary, const CalibrationTextOptions& options);

/// Rows of a text file, spread evenly over it.
/// @throws as read_text and cut_rows.
CalibrationText file_text(const std::filesystem::path& file, const Tokenizer& tokenizer,
                          const CalibrationTextOptions& options);

/// What a block of probing will take, estimated from one pass of its text through the model.
struct ProbeForecast {
  int64_t variants = 0;  ///< units times seeds, without those already known
  int64_t rows = 0;      ///< of the text
  double seconds = 0;
};

struct ProbeOptions {
  double relative_noise = 0.08;  ///< norm of the disturbance relative to that of the weights
  int seeds = 2;  ///< units that are uncertain on all rows get more, up to most_seeds
  int most_seeds = 8;
  int64_t first_rows = 8;    ///< of the text; units that remain uncertain get more, up to all
  double aimed_error = 0.3;  ///< one standard error of the coefficient's logarithm
  double seconds = 0;        ///< approximate limit, kept by using fewer rows; 0: none
  /// Memory for rows of variants that are run together, at least one variant's; 0: an eighth of the
  /// machine's.
  int64_t memory_bytes = 0;
  uint64_t seed = 42;
  /// Replaces a unit's weights by these values instead of adding noise. relative_noise is then the
  /// nominal size of the errors, seeds and most_seeds are 1, and `disturbance` names the values in
  /// the study.
  std::function<UnitRows(int unit)> values = {};
  std::string disturbance = {};
  /// Called before the variants of each block of rows.
  std::function<void(const ProbeForecast&)> forecast = {};
};

/// KL(original || disturbed) per token, divided by the squared relative error, of one unit.
struct Coefficient {
  double value = 0;
  double log_error = 0;  ///< standard error of its logarithm, over rows and seeds
  int64_t rows = 0;      ///< on which it was measured
  int seeds = 0;
  /// The same from the even and from the odd rows alone; 0 if there are none.
  double even = 0;
  double odd = 0;
};

struct Coefficients {
  std::vector<std::optional<Coefficient>> units;  ///< per Checkpoint::units; nothing: not requested
  /// Token-layers that were run, and how many it would have been with every probe starting at the
  /// embedding.
  double layers_run = 0;
  double layers_naive = 0;
  double seconds = 0;
  bool cut_short = false;  ///< the time was up before aimed_error was reached
};

/// Measures how much each of `units` matters: disturbs it with noise and compares the model's
/// predictions on the text. What the study knows is not measured again; results are kept layer by
/// layer.
///
/// @param progress phase "probe", in variants.
/// @throws as LanguageModel, visit_logits and Study; {kInterrupted}.
/// @cost for each unit and seed a pass of the text from the unit's layer to the end.
Coefficients measure_coefficients(LanguageModel& model, const std::string& fingerprint,
                                  std::span<const int> units, const CalibrationText& text,
                                  const ProbeOptions& options, Study& study,
                                  const ProgressFn& progress = {});

struct GradientOptions {
  int64_t rows = 8;  ///< of the text, at least; units that are uncertain get more, up to all
  double aimed_error = 0.3;  ///< one standard error of the coefficient's logarithm
  /// Memory for what is kept of rows that go back through the layers together, at least one row's;
  /// 0: an eighth of the machine's. Where more rows fit without what enters each layer, that waits
  /// in a file beside the study.
  int64_t memory_bytes = 0;
  uint64_t seed = 42;  ///< of labels that are drawn
};

/// The same coefficients from backward passes: to second order, independent noise of relative size
/// r in a unit's weights W costs r^2 mean(W^2) tr F / 2, where tr F, the trace of the Fisher
/// information per token, is the expected squared norm of the gradient of the log-likelihood of
/// labels that the model draws itself. In text that it wrote, each token is such a draw; for other
/// text, labels are drawn. Which experts a token goes to counts as fixed, so that a mixture's
/// coefficients are too small.
///
/// @param text rows of at least two tokens.
/// @param progress phase "gradient", in rows times layers.
/// @throws as LanguageModel and Study; {kInterrupted}. @pre Precision::kF32.
/// @cost 4.2 to 4.6 forward passes of the rows, for all units together (docs/notes/gradients.md);
///       weights are loaded three times for each block of rows that fits in memory.
/// @source Martens, "New insights and perspectives on the natural gradient method" (2020), 5 and 9
Coefficients gradient_coefficients(LanguageModel& model, const std::string& fingerprint,
                                   std::span<const int> units, const CalibrationText& text,
                                   const GradientOptions& options, Study& study,
                                   const ProgressFn& progress = {});

struct CompressOptions {
  Encoder encoder = Encoder::kFeedback;
  DType dtype = DType::kBF16;
  /// Linears are encoded group by group, those with the same input together. Inputs are those that
  /// the already encoded linears produce, and the targets are the outputs that the original has for
  /// its own inputs (FeedbackEncoder::aim). For kFeedback; otherwise all inputs are the original's.
  bool sequential = true;
  /// A part's (expert's) second moment is shrunk towards its unit's, which counts as this many
  /// tokens.
  double shrink_tokens = 64;
  FeedbackOptions feedback = {};
  /// Memory for second moments; a layer whose moments do not fit takes several passes, with the
  /// same result. 0: a quarter of the machine's.
  int64_t memory_bytes = 0;
};

/// Measures what kFeedback gains over plain rounding, on at most 128 rows of each unit (of four
/// experts), at six formats each, with the original model's inputs. What the study knows is not
/// measured again; results are kept layer by layer.
///
/// Over the matrices of the models that were measured, the two factors leave 5 % of a ratio
/// unexplained (docs/encoders.md).
///
/// @param options sequential is ignored. @pre the encoder is kFeedback.
/// @param progress phase "sample", in units.
/// @throws as LanguageModel and Study; {kInterrupted}.
/// @cost a pass of the text, more if a layer's second moments do not fit; and the encoding of 768
///         rows per matrix.
EncoderGains measure_gains(LanguageModel& model, const std::string& fingerprint,
                           std::span<const int> units, const CalibrationText& text,
                           const CompressOptions& options, Study& study,
                           const ProgressFn& progress = {});

/// A unit as it is stored, and its errors.
struct CompressedUnit {
  int unit = 0;
  std::vector<EncodedMatrix> parts;
  double squared_error = 0;  ///< of the weights, after the cast
  double sum_squares = 0;
  /// Squared error of the outputs relative to that of independent noise as large as the weights:
  /// what a coefficient is multiplied by. squared_error / sum_squares if nothing is known of the
  /// inputs. Measured against the aimed weights, so that an aim's deliberate deviation does not
  /// count.
  double output_error = 0;
  int64_t starved_parts = 0;  ///< parts that saw fewer than 64 tokens of the text
};

/// How compression changed the predictions on the calibration text.
struct CompressResult {
  double kl = 0;                      ///< KL(original || compressed), nats per token
  std::vector<double> row_kl;         ///< the same, per row of the text
  std::vector<CompressedUnit> units;  ///< those with a format, without their parts
  int64_t starved_parts = 0;
  int64_t parts = 0;  ///< of units with several
};

/// Compresses units layer by layer, and runs the text through the compressed and the original
/// layers.
///
/// @param formats one per Checkpoint::units; nothing: the unit is not compressed.
/// @param known returns a unit that was compressed before under the same conditions, or nothing;
///         may be empty.
/// @param sink receives each unit once, when it is done; may be empty.
/// @param progress phase "compress", in weights.
/// @throws as LanguageModel; {kInterrupted}.
/// @cost two or three passes of the text, plus the passes that a layer needs whose second moments
///         do not fit; sequential: two for each group of inputs (four in a dense layer), and two.
CompressResult compress_units(LanguageModel& model, std::span<const UnitFormat> formats,
                              const CalibrationText& text, const CompressOptions& options,
                              const std::function<std::optional<CompressedUnit>(int unit)>& known,
                              const std::function<void(const CompressedUnit& unit)>& sink,
                              const ProgressFn& progress = {});

/// The effect of noise of given sizes in all units at once on the rows of a text.
struct NoiseResult {
  std::vector<double> row_kl;   ///< KL(original || disturbed), nats, summed over a row's tokens
  std::vector<double> row_nll;  ///< loss of the disturbed model, nats, summed likewise
};

/// Adds Gaussian noise to every unit, layer by layer, and runs the text through the result.
/// @param relative per unit, the norm of its noise relative to that of its weights; 0: no noise.
/// @param seed     of the noise.
/// @throws as LanguageModel and visit_logits; {kInterrupted}.
NoiseResult run_with_noise(LanguageModel& model, std::span<const double> relative,
                           std::span<const TokenRow> rows, uint64_t seed);

/// A compressed unit's weights as they will be decoded.
UnitRows decoded_rows(const Checkpoint& checkpoint, CompressedUnit unit, AffineFormat format,
                      DType dtype);

/// The folder of compressed units beside an output folder, for one program at a time. It remains,
/// for the next run, as long as it contains units that are not yet written to the output.
class EncodedFolder {
 public:
  /// Makes the folder ".NAME.ram-encoded" beside `out` and takes its lock.
  /// @throws Error{kUsage} another program is working on this output; {kWriteFailed}.
  explicit EncodedFolder(const std::filesystem::path& out);
  /// Releases the lock, and removes the folder and the parents made for it if they are empty.
  ~EncodedFolder();
  EncodedFolder(const EncodedFolder&) = delete;
  EncodedFolder& operator=(const EncodedFolder&) = delete;

  const std::filesystem::path& out() const { return out_; }
  const std::filesystem::path& path() const { return path_; }
  /// @return bytes of all units in the folder, those of other stores included.
  int64_t bytes() const;
  /// Removes its contents. Never fails.
  void clear();

 private:
  /// Removes the folder and the parents made for it, as far as they are empty.
  void remove_empty();

  std::filesystem::path out_;
  std::filesystem::path path_;
  std::vector<std::filesystem::path> made_parents_;
  std::unique_ptr<FileLock> lock_;
};

/// Compressed units on disk, one file each: they are kept there until the output folder is written,
/// and after a killed run. Several stores can share a folder.
class EncodedStore {
 public:
  /// @param folder outlives the store.
  /// @param circumstances everything that the units depend on besides name and format: model, text,
  ///         encoder and its options, dtype. Files made under other circumstances are not found.
  EncodedStore(const Checkpoint& checkpoint, std::span<const UnitFormat> formats, DType dtype,
               EncodedFolder& folder, std::string circumstances);
  ~EncodedStore();

  /// @return the stored unit; nothing if it is missing, damaged or a different one.
  std::optional<CompressedUnit> find(int unit) const;
  /// Writes a temporary file, then renames it.
  /// @throws Error{kWriteFailed}; {kCorrupt} the model's files changed since they were opened.
  void put(const CompressedUnit& unit);

  int64_t bytes() const;  ///< of the files of all units with a format
  /// The same of the units that have no file yet.
  int64_t missing_bytes() const;
  /// Removes the files of other stores from the folder, and units with another format. Never fails.
  void remove_others();

  /// Reads rows of a stored unit: what BuildOptions::encoded calls. The whole unit is checked
  /// against its digest on the first call, and again if its file has changed since. Safe to call
  /// from several threads.
  /// @throws Error{kCorrupt} it is missing or damaged: compressing again replaces it.
  void read_rows(int unit, int part, int64_t row, int64_t count, uint32_t* codes, std::byte* scales,
                 std::byte* biases) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ram
