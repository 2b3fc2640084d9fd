// Layer by layer: gather the inputs of the layer's linears, encode them, replace them by the stored
// weights, and run the text through the layer.
#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "ram/calibrate.h"
#include "ram/cancellation.h"
#include "ram/error.h"
#include "ram/eval.h"
#include "ram/machine.h"
#include "ram/progress.h"
#include "ram/scoped.h"
#include "ram/size.h"
#include "ram/thread.h"

#include "moments.h"
#include "units.h"

namespace ram {
namespace {

constexpr int64_t kStarvedTokens = 64;
// Rows of a matrix that one thread reads at a time.
constexpr int64_t kReadRows = 256;
// The share of the drift that is compensated: compensating all of it overfits the text
// (docs/encoders.md).
constexpr double kAimShare = 0.5;

class Compressor {
 public:
  Compressor(LanguageModel& model, std::span<const UnitFormat> formats, const CalibrationText& text,
             const CompressOptions& options,
             const std::function<std::optional<CompressedUnit>(int)>& known,
             const std::function<void(const CompressedUnit&)>& sink, const ProgressFn& progress)
      : model_(model),
        checkpoint_(model.checkpoint()),
        formats_(formats),
        text_(text),
        options_(options),
        known_(known),
        sink_(sink),
        progress_(progress),
        pool_(model.options().threads) {
    RAM_CHECK(formats.size() == checkpoint_.units.size());
    in_turn_ = options.sequential && options.encoder == Encoder::kFeedback;
    for (size_t u = 0; u < formats.size(); ++u) {
      if (formats[u]) total_weights_ += checkpoint_.units[u].weights();
    }
  }

  CompressResult run() {
    LanguageModel twin = twin_of(model_);
    const int embedding = checkpoint_.embedding;
    const int head = checkpoint_.head;
    HiddenRows base = model_.embed(text_.rows);
    // A tied head is stored as the embedding: its inputs are known only after the last layer.
    if (head == embedding && formats_[static_cast<size_t>(head)]) {
      HiddenRows end = model_.embed(text_.rows);
      model_.run_layers(end, 0, model_.layers());
      place(twin, compress_head(head, end));
    } else if (formats_[static_cast<size_t>(embedding)]) {
      place(twin, compress_alone(embedding));
    }
    HiddenRows compressed = twin.embed(text_.rows);
    if (head != embedding) twin.restore_unit(embedding);
    for (int layer = 0; layer < model_.layers(); ++layer) run_layer(layer, base, compressed);
    if (head != embedding && formats_[static_cast<size_t>(head)]) {
      place(twin, in_turn_ ? compress_head(head, compressed, &base) : compress_head(head, base));
    }
    return compare(base, compressed, twin);
  }

 private:
  /// The stored values of a layer's units, by unit index.
  using Stored = std::map<int, UnitRows>;

  void run_layer(int layer, HiddenRows& base, HiddenRows& compressed) {
    std::vector<int> to_encode;
    Stored stored;
    for (size_t u = 0; u < formats_.size(); ++u) {
      if (!formats_[u] || checkpoint_.units[u].layer != layer) continue;
      const int unit = static_cast<int>(u);
      if (std::optional<CompressedUnit> found = recall(unit)) {
        keep(std::move(*found), stored);
      } else {
        to_encode.push_back(unit);
      }
    }
    const bool watch = !to_encode.empty() && options_.encoder != Encoder::kMlx;
    bool moved = false;
    if (watch && in_turn_) {
      gather_in_turn(layer, base, compressed, to_encode, stored);
    } else if (watch) {
      moved = gather(layer, base, to_encode, stored);
    }
    if (!moved) model_.run_layers(base, layer, layer + 1);
    for (const int unit : to_encode) {
      if (!stored.contains(unit)) keep(compress_alone(unit), stored);  // no token reached it
    }
    with_stored(stored, [&] { model_.run_layers(compressed, layer, layer + 1); });
  }

  /// Runs with a layer's units replaced by their stored values.
  void with_stored(const Stored& stored, const std::function<void()>& run) {
    const AtScopeExit restore([&] {
      for (const auto& [unit, values] : stored) model_.restore_unit(unit);
    });
    for (const auto& [unit, values] : stored) model_.set_unit(unit, values);
    run();
  }

  /// Encodes units by their inputs in the original model, in as many passes over the layer as
  /// memory requires. @return whether `base` went through the layer meanwhile.
  bool gather(int layer, HiddenRows& base, std::span<const int> to_encode, Stored& stored) {
    Moments moments(checkpoint_, to_encode, moments_bytes(), pool_);
    const InputObserver observe = [&](const LinearInput& input) { moments.add(input); };
    const bool in_place = moments.fits_one_pass();
    encode_by(moments, stored, [&] {
      if (in_place) {
        model_.run_layers(base, layer, layer + 1, observe);
      } else {
        HiddenRows passing = copy_rows(base);
        model_.run_layers(passing, layer, layer + 1, observe);
      }
    });
    return in_place;
  }

  /// Encodes units one input group after another: each by its inputs after the groups before it
  /// were compressed, and aimed at the outputs of the original model.
  void gather_in_turn(int layer, const HiddenRows& base, const HiddenRows& compressed,
                      std::span<const int> to_encode, Stored& stored) {
    InputGroups known(to_encode);
    HiddenRows first;
    first.push_back(base.front().copy());
    model_.run_layers(first, layer, layer + 1, [&](const LinearInput& input) {
      if (known.wants(input.unit) && input.tokens > 0) known.leader_of(input);
    });
    for (const std::vector<int>& group : known.groups()) {
      const int leader = group.front();
      const int64_t row = recorded_row_bytes(checkpoint_, leader, longest_row());
      const int64_t step = std::max<int64_t>(1, moments_bytes() / kRecordedPart / row);
      const int64_t left = moments_bytes() - moments_bytes() / kRecordedPart;
      Moments moments(checkpoint_, group, left, pool_, /*drifts=*/true);
      encode_by(moments, stored, [&] {
        for (int64_t at = 0; at < std::ssize(base); at += step) {
          const int64_t count = std::min(step, std::ssize(base) - at);
          OriginalInputs originals;
          {
            HiddenRows passing = copy_rows(std::span(base).subspan(at, count));
            model_.run_to_inputs(passing, layer, group, [&](const LinearInput& input) {
              if (input.unit == leader && input.tokens > 0) originals.record(input);
            });
          }
          HiddenRows passing = copy_rows(std::span(compressed).subspan(at, count));
          with_stored(stored, [&] {
            model_.run_to_inputs(passing, layer, group,
                                 [&](const LinearInput& input) { moments.add(input, &originals); });
          });
        }
      });
    }
  }

  int64_t longest_row() const {
    size_t longest = 1;
    for (const TokenRow& row : text_.rows) longest = std::max(longest, row.size());
    return static_cast<int64_t>(longest);
  }

  int64_t moments_bytes() const {
    return options_.memory_bytes > 0 ? options_.memory_bytes : memory_bytes() / 4;
  }

  /// Encodes the units for which `pass` gathers moments, and repeats until none is left.
  void encode_by(Moments& moments, Stored& stored, const std::function<void()>& pass) {
    std::map<int, Unfinished> unfinished;
    do {
      pass();
      for (const Moments::Group& group : moments.groups()) {
        compress_group(group, moments, unfinished);
        for (const int unit : group.units) {
          const auto at = unfinished.find(unit);
          if (at == unfinished.end() || at->second.parts_left > 0) continue;
          keep(finish(at->second), stored);
          unfinished.erase(at);
        }
      }
    } while (moments.next_pass());
    RAM_CHECK(unfinished.empty());
  }

  void keep(CompressedUnit unit, Stored& stored) {
    const int index = unit.unit;
    stored[index] = values_of(std::move(unit));
  }

  UnitRows values_of(CompressedUnit unit) const {
    const AffineFormat format = format_of(unit.unit);
    return decoded_rows(checkpoint_, std::move(unit), format, options_.dtype);
  }

  std::optional<CompressedUnit> recall(int unit) {
    if (!known_) return std::nullopt;
    std::optional<CompressedUnit> found = known_(unit);
    if (found) count(*found, /*fresh=*/false);
    return found;
  }

  void count(const CompressedUnit& unit, bool fresh) {
    const Unit& use = checkpoint_.units[static_cast<size_t>(unit.unit)];
    if (use.parts.size() > 1) {
      result_.parts += std::ssize(use.parts);
      result_.starved_parts += unit.starved_parts;
    }
    done_weights_ += use.weights();
    CompressedUnit& known = result_.units.emplace_back(unit);
    known.parts.clear();
    if (fresh && sink_) sink_(unit);
    if (progress_) {
      progress_({.phase = "compress",
                 .done = done_weights_,
                 .total = total_weights_,
                 .counted = "weights"});
    }
  }

  AffineFormat format_of(int unit) const { return *formats_[static_cast<size_t>(unit)]; }

  /// The sums over an encoded part.
  struct PartSums {
    double squared_error = 0;
    double sum_squares = 0;
    /// Squared error of the outputs on the gathered inputs, and that of independent noise as large
    /// as the weights.
    double error = 0;
    double noise = 0;
  };

  /// A unit whose parts are only partly encoded.
  struct Unfinished {
    CompressedUnit unit;
    std::vector<PartSums> sums;  // by part
    int64_t parts_left = 0;
  };

  Unfinished begin(int unit) const {
    const auto parts = checkpoint_.units[static_cast<size_t>(unit)].parts.size();
    Unfinished result;
    result.unit.unit = unit;
    result.unit.parts.resize(parts);
    result.sums.resize(parts);
    result.parts_left = static_cast<int64_t>(parts);
    return result;
  }

  /// How a part is encoded and how its error is weighted; null: unknown.
  struct Inputs {
    const SecondMoment* moment = nullptr;
    const FeedbackEncoder* feedback = nullptr;
    const SecondMoment* gathered = nullptr;
    const Drift* drift = nullptr;
  };

  /// Encodes a block of rows at a time: rows are encoded independently.
  void encode_part(Unfinished& to, int part, const Inputs& inputs) {
    const Unit& use = checkpoint_.units[static_cast<size_t>(to.unit.unit)];
    EncodedMatrix& encoded = to.unit.parts[static_cast<size_t>(part)];
    PartSums& sums = to.sums[static_cast<size_t>(part)];
    std::vector<float> importance;
    if (inputs.moment != nullptr && inputs.moment->tokens() > 0) {
      importance = inputs.moment->diagonal();
    }
    std::vector<float> weights;
    std::vector<float> aimed;
    const int64_t step = encoded_rows(use.rows, use.cols);
    const int64_t blocks = ceil_div(step, kReadRows);
    for (int64_t first = 0; first < use.rows; first += step) {
      check_interrupted();
      const int64_t rows = std::min(step, use.rows - first);
      weights.resize(static_cast<size_t>(rows * use.cols));
      pool_.run(blocks, [&](int64_t block, int) {
        const int64_t row = block * kReadRows;
        if (row >= rows) return;
        read_rows(checkpoint_, to.unit.unit, part, first + row, std::min(kReadRows, rows - row),
                  options_.dtype, weights.data() + row * use.cols);
      });
      EncodeRequest request{.weights = weights,
                            .rows = rows,
                            .cols = use.cols,
                            .format = format_of(to.unit.unit),
                            .dtype = options_.dtype};
      const EncodeRequest original = request;
      if (inputs.feedback != nullptr && inputs.drift != nullptr) {
        aimed = inputs.feedback->aim(weights, rows, *inputs.drift, kAimShare, pool_);
        request.weights = aimed;
      }
      const EncodedMatrix block =
          inputs.feedback != nullptr          ? inputs.feedback->encode(request, pool_)
          : options_.encoder == Encoder::kMlx ? mlx_encode(request, pool_)
                                              : search_encode(request, importance, pool_);
      sums.squared_error += squared_error(original, block, {});
      for (const float weight : weights) sums.sum_squares += double{weight} * double{weight};
      if (inputs.gathered != nullptr) {  // compensated drift is not an error
        sums.error += weighted_error(request, block, *inputs.gathered, pool_);
      }
      encoded.codes.insert(encoded.codes.end(), block.codes.begin(), block.codes.end());
      encoded.scales.insert(encoded.scales.end(), block.scales.begin(), block.scales.end());
      encoded.biases.insert(encoded.biases.end(), block.biases.begin(), block.biases.end());
    }
    if (inputs.gathered == nullptr) return;
    double trace = 0;
    for (const float value : inputs.gathered->diagonal()) trace += double{value};
    sums.noise = sums.sum_squares * trace / static_cast<double>(use.cols);
  }

  /// Adds up the errors of the parts and moves the unit out.
  CompressedUnit finish(Unfinished& done) {
    CompressedUnit& unit = done.unit;
    double error = 0;
    double noise = 0;
    for (const PartSums& part : done.sums) {
      unit.squared_error += part.squared_error;
      unit.sum_squares += part.sum_squares;
      error += part.error;
      noise += part.noise;
    }
    unit.output_error =
        noise > 0 ? error / noise : unit.squared_error / std::max(unit.sum_squares, 1e-300);
    count(unit, /*fresh=*/true);
    return std::move(unit);
  }

  /// Calls work(part) for parts of a unit, in parallel if there are enough of them.
  void for_parts(std::span<const int> parts, const std::function<void(int)>& work) {
    const auto one = [&](int64_t i, int) { work(parts[static_cast<size_t>(i)]); };
    if (std::ssize(parts) >= pool_.threads()) {
      pool_.run(std::ssize(parts), one);
    } else {
      for (int64_t i = 0; i < std::ssize(parts); ++i) one(i, 0);
    }
  }

  /// A unit without usable inputs: the embedding, or experts that no token reached.
  CompressedUnit compress_alone(int unit) {
    if (std::optional<CompressedUnit> found = recall(unit)) return std::move(*found);
    Unfinished result = begin(unit);
    std::vector<int> parts(result.sums.size());
    std::iota(parts.begin(), parts.end(), 0);
    for_parts(parts, [&](int part) { encode_part(result, part, {}); });
    result.unit.starved_parts = parts.size() > 1 ? std::ssize(parts) : 0;
    return finish(result);
  }

  /// Parts of units that share their inputs, and so one factor.
  void compress_group(const Moments::Group& group, const Moments& moments,
                      std::map<int, Unfinished>& unfinished) {
    if (group.parts.empty()) return;
    std::vector<Unfinished*> units;
    for (const int unit : group.units) {
      const auto at = unfinished.find(unit);
      units.push_back(at != unfinished.end()
                          ? &at->second
                          : &unfinished.emplace(unit, begin(unit)).first->second);
    }
    const int leader = group.units.front();
    const bool several = units.front()->sums.size() > 1;
    for_parts(group.parts, [&](int part) {
      check_interrupted();
      Inputs inputs{.gathered = moments.gathered(leader, part)};
      inputs.moment = inputs.gathered;
      std::optional<SecondMoment> drawn;
      if (several) inputs.moment = &drawn.emplace(moments.of(leader, part, options_.shrink_tokens));
      check_moment(checkpoint_.units[static_cast<size_t>(leader)], *inputs.moment);
      std::optional<Drift> drift;
      if (in_turn_) {
        inputs.drift = &drift.emplace(moments.drift_of(leader, part, options_.shrink_tokens));
      }
      std::optional<FeedbackEncoder> feedback;
      if (options_.encoder == Encoder::kFeedback) {
        inputs.feedback = &feedback.emplace(*inputs.moment, options_.feedback, pool_);
      }
      for (Unfinished* unit : units) encode_part(*unit, part, inputs);
    });
    for (Unfinished* unit : units) {
      unit->parts_left -= std::ssize(group.parts);
      for (const int part : group.parts) {
        const bool starved = several && moments.tokens(leader, part) < kStarvedTokens;
        unit->unit.starved_parts += starved ? 1 : 0;
      }
    }
  }

  /// The head (and with it a tied embedding): its inputs are the normed states after the last
  /// layer.
  /// @param original the same states of the original model, if the head is aimed at its outputs.
  CompressedUnit compress_head(int head, const HiddenRows& end,
                               const HiddenRows* original = nullptr) {
    if (std::optional<CompressedUnit> found = recall(head)) return std::move(*found);
    const SecondMoment moment = final_moment(checkpoint_, end, pool_);
    check_moment(checkpoint_.units[static_cast<size_t>(head)], moment);
    std::optional<Drift> drift;
    if (original != nullptr) drift = final_drift(checkpoint_, *original, end, pool_);
    Inputs inputs{.moment = &moment, .gathered = &moment, .drift = drift ? &*drift : nullptr};
    std::optional<FeedbackEncoder> feedback;
    if (options_.encoder == Encoder::kFeedback) {
      inputs.feedback = &feedback.emplace(moment, options_.feedback, pool_);
    }
    Unfinished result = begin(head);
    encode_part(result, 0, inputs);
    return finish(result);
  }

  void place(LanguageModel& model, CompressedUnit unit) {
    const int index = unit.unit;
    model.set_unit(index, values_of(std::move(unit)));
  }

  CompressResult compare(const HiddenRows& base, const HiddenRows& compressed,
                         LanguageModel& twin) {
    const std::vector<LogitSource> sources = {{.model = &model_, .hidden = &base},
                                              {.model = &twin, .hidden = &compressed}};
    const std::vector<double> sums = divergence_sums(text_.rows, sources).front();
    double total = 0;
    double tokens = 0;
    for (size_t row = 0; row < sums.size(); ++row) {
      const auto scored = static_cast<double>(text_.rows[row].size() - 1);
      result_.row_kl.push_back(sums[row] / scored);
      total += sums[row];
      tokens += scored;
    }
    result_.kl = total / tokens;
    return result_;
  }

  LanguageModel& model_;
  const Checkpoint& checkpoint_;
  std::span<const UnitFormat> formats_;
  const CalibrationText& text_;
  const CompressOptions& options_;
  const std::function<std::optional<CompressedUnit>(int)>& known_;
  const std::function<void(const CompressedUnit&)>& sink_;
  const ProgressFn& progress_;
  ThreadPool pool_;
  CompressResult result_;
  bool in_turn_ = false;
  int64_t total_weights_ = 0;
  int64_t done_weights_ = 0;
};

}  // namespace

UnitRows decoded_rows(const Checkpoint& checkpoint, CompressedUnit unit, AffineFormat format,
                      DType dtype) {
  const int64_t cols = checkpoint.units.at(static_cast<size_t>(unit.unit)).cols;
  const auto held = std::make_shared<const CompressedUnit>(std::move(unit));
  return [=](int part, int64_t first, int64_t count, float* out) {
    const EncodedMatrix& from = held->parts.at(static_cast<size_t>(part));
    const int64_t scale_row = scale_bytes(cols, format, dtype);
    affine_decode(from.codes.data() + first * code_words(cols, format),
                  from.scales.data() + first * scale_row, from.biases.data() + first * scale_row,
                  dtype, count, cols, format, out);
  };
}

CompressResult compress_units(LanguageModel& model, std::span<const UnitFormat> formats,
                              const CalibrationText& text, const CompressOptions& options,
                              const std::function<std::optional<CompressedUnit>(int unit)>& known,
                              const std::function<void(const CompressedUnit& unit)>& sink,
                              const ProgressFn& progress) {
  Compressor compressor(model, formats, text, options, known, sink, progress);
  return compressor.run();
}

}  // namespace ram
