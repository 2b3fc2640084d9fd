// Layer by layer: gather what the layer's linears multiply, encode them, put what is stored in
// their place, and take the text on through it.
#include <algorithm>
#include <cmath>

#include "ram/calibrate.h"
#include "ram/error.h"
#include "ram/eval.h"

#include "moments.h"
#include "units.h"

namespace ram {
namespace {

constexpr int64_t kStarvedTokens = 64;

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
    for (size_t u = 0; u < formats.size(); ++u) {
      if (formats[u]) total_weights_ += checkpoint_.units[u].weights();
    }
  }

  CompressResult run() {
    LanguageModel twin(Checkpoint::open(checkpoint_.folder.string(), Quantized::kAccept),
                       model_.options());
    const int embedding = unit_of(Role::kEmbedding);
    const int head = checkpoint_.tied_embeddings ? embedding : unit_of(Role::kHead);
    HiddenRows base = model_.embed(text_.rows);
    // A tied head is stored as the embedding: what it multiplies is known at the end only.
    if (head == embedding && formats_[static_cast<size_t>(head)]) {
      HiddenRows end = model_.embed(text_.rows);
      model_.run_layers(end, 0, model_.layers());
      compress_head(head, end, twin);
    } else if (formats_[static_cast<size_t>(embedding)]) {
      place(twin, compress_alone(embedding));
    }
    HiddenRows compressed = twin.embed(text_.rows);
    for (int layer = 0; layer < model_.layers(); ++layer) run_layer(layer, base, compressed);
    if (head != embedding && formats_[static_cast<size_t>(head)]) {
      compress_head(head, options_.sequential ? compressed : base, twin);
    }
    return compare(base, compressed, twin);
  }

 private:
  int unit_of(Role role) const {
    for (size_t u = 0; u < checkpoint_.units.size(); ++u) {
      if (checkpoint_.units[u].role == role) return static_cast<int>(u);
    }
    RAM_CHECK(false);
    return -1;
  }

  void run_layer(int layer, HiddenRows& base, HiddenRows& compressed) {
    std::vector<int> wanted;
    std::vector<int> to_encode;
    std::vector<CompressedUnit> stored;
    for (size_t u = 0; u < formats_.size(); ++u) {
      if (!formats_[u] || checkpoint_.units[u].layer != layer) continue;
      const int unit = static_cast<int>(u);
      wanted.push_back(unit);
      if (std::optional<CompressedUnit> found = recall(unit)) {
        stored.push_back(std::move(*found));
      } else {
        to_encode.push_back(unit);
      }
    }
    const int64_t memory = options_.memory_bytes > 0 ? options_.memory_bytes : memory_bytes() / 4;
    const bool watch = !to_encode.empty() && options_.encoder != Encoder::kMlx;
    Moments moments(checkpoint_, to_encode, memory, pool_);
    InputObserver observe;
    if (watch) observe = [&](const LinearInput& input) { moments.add(input); };
    if (options_.sequential && watch) {
      HiddenRows passing;
      for (const Matrix& row : compressed) passing.push_back(row.copy());
      model_.run_layers(passing, layer, layer + 1, observe);
      observe = {};
    }
    model_.run_layers(base, layer, layer + 1, observe);
    std::vector<int> came;
    for (const std::vector<int>& group : moments.groups()) {
      for (CompressedUnit& unit : compress_group(group, moments)) {
        came.push_back(unit.unit);
        stored.push_back(std::move(unit));
      }
    }
    for (const int unit : to_encode) {
      const bool done = std::find(came.begin(), came.end(), unit) != came.end();
      if (!done) stored.push_back(compress_alone(unit));  // no token came to it
    }
    for (const CompressedUnit& unit : stored) model_.set_unit(unit.unit, decode(unit));
    model_.run_layers(compressed, layer, layer + 1);
    for (const int unit : wanted) model_.restore_unit(unit);
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
                 .done_bytes = done_weights_,
                 .total_bytes = total_weights_,
                 .unit = "weights"});
    }
  }

  EncodeRequest request_of(int unit, std::span<const float> weights, int part) const {
    const Unit& use = checkpoint_.units[static_cast<size_t>(unit)];
    const auto size = static_cast<size_t>(use.part_weights());
    return {.weights = weights.subspan(static_cast<size_t>(part) * size, size),
            .rows = use.rows,
            .cols = use.cols,
            .format = *formats_[static_cast<size_t>(unit)],
            .dtype = options_.dtype};
  }

  EncodedMatrix encode(const EncodeRequest& request, const SecondMoment* moment,
                       const FeedbackEncoder* feedback) {
    if (feedback != nullptr) return feedback->encode(request, pool_);
    if (options_.encoder == Encoder::kMlx) return mlx_encode(request, pool_);
    const std::vector<float> importance =
        moment != nullptr && moment->tokens() > 0 ? moment->diagonal() : std::vector<float>();
    return search_encode(request, importance, pool_);
  }

  /// @param moments of each part as gathered, null where no token came; empty: nothing is known.
  void finish(CompressedUnit& unit, std::span<const float> weights,
              std::span<const SecondMoment* const> moments) {
    for (size_t part = 0; part < unit.parts.size(); ++part) {
      const EncodeRequest request = request_of(unit.unit, weights, static_cast<int>(part));
      unit.squared_error += squared_error(request, unit.parts[part], {});
    }
    for (const float weight : weights) unit.sum_squares += double{weight} * double{weight};
    unit.output_error = unit.squared_error / std::max(unit.sum_squares, 1e-300);
    double error = 0;
    double noise = 0;
    for (size_t part = 0; part < moments.size(); ++part) {
      const EncodeRequest request = request_of(unit.unit, weights, static_cast<int>(part));
      if (moments[part] == nullptr) continue;
      const SecondMoment& moment = *moments[part];
      double squares = 0;
      double trace = 0;
      for (const float weight : request.weights) squares += double{weight} * double{weight};
      for (const float value : moment.diagonal()) trace += double{value};
      error += weighted_error(request, unit.parts[part], moment, pool_);
      noise += squares * trace / static_cast<double>(moment.cols());
    }
    if (noise > 0) unit.output_error = error / noise;
    count(unit, /*fresh=*/true);
  }

  /// A unit whose inputs say nothing: the embedding, or experts to which no token came.
  CompressedUnit compress_alone(int unit) {
    if (std::optional<CompressedUnit> found = recall(unit)) return std::move(*found);
    const std::vector<float> weights = read_unit(checkpoint_, unit, options_.dtype, pool_);
    const int64_t parts = std::ssize(checkpoint_.units[static_cast<size_t>(unit)].parts);
    CompressedUnit result;
    result.unit = unit;
    for (int part = 0; part < parts; ++part) {
      check_interrupted();
      result.parts.push_back(encode(request_of(unit, weights, part), nullptr, nullptr));
    }
    result.starved_parts = parts > 1 ? parts : 0;
    finish(result, weights, {});
    return result;
  }

  /// Units that share their inputs: one factor serves them all.
  std::vector<CompressedUnit> compress_group(std::span<const int> group, Moments& moments) {
    std::vector<CompressedUnit> results;
    std::vector<std::vector<float>> weights;
    for (const int unit : group) {
      weights.push_back(read_unit(checkpoint_, unit, options_.dtype, pool_));
      CompressedUnit& result = results.emplace_back();
      result.unit = unit;
      result.parts.resize(checkpoint_.units[static_cast<size_t>(unit)].parts.size());
    }
    const auto one_part = [&](int64_t part, int) {
      check_interrupted();
      const SecondMoment moment =
          moments.of(group.front(), static_cast<int>(part), options_.shrink_tokens);
      std::optional<FeedbackEncoder> feedback;
      if (options_.encoder == Encoder::kFeedback) {
        feedback.emplace(moment, options_.feedback, pool_);
      }
      for (size_t i = 0; i < group.size(); ++i) {
        results[i].parts[static_cast<size_t>(part)] =
            encode(request_of(group[i], weights[i], static_cast<int>(part)), &moment,
                   feedback ? &*feedback : nullptr);
      }
    };
    const int64_t parts = std::ssize(results.front().parts);
    moments.of(group.front(), 0, options_.shrink_tokens);  // what all parts share is made once
    if (parts >= pool_.threads()) {
      pool_.run(parts, one_part);
    } else {
      for (int64_t part = 0; part < parts; ++part) one_part(part, 0);
    }
    for (size_t i = 0; i < group.size(); ++i) {
      for (int64_t part = 0; parts > 1 && part < parts; ++part) {
        const bool starved = moments.tokens(group[i], static_cast<int>(part)) < kStarvedTokens;
        results[i].starved_parts += starved ? 1 : 0;
      }
      std::vector<const SecondMoment*> own;
      for (int64_t part = 0; part < parts; ++part) {
        own.push_back(moments.gathered(group[i], static_cast<int>(part)));
      }
      finish(results[i], weights[i], own);
    }
    return results;
  }

  /// The head (and with it a tied embedding): its inputs are the normed states of the end.
  void compress_head(int head, const HiddenRows& end, LanguageModel& twin) {
    if (std::optional<CompressedUnit> found = recall(head)) return place(twin, *found);
    const int64_t cols = checkpoint_.units[static_cast<size_t>(head)].cols;
    SecondMoment moment(cols);
    const int norm = final_norm();
    const std::vector<float> gain = read_unit(checkpoint_, norm, std::nullopt, pool_);
    for (const Matrix& row : end) {
      Matrix normed(row.rows(), cols);
      for (int64_t t = 0; t < row.rows(); ++t) {
        double squares = 0;
        for (int64_t i = 0; i < cols; ++i) squares += std::pow(double{row.row(t)[i]}, 2);
        const double scale =
            1 / std::sqrt(squares / static_cast<double>(cols) + checkpoint_.config.rms_norm_eps);
        for (int64_t i = 0; i < cols; ++i) {
          normed.row(t)[i] =
              static_cast<float>(row.row(t)[i] * scale) * gain[static_cast<size_t>(i)];
        }
      }
      moment.add(normed.data(), normed.rows(), pool_);
    }
    const std::vector<float> weights = read_unit(checkpoint_, head, options_.dtype, pool_);
    std::optional<FeedbackEncoder> feedback;
    if (options_.encoder == Encoder::kFeedback) feedback.emplace(moment, options_.feedback, pool_);
    CompressedUnit result;
    result.unit = head;
    result.parts.push_back(
        encode(request_of(head, weights, 0), &moment, feedback ? &*feedback : nullptr));
    const SecondMoment* const moments[] = {&moment};
    finish(result, weights, moments);
    place(twin, result);
  }

  int final_norm() const {
    for (size_t u = 0; u < checkpoint_.units.size(); ++u) {
      const Unit& unit = checkpoint_.units[u];
      if (unit.role == Role::kNorm && unit.layer < 0) return static_cast<int>(u);
    }
    RAM_CHECK(false);
    return -1;
  }

  std::vector<float> decode(const CompressedUnit& unit) const {
    return decode_unit(checkpoint_, unit, *formats_[static_cast<size_t>(unit.unit)],
                       options_.dtype);
  }

  void place(LanguageModel& model, const CompressedUnit& unit) {
    model.set_unit(unit.unit, decode(unit));
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
  int64_t total_weights_ = 0;
  int64_t done_weights_ = 0;
};

}  // namespace

std::vector<float> decode_unit(const Checkpoint& checkpoint, const CompressedUnit& unit,
                               AffineFormat format, DType dtype) {
  const Unit& use = checkpoint.units[static_cast<size_t>(unit.unit)];
  std::vector<float> values(static_cast<size_t>(use.weights()));
  for (size_t part = 0; part < unit.parts.size(); ++part) {
    const EncodedMatrix& encoded = unit.parts[part];
    affine_decode(encoded.codes.data(), encoded.scales.data(), encoded.biases.data(), dtype,
                  use.rows, use.cols, format,
                  values.data() + static_cast<int64_t>(part) * use.part_weights());
  }
  return values;
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
