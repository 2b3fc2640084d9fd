// The time that a calibration will take: a sample of each kind of work is timed and scaled up.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "ram/calibrate.h"
#include "ram/cancellation.h"
#include "ram/eval.h"
#include "ram/random.h"
#include "ram/size.h"
#include "ram/thread.h"

#include "moments.h"
#include "units.h"

namespace ram {
namespace {

using Clock = std::chrono::steady_clock;

template <typename Work>
double seconds_of(const Work& work) {
  check_interrupted();
  const auto start = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Rows that all units are measured on, and the total time over the time of these rows: uncertain
// units get more rows and seeds. @source docs/performance.md, "What fit predicts": 1.5 and 4.8
constexpr int64_t kFirstRows = 8;
constexpr double kMoreRows = 2.5;
constexpr int kSeeds = 2;
// Formats that measure_gains encodes.
constexpr int64_t kSampledFormats = 6;
// Rows of an encoder tile; each thread works on one.
constexpr int64_t kTile = 128;

/// Seconds that an encoder takes for matrices of one width.
struct WidthSpeed {
  double moment = 0;  ///< per token
  double factor = 0;
  double row = 0;  ///< to encode, and to aim if requested
};

class Forecaster {
 public:
  Forecaster(LanguageModel& model, const CalibrationWork& work)
      : model_(model),
        checkpoint_(model.checkpoint()),
        work_(work),
        pool_(model.options().threads),
        length_(checkpoint_.config.max_positions > 0
                    ? std::min(work.length, checkpoint_.config.max_positions)
                    : work.length),
        layer_(model.layers() / 2) {}

  CalibrationForecast run(const CalibrationMemory& memory) {
    time_layer();
    time_logits();
    find_groups();
    CalibrationForecast forecast;
    if (work_.write_text) forecast.text.seconds = text_seconds();
    if (work_.coefficients && work_.gradients) {
      forecast.coefficients.seconds = gradient_seconds(memory);
    } else if (work_.coefficients) {
      forecast.coefficients.seconds = kMoreRows * probe_seconds(kFirstRows);
      forecast.least_coefficients_seconds = probe_seconds(kLeastRows);
    }
    if (work_.gains) forecast.gains.seconds = gains_seconds();
    if (work_.encoder != Encoder::kMlx) forecast.compress.seconds = compress_seconds(memory);
    // The first stage packs the weights.
    (work_.write_text     ? forecast.text
     : work_.coefficients ? forecast.coefficients
     : work_.gains        ? forecast.gains
                          : forecast.compress)
        .seconds += packing_;
    const int64_t pass = std::min(memory.model, model_.pass_bytes(length_));
    const int64_t states = work_.rows * model_.row_bytes(length_);
    forecast.text.memory_bytes = pass + text_bytes();
    const int64_t back = gradient_row_bytes(model_, length_);
    forecast.coefficients.memory_bytes =
        pass + 2 * states +
        (work_.gradients ? std::max({back, std::min(memory.variants, gradient_rows() * back),
                                     kept_rows() * model_.kept_logit_bytes(length_)})
                         : std::min(memory.variants, variants_bytes()));
    forecast.gains.memory_bytes = pass + states + std::min(memory.moments, moments_bytes(1));
    forecast.compress.memory_bytes =
        pass + 3 * states + std::min(memory.moments, moments_bytes(work_.sequential ? 2 : 1));
    return forecast;
  }

 private:
  std::vector<TokenRow> some_rows(int64_t count, int64_t length) {
    SplitMix64 random(1);
    std::vector<TokenRow> rows(static_cast<size_t>(count));
    for (TokenRow& row : rows) {
      for (int64_t i = 0; i < length; ++i) {
        row.push_back(
            static_cast<int32_t>(random.uniform() * static_cast<double>(checkpoint_.config.vocab)));
      }
    }
    return rows;
  }

  double pass_of(const HiddenRows& rows) {
    HiddenRows passing = copy_rows(rows);
    return seconds_of([&] { model_.run_layers(passing, layer_, layer_ + 1); });
  }

  /// The faster of two passes: other load on the machine only makes them slower.
  double quick_pass_of(const HiddenRows& rows) {
    const double one = pass_of(rows);
    return std::min(one, pass_of(rows));
  }

  void time_layer() {
    const int64_t most = std::max<int64_t>(2, model_.options().threads);
    const int64_t count = std::min(work_.rows, most);
    const HiddenRows many = model_.embed(some_rows(count, length_));
    HiddenRows one;
    one.push_back(many.front().copy());
    const double first = pass_of(one);
    const double alone = quick_pass_of(one);
    const double together = quick_pass_of(many);
    const int layers = model_.layers();
    if (model_.keeps_weights()) {
      packing_ = std::max(0.0, first - alone) * layers;
      row_ = together / static_cast<double>(count);
    } else {
      row_ = count > 1 ? std::max(0.0, together - alone) / static_cast<double>(count - 1) : alone;
      reading_ = std::max(0.0, alone - row_);
    }
    at_once_ = std::min(work_.rows, text_rows_at_once(model_, length_));
    if (!work_.write_text) return;
    const HiddenRows tokens = model_.embed(some_rows(1, std::max<int64_t>(2, at_once_)));
    step_ = quick_pass_of(tokens);
  }

  /// Times the logits of a row, and drawing from one token's logits.
  void time_logits() {
    const std::vector<TokenRow> row = some_rows(1, length_);
    HiddenRows hidden = model_.embed(row);
    const std::vector<LogitSource> sources(2, {.model = &model_, .hidden = &hidden});
    const double first = seconds_of([&] { divergence_sums(row, sources); });
    double again = seconds_of([&] { divergence_sums(row, sources); });
    again = std::min(again, seconds_of([&] { divergence_sums(row, sources); }));
    if (model_.keeps_weights()) packing_ += std::max(0.0, first - again);
    logits_ = again / 2;
    std::vector<float> logits(static_cast<size_t>(checkpoint_.config.vocab));
    SplitMix64 random(2);
    for (float& logit : logits) logit = static_cast<float>(random.uniform());
    draw_ = seconds_of([&] { model_.draw_token(logits, 1, random); });
  }

  /// The layer nearest the middle that has units to work on: those of the middle layer may all be
  /// kept.
  int layer_of_units() const {
    int nearest = -1;
    for (const int unit : work_.units) {
      const int layer = checkpoint_.units[static_cast<size_t>(unit)].layer;
      if (layer < 0) continue;
      if (nearest < 0 || std::abs(layer - layer_) < std::abs(nearest - layer_)) nearest = layer;
    }
    return nearest;
  }

  /// The units of a layer that share their inputs, and how far into the layer they are.
  void find_groups() {
    if (work_.encoder == Encoder::kMlx && !work_.gains) return;
    const int layer = layer_of_units();
    std::vector<int> units;
    for (const int unit : work_.units) {
      const int own = checkpoint_.units[static_cast<size_t>(unit)].layer;
      if (own >= 0 && own == layer) units.push_back(unit);
    }
    if (units.empty()) return;
    InputGroups known(units);
    const HiddenRows row = model_.embed(some_rows(1, length_));
    HiddenRows passing = copy_rows(row);
    model_.run_layers(passing, layer, layer + 1, [&](const LinearInput& input) {
      if (known.wants(input.unit) && input.tokens > 0) known.leader_of(input);
    });
    groups_ = known.groups();
    for (const std::vector<int>& group : groups_) {
      HiddenRows to_inputs = copy_rows(row);  // wherever they come from, it takes as long
      const double seconds =
          seconds_of([&] { model_.run_to_inputs(to_inputs, group, [](const LinearInput&) {}); });
      auto& [run, recorded] = blocks_[model_.block_of(group.front())];
      run += seconds;
      recorded += work_.rows * recorded_row_bytes(checkpoint_, group.front(), length_);
    }
  }

  const WidthSpeed& width(int unit) {
    const Unit& use = checkpoint_.units[static_cast<size_t>(unit)];
    const auto [at, fresh] = widths_.try_emplace(use.cols);
    WidthSpeed& speed = at->second;
    if (!fresh) return speed;
    constexpr int64_t kTokens = 128;
    SplitMix64 random(3);
    std::vector<float> inputs(static_cast<size_t>(kTokens * use.cols));
    for (float& value : inputs) value = static_cast<float>(random.uniform() - 0.5);
    SecondMoment moment(use.cols);
    moment.add(inputs.data(), kTokens, pool_);
    speed.moment = seconds_of([&] { moment.add(inputs.data(), kTokens, pool_); }) / kTokens;
    const int64_t rows = std::min(use.rows, kTile * pool_.threads());
    std::vector<float> weights(static_cast<size_t>(rows * use.cols));
    read_rows(checkpoint_, unit, 0, 0, rows, work_.dtype, weights.data());
    const EncodeRequest request{.weights = weights,
                                .rows = rows,
                                .cols = use.cols,
                                .format = usual_format(use.cols),
                                .dtype = work_.dtype};
    if (work_.encoder == Encoder::kSearch && !work_.gains) {
      const std::vector<float> importance = moment.diagonal();
      speed.row = seconds_of([&] { search_encode(request, importance, pool_); });
    } else {
      std::unique_ptr<FeedbackEncoder> encoder;
      speed.factor = seconds_of(
          [&] { encoder = std::make_unique<FeedbackEncoder>(moment, FeedbackOptions{}, pool_); });
      speed.row = seconds_of([&] { encoder->encode(request, pool_); });
      if (work_.sequential) {
        const Drift drift(use.cols);
        speed.row += seconds_of([&] { encoder->aim(weights, rows, drift, 0.5, pool_); });
      }
    }
    speed.row /= static_cast<double>(rows);
    return speed;
  }

  static AffineFormat usual_format(int64_t cols) {
    for (const int group : {64, 32, 128}) {
      if (cols % group == 0) return {.bits = 4, .group_size = group};
    }
    return {.bits = 4, .group_size = 32};
  }

  double pass_seconds(double rows) const { return model_.layers() * (reading_ + rows * row_); }

  double text_seconds() const {
    const double blocks = static_cast<double>(ceil_div(work_.rows, at_once_));
    const double share = static_cast<double>(at_once_) / static_cast<double>(length_);
    const double draws = draw_ * static_cast<double>(ceil_div(at_once_, pool_.threads()));
    const double step = model_.layers() * step_ + share * logits_ + draws;
    return blocks * static_cast<double>(length_) * step;
  }

  /// Seconds to probe every unit with all its seeds, on at most `most_rows` rows.
  double probe_seconds(int64_t most_rows) const {
    const auto rows = static_cast<double>(std::min(work_.rows, most_rows));
    double layers = 0;
    for (const int unit : work_.units) {
      const Unit& use = checkpoint_.units[static_cast<size_t>(unit)];
      if (use.layer >= 0) layers += model_.layers() - use.layer;
      if (use.role == Role::kEmbedding) layers += model_.layers();
    }
    const auto variants = static_cast<double>(kSeeds * std::ssize(work_.units));
    const double share = 0.5 * (1 + 1 / static_cast<double>(kLogitsAtOnce));
    return pass_seconds(rows) + kSeeds * layers * rows * row_ +
           variants * (reading_ + rows * 2 * share * logits_);
  }

  /// Twice the first rows, as many as SmolLM2-135M needed.
  int64_t gradient_rows() const { return std::min(work_.rows, 2 * GradientOptions().rows); }

  int64_t kept_rows() const { return std::min(gradient_rows(), model_.kept_logit_rows(length_)); }

  /// Seconds of gradient_coefficients, from a row per thread taken back through one layer.
  double gradient_seconds(const CalibrationMemory& memory) {
    const int64_t threads = pool_.threads();
    HiddenRows inputs = model_.embed(some_rows(threads, length_));
    HiddenRows gradients = copy_rows(inputs);
    const double rows_back = seconds_of([&] {
      model_.run_back(gradients, inputs, layer_,
                      [&](const LinearGradient& linear) { model_.gradient_square(linear); });
    });
    const double back = rows_back / static_cast<double>(threads);
    // The head: its logits, twice if they are not kept, a product as large for the gradients, and
    // one for their norm.
    const auto rows = static_cast<double>(gradient_rows());
    return rows * (model_.layers() * (row_ + back) + (kept_rows() > 0 ? 3 : 4) * logits_) +
           gradient_readings(memory) * model_.layers() * reading_;
  }

  /// How often all weights are read: forward, forward again and back, for each block of rows.
  double gradient_readings(const CalibrationMemory& memory) const {
    constexpr int64_t kMuchDisk = int64_t{1} << 50;
    const int64_t rows = GradientOptions().rows;  // half of them, then the other half
    const GradientBlock block = gradient_block(model_, length_, rows, memory.variants, kMuchDisk);
    return 3.0 * static_cast<double>(ceil_div(gradient_rows(), std::min(rows, block.rows)));
  }

  int64_t tokens() const { return work_.rows * length_; }

  /// Tokens that reach a unit, summed over its parts.
  double tokens_of(const Unit& unit) const {
    const bool several = unit.parts.size() > 1;
    const int64_t each = several ? checkpoint_.config.layer(unit.layer).experts->per_token : 1;
    return static_cast<double>(tokens()) * static_cast<double>(each);
  }

  /// Seconds to gather the moments of all layers, without the passes.
  double gathering_seconds(double times) {
    double seconds = 0;
    for (const std::vector<int>& group : groups_) {
      const Unit& leader = checkpoint_.units[static_cast<size_t>(group.front())];
      seconds += times * tokens_of(leader) * width(group.front()).moment;
    }
    return model_.layers() * seconds;
  }

  /// Seconds to choose the damping of all groups.
  double damping_seconds() {
    constexpr double kTried = 4;  // of six
    double seconds = 0;
    for (const std::vector<int>& group : groups_) {
      const Unit& leader = checkpoint_.units[static_cast<size_t>(group.front())];
      const int64_t parts = sampled_parts(std::ssize(leader.parts), leader.cols);
      seconds += kTried * static_cast<double>(parts) * width(group.front()).factor;
    }
    return model_.layers() * seconds;
  }

  double gains_seconds() {
    double seconds = pass_seconds(static_cast<double>(work_.rows)) +
                     gathering_seconds(1 + kHeldShare) + damping_seconds();
    for (const int unit : work_.units) {
      const Unit& use = checkpoint_.units[static_cast<size_t>(unit)];
      const WidthSpeed& speed = width(unit);
      const auto parts = static_cast<double>(sampled_parts(std::ssize(use.parts), use.cols));
      const auto rows = static_cast<double>(std::min(use.rows, kSampledRows) * kSampledFormats);
      seconds += parts * (speed.factor + rows * speed.row);
    }
    return seconds;
  }

  double compress_seconds(const CalibrationMemory& memory) {
    const bool in_turn = work_.sequential && work_.encoder == Encoder::kFeedback;
    const auto rows = static_cast<double>(work_.rows);
    // The original and the compressed model; if groups are compressed in turn, the compressed model
    // also runs to the inputs of each group, and the original where its inputs cannot be kept.
    double seconds = 2 * pass_seconds(rows) + 2 * rows * logits_;
    for (const auto& [block, its] : blocks_) {
      const auto& [run, recorded] = its;
      const int runs = recorded <= memory.moments / kRecordedPart ? 1 : 2;
      if (in_turn) seconds += runs * rows * model_.layers() * run;
    }
    // The inputs of a tied head come first.
    if (checkpoint_.tied_embeddings) seconds += pass_seconds(rows);
    seconds += gathering_seconds((in_turn ? 3 : 1) + kHeldShare);
    if (work_.encoder == Encoder::kFeedback) seconds += damping_seconds();
    for (const std::vector<int>& group : groups_) {
      const Unit& leader = checkpoint_.units[static_cast<size_t>(group.front())];
      seconds +=
          model_.layers() * static_cast<double>(leader.parts.size()) * width(group.front()).factor;
    }
    for (const int unit : work_.units) {
      const Unit& use = checkpoint_.units[static_cast<size_t>(unit)];
      seconds += static_cast<double>(use.rows * std::ssize(use.parts)) * width(unit).row;
    }
    return seconds;
  }

  int64_t text_bytes() const {
    return at_once_ * (length_ * model_.state_bytes_per_token() + model_.state_fixed_bytes() +
                       4 * checkpoint_.config.vocab);
  }

  int64_t variants_bytes() const {
    std::map<int, int64_t> by_layer;
    for (const int unit : work_.units) {
      by_layer[checkpoint_.units[static_cast<size_t>(unit)].layer] += kSeeds;
    }
    int64_t most = 0;
    for (const auto& [layer, variants] : by_layer) most = std::max(most, variants);
    return most * std::min(work_.rows, kFirstRows) * model_.row_bytes(length_);
  }

  /// Bytes of the widest group's moments, with its factor.
  int64_t moments_bytes(int64_t each) const {
    int64_t most = 0;
    for (const std::vector<int>& group : groups_) {
      const Unit& leader = checkpoint_.units[static_cast<size_t>(group.front())];
      most = std::max(most, 4 * leader.cols * leader.cols * (each * std::ssize(leader.parts) + 1));
    }
    return most;
  }

  LanguageModel& model_;
  const Checkpoint& checkpoint_;
  const CalibrationWork& work_;
  ThreadPool pool_;
  int64_t length_;
  int layer_;
  int64_t at_once_ = 1;
  double packing_ = 0;  // all weights, once
  double reading_ = 0;  // a layer's weights, for each block of rows
  double row_ = 0;      // a row through a layer
  double step_ = 0;     // a token of each row of text through a layer
  double logits_ = 0;   // of a row
  double draw_ = 0;
  /// Of a layer's blocks: seconds of a row to the inputs of each group, summed, and the bytes of
  /// the recorded inputs of all rows.
  std::map<int, std::pair<double, int64_t>> blocks_;
  std::vector<std::vector<int>> groups_;
  std::map<int64_t, WidthSpeed> widths_;
};

}  // namespace

CalibrationForecast forecast_calibration(LanguageModel& model, const CalibrationWork& work,
                                         const CalibrationMemory& memory) {
  return Forecaster(model, work).run(memory);
}

}  // namespace ram
