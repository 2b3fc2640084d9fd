// What a plan can learn from running the model: text that the model writes itself, how much each
// unit matters for its predictions, and encodings that look at what a matrix multiplies. No data
// from outside is needed.
//
// Hides the passes over the layers: what comes before a disturbed layer is computed once, weights
// pass from disk a fixed number of times, second moments of one layer are held at a time. What is
// held at all grows with the text and the largest layer as stored, not with the model.
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
  std::string spec;    ///< how it came about: "own rows 64 length 256 seed 42 rule 3"
  std::string digest;  ///< Hasher's, of the ids
  std::vector<TokenRow> rows;

  int64_t tokens() const;
};

/// How memory is shared between a model and what learns from it.
struct CalibrationMemory {
  int64_t model = 0;     ///< EngineOptions::memory_bytes
  int64_t variants = 0;  ///< ProbeOptions::memory_bytes
  int64_t moments = 0;   ///< CompressOptions::memory_bytes
};

/// Shares `total` bytes so that own_text, measure_coefficients and compress_units keep to it on a
/// text of rows x length: each gets what it needs at least, and then the model one half of the
/// rest.
/// @param length cut to what the model was made for.
/// @throws Error{kUsage} it is too little (says how much is needed, and what needs less).
CalibrationMemory share_memory(const Checkpoint& checkpoint, int64_t total, int threads,
                               int64_t rows, int64_t length);

/// What is going to be done with a model that is run before it is planned or written.
struct CalibrationWork {
  int64_t rows = 64;     ///< of the text
  int64_t length = 256;  ///< tokens of a row, cut to what the model was made for
  bool write_text = true;
  std::vector<int> units = {};           ///< that are measured and compressed
  bool coefficients = true;              ///< measure_coefficients, with its usual options
  bool gains = true;                     ///< measure_gains
  Encoder encoder = Encoder::kFeedback;  ///< of compress_units; kMlx: nothing is compressed
  bool sequential = true;                ///< CompressOptions::sequential
  DType dtype = DType::kBF16;
};

/// What one step is about to take.
struct StepForecast {
  double seconds = 0;
  int64_t memory_bytes = 0;  ///< the program included
};

struct CalibrationForecast {
  StepForecast text;
  StepForecast coefficients;  ///< on as many rows as units need elsewhere (docs/performance.md)
  double least_coefficients_seconds = 0;  ///< on two rows, which no time limit goes below
  StepForecast gains;
  StepForecast compress;
};

/// Foretells what a calibration takes, by doing a little of each thing: two passes of some rows
/// through a layer, logits, a factor and an encoding for each width of a matrix. What the study
/// knows by then takes less.
/// @throws as LanguageModel; {kInterrupted}.
/// @cost a few seconds, some times what a layer takes to read and multiply; more for wide matrices.
CalibrationForecast forecast_calibration(LanguageModel& model, const CalibrationWork& work,
                                         const CalibrationMemory& memory);

struct CalibrationTextOptions {
  int64_t rows = 64;
  int64_t length = 256;  ///< tokens of a row, cut to what the model was made for
  uint64_t seed = 42;
  /// Rows of own text that are written side by side, a token each at a time: an interrupted run
  /// loses as many. 0: 32, or, of a model that memory does not hold, all that a quarter of the
  /// memory has room for.
  int64_t rows_at_once = 0;
  /// The first token of own text after text_beginning is drawn uniformly from the vocabulary's
  /// ordinary tokens, so that rows start anywhere and not as texts begin.
  bool random_start = false;
};

/// What a text from nothing begins with: the tokenizer's own prefix, else BOS, else the document
/// separator. @throws Error{kUnsupported} there is none of these.
std::vector<TokenId> text_beginning(const Tokenizer& tokenizer, const ModelConfig& config);

/// @return CalibrationText::spec of a text that is not there yet.
/// @param source "own", "random", or "file sha256 " and the file's hash.
/// @param options rows_at_once is not looked at, random_start by own text only.
std::string text_spec(std::string_view source, const ModelConfig& config,
                      const CalibrationTextOptions& options);

/// What draws a row of own text (SampleOptions::seed). Rows of different seeds have nothing in
/// common, and nothing with what `ram generate` draws with the same seed.
uint64_t own_text_seed(uint64_t seed, int64_t row);

/// Text that the model writes itself, at temperature 1 from text_beginning; an end of text is a
/// token like any other, and the next text follows in the row. The same whatever rows_at_once. Kept
/// in the study as rows are done: what is there is not written again.
///
/// @param fingerprint of the model, as the study knows it.
/// @param progress    phase "own text", in tokens.
/// @throws as Decoder::feed and Study; {kInterrupted}.
CalibrationText own_text(LanguageModel& model, const Tokenizer& tokenizer,
                         const std::string& fingerprint, const CalibrationTextOptions& options,
                         Study& study, const ProgressFn& progress = {});

/// Ids drawn uniformly from the vocabulary. @param vocabulary of the tokenizer, at least 1.
CalibrationText random_text(int64_t vocabulary, const CalibrationTextOptions& options);

/// Rows of a text file, spread evenly over it.
/// @throws as read_text and cut_rows.
CalibrationText file_text(const std::filesystem::path& file, const Tokenizer& tokenizer,
                          const CalibrationTextOptions& options);

/// What a block of probing is about to take, from one pass of its text through the model.
struct ProbeForecast {
  int64_t variants = 0;  ///< units times seeds, as far as they are not known
  int64_t rows = 0;      ///< of the text
  double seconds = 0;
};

struct ProbeOptions {
  double relative_noise = 0.08;  ///< norm of the disturbance over that of the weights
  int seeds = 2;                 ///< units uncertain on all rows get more, up to most_seeds
  int most_seeds = 8;
  int64_t first_rows = 8;    ///< of the text; units that stay uncertain get more, up to all
  double aimed_error = 0.3;  ///< of the coefficient's logarithm, one standard error
  double seconds = 0;        ///< what it may take, about, by cutting rows; 0: no bound
  /// Rows of variants that travel together, at least one's; 0: an eighth of the machine's.
  int64_t memory_bytes = 0;
  uint64_t seed = 42;
  /// Other values than noise: what a unit's weights are replaced by; then relative_noise is what
  /// these errors are called, seeds and most_seeds are 1, and `disturbance` names them in the
  /// study.
  std::function<UnitRows(int unit)> values = {};
  std::string disturbance = {};
  /// Called before the variants of each block of rows.
  std::function<void(const ProbeForecast&)> forecast = {};
};

/// KL(original || disturbed) per token and squared relative error, of one unit.
struct Coefficient {
  double value = 0;
  double log_error = 0;  ///< standard error of its logarithm, over rows and seeds
  int64_t rows = 0;      ///< that it was measured on
  int seeds = 0;
  /// The same from the even and from the odd rows alone; 0 where there are none.
  double even = 0;
  double odd = 0;
};

struct Coefficients {
  std::vector<std::optional<Coefficient>> units;  ///< per Checkpoint::units; nothing: not asked for
  /// Token-layers that were run, and what probing every unit from the embedding on would have run.
  double layers_run = 0;
  double layers_naive = 0;
  double seconds = 0;
  bool cut_short = false;  ///< the time was over before the aimed error was reached
};

/// Measures how much each of `units` matters: disturbs it with noise and looks at the model's
/// predictions on the text. What the study knows is not measured again; what is measured is kept
/// layer by layer.
///
/// @param progress phase "probe", in variants.
/// @throws as LanguageModel, visit_logits and Study; {kInterrupted}.
/// @cost   for each unit and seed a pass of the text from its layer to the end.
Coefficients measure_coefficients(LanguageModel& model, const std::string& fingerprint,
                                  std::span<const int> units, const CalibrationText& text,
                                  const ProbeOptions& options, Study& study,
                                  const ProgressFn& progress = {});

struct CompressOptions {
  Encoder encoder = Encoder::kFeedback;
  DType dtype = DType::kBF16;
  /// Linears are encoded one group of inputs after the other: inputs are what those encoded before
  /// make of them, and it aims at the outputs that the original has for its own
  /// (FeedbackEncoder::aim). For kFeedback; otherwise all inputs are the original's.
  bool sequential = true;
  /// A part's (expert's) second moment is drawn towards its unit's by so many tokens' worth.
  double shrink_tokens = 64;
  FeedbackOptions feedback = {};
  /// Second moments at a time; where a layer's do not fit, it takes several passes, with the same
  /// result. 0: a quarter of the machine's.
  int64_t memory_bytes = 0;
};

/// Measures what kFeedback gains over plain rounding, on at most 128 rows of each unit
/// (of four experts), at six formats each, by the inputs in the original model. What the study
/// knows is not measured again; what is measured is kept layer by layer.
///
/// Over the matrices of the models at hand the factors leave 5 % of a ratio unexplained
/// (docs/encoders.md).
///
/// @param options sequential is not looked at. @pre the encoder is kFeedback.
/// @param progress phase "sample", in units.
/// @throws as LanguageModel and Study; {kInterrupted}.
/// @cost  a pass of the text, more where a layer's second moments do not fit; and encoding of 768
///        rows a matrix.
EncoderGains measure_gains(LanguageModel& model, const std::string& fingerprint,
                           std::span<const int> units, const CalibrationText& text,
                           const CompressOptions& options, Study& study,
                           const ProgressFn& progress = {});

/// A unit as it is stored, and what is known of it.
struct CompressedUnit {
  int unit = 0;
  std::vector<EncodedMatrix> parts;
  double squared_error = 0;  ///< of the weights, after the cast
  double sum_squares = 0;
  /// Squared error of the outputs over that of independent noise as large as the weights: what a
  /// coefficient is multiplied by. Where nothing is known of the inputs, squared_error /
  /// sum_squares. What an aim made up for is none of it.
  double output_error = 0;
  int64_t starved_parts = 0;  ///< parts that fewer than 64 tokens of the text came to
};

/// What compressing did to the predictions on the text that it was calibrated on.
struct CompressResult {
  double kl = 0;                      ///< KL(original || compressed), nats per token
  std::vector<double> row_kl;         ///< the same, per row of the text
  std::vector<CompressedUnit> units;  ///< those with a format, without their parts
  int64_t starved_parts = 0;
  int64_t parts = 0;  ///< of units with several
};

/// Compresses units layer by layer, and takes the text through the result beside the original.
///
/// @param formats one per Checkpoint::units; nothing: the unit stays as it is.
/// @param known   returns a unit that was compressed before under the same circumstances, or
///                nothing; may be empty.
/// @param sink    takes each unit once, in the order in which they come; may be empty.
/// @param progress phase "compress", in weights.
/// @throws as LanguageModel; {kInterrupted}.
/// @cost   two or three passes of the text, and one more for as often as a layer's second moments
///         do not fit; sequential: two for each group of inputs (four in a dense layer), and two.
CompressResult compress_units(LanguageModel& model, std::span<const UnitFormat> formats,
                              const CalibrationText& text, const CompressOptions& options,
                              const std::function<std::optional<CompressedUnit>(int unit)>& known,
                              const std::function<void(const CompressedUnit& unit)>& sink,
                              const ProgressFn& progress = {});

/// What noise of given sizes in all units at once does to the rows of a text.
struct NoiseResult {
  std::vector<double> row_kl;   ///< KL(original || disturbed), nats, summed over a row's tokens
  std::vector<double> row_nll;  ///< loss of the disturbed model, the same
};

/// Disturbs every unit by Gaussian noise, layer by layer, and takes the text through it.
/// @param relative per unit, the norm of its noise over that of its weights; 0: left as it is.
/// @param seed     of the noise.
/// @throws as LanguageModel and visit_logits; {kInterrupted}.
NoiseResult run_with_noise(LanguageModel& model, std::span<const double> relative,
                           std::span<const TokenRow> rows, uint64_t seed);

/// A compressed unit's weights as they will be read.
UnitRows decoded_rows(const Checkpoint& checkpoint, CompressedUnit unit, AffineFormat format,
                      DType dtype);

/// The folder of compressed units beside an output folder, for one program at a time. It stays
/// behind where something was compressed and not yet written, for the next run to find.
class EncodedFolder {
 public:
  /// Makes the folder ".NAME.ram-encoded" beside `out` and takes its lock.
  /// @throws Error{kUsage} another program works on this output; {kWriteFailed}.
  explicit EncodedFolder(const std::filesystem::path& out);
  /// Lets go of the lock, and removes the folder if it holds nothing, and parents made for it.
  ~EncodedFolder();
  EncodedFolder(const EncodedFolder&) = delete;
  EncodedFolder& operator=(const EncodedFolder&) = delete;

  const std::filesystem::path& out() const { return out_; }
  const std::filesystem::path& path() const { return path_; }
  /// @return bytes of all units there, whosever they are.
  int64_t bytes() const;
  /// Removes all that is in it. Never fails.
  void clear();

 private:
  /// Removes the folder and the parents made for it, as far as they hold nothing.
  void remove_empty();

  std::filesystem::path out_;
  std::filesystem::path path_;
  std::vector<std::filesystem::path> made_parents_;
  std::unique_ptr<FileLock> lock_;
};

/// Compressed units on disk, one file each: what compress_units made waits there for the folder to
/// be written, and a killed run finds it again. Several stores share a folder.
class EncodedStore {
 public:
  /// @param folder outlives the store.
  /// @param circumstances all that the units depend on besides name and format: model, text,
  ///        encoder and its options, dtype. Files of others are not found.
  EncodedStore(const Checkpoint& checkpoint, std::span<const UnitFormat> formats, DType dtype,
               EncodedFolder& folder, std::string circumstances);
  ~EncodedStore();

  /// @return a unit that is there whole; nothing if it is missing, damaged or another.
  std::optional<CompressedUnit> find(int unit) const;
  /// Writes beside, then renames.
  /// @throws Error{kWriteFailed}; {kCorrupt} the model's files changed since they were opened.
  void put(const CompressedUnit& unit);

  int64_t bytes() const;  ///< of the files of all units with a format
  /// Of these, of units that have no file yet.
  int64_t missing_bytes() const;
  /// Removes what other stores have left in the folder, and units with another format. Never fails.
  void remove_others();

  /// Rows of a unit that is there; what BuildOptions::encoded asks for. The whole unit is checked
  /// against its digest when it is first asked for, and again where its file has changed since.
  /// Safe to call from several threads.
  /// @throws Error{kCorrupt} it is missing or damaged: compressing again makes it new.
  void read_rows(int unit, int part, int64_t row, int64_t count, uint32_t* codes, std::byte* scales,
                 std::byte* biases) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ram
