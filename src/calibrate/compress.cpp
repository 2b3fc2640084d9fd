// Layer by layer: gather the inputs of the layer's linears, encode them, replace them by the stored
// weights, and run the text through the layer.
#include <algorithm>
#include <iterator>
#include <map>
#include <numeric>
#include <set>

#include "ram/calibrate.h"
#include "ram/cancellation.h"
#include "ram/error.h"
#include "ram/eval.h"
#include "ram/machine.h"
#include "ram/progress.h"
#include "ram/scoped.h"
#include "ram/thread.h"

#include "moments.h"
#include "unit_encoder.h"
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
        pool_(model.options().threads),
        encoder_(checkpoint_, formats, options, pool_) {
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
    if (!to_encode.empty() && in_turn_) {
      gather_in_turn(layer, base, compressed, to_encode, stored);
      return;
    }
    const bool watch = !to_encode.empty() && options_.encoder != Encoder::kMlx;
    const bool moved = watch && gather(layer, base, to_encode, stored);
    if (!moved) model_.run_layers(base, layer, layer + 1);
    encode_unreached(to_encode, stored);
    with_stored(stored, [&] { model_.run_layers(compressed, layer, layer + 1); });
  }

  /// Those whose inputs no token is among.
  void encode_unreached(std::span<const int> to_encode, Stored& stored) {
    for (const int unit : to_encode) {
      if (!stored.contains(unit)) keep(compress_alone(unit), stored);
    }
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

  /// Takes both models through a layer, and encodes its units one input group after another: each
  /// by its inputs after the groups before it were compressed, and aimed at the outputs of the
  /// original model.
  void gather_in_turn(int layer, HiddenRows& base, HiddenRows& compressed,
                      std::span<const int> to_encode, Stored& stored) {
    for (int block = 0; block < model_.blocks(layer); ++block) {
      std::vector<int> units;
      std::copy_if(to_encode.begin(), to_encode.end(), std::back_inserter(units),
                   [&](int unit) { return model_.block_of(unit) == block; });
      const std::vector<std::vector<int>> groups = groups_of(layer, block, base, units);
      std::set<int> leaders;
      int64_t bytes = 0;
      for (const std::vector<int>& group : groups) {
        leaders.insert(group.front());
        bytes += std::ssize(base) * recorded_row_bytes(checkpoint_, group.front(), longest_row());
      }
      OriginalInputs originals;
      const bool recorded = bytes <= moments_bytes() / kRecordedPart;
      if (recorded) {
        model_.run_block(base, layer, block, [&](const LinearInput& input) {
          if (leaders.contains(input.unit) && input.tokens > 0) originals.record(input);
        });
      }
      for (const std::vector<int>& group : groups) {
        gather_group(group, base, compressed, recorded ? &originals : nullptr, stored);
      }
      if (!recorded) model_.run_block(base, layer, block);
      encode_unreached(units, stored);
      with_stored(stored, [&] { model_.run_block(compressed, layer, block); });
    }
  }

  /// The units of a block that share their inputs. @param before hidden states before the block.
  std::vector<std::vector<int>> groups_of(int layer, int block, const HiddenRows& before,
                                          std::span<const int> units) {
    if (units.empty()) return {};
    InputGroups known(units);
    HiddenRows first = copy_rows(std::span(before).first(1));
    model_.run_block(first, layer, block, [&](const LinearInput& input) {
      if (known.wants(input.unit) && input.tokens > 0) known.leader_of(input);
    });
    return known.groups();
  }

  /// Encodes the units of a group.
  /// @param base hidden states of the original before the block, unless its inputs were recorded.
  /// @param recorded the original's inputs; null: they are recorded for some rows at a time.
  void gather_group(const std::vector<int>& group, const HiddenRows& base,
                    const HiddenRows& compressed, OriginalInputs* recorded, Stored& stored) {
    const int leader = group.front();
    const int64_t row = recorded_row_bytes(checkpoint_, leader, longest_row());
    const int64_t step = recorded != nullptr
                             ? std::ssize(compressed)
                             : std::max<int64_t>(1, moments_bytes() / kRecordedPart / row);
    const int64_t left = moments_bytes() - moments_bytes() / kRecordedPart;
    Moments moments(checkpoint_, group, left, pool_, /*drifts=*/true);
    encode_by(moments, stored, [&] {
      for (int64_t at = 0; at < std::ssize(compressed); at += step) {
        const int64_t count = std::min(step, std::ssize(compressed) - at);
        OriginalInputs some;
        if (recorded == nullptr) {
          HiddenRows passing = copy_rows(std::span(base).subspan(at, count));
          model_.run_to_inputs(passing, group, [&](const LinearInput& input) {
            if (input.unit == leader && input.tokens > 0) some.record(input);
          });
        }
        HiddenRows passing = copy_rows(std::span(compressed).subspan(at, count));
        with_stored(stored, [&] {
          model_.run_to_inputs(passing, group, [&](const LinearInput& input) {
            moments.add(input, recorded != nullptr ? recorded : &some, at);
          });
        });
      }
    });
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
    std::map<int, UnitEncoder::Unfinished> unfinished;
    do {
      pass();
      for (const Moments::Group& group : moments.groups()) {
        compress_group(group, moments, unfinished);
        for (const int unit : group.units) {
          const auto at = unfinished.find(unit);
          if (at == unfinished.end() || at->second.parts_left > 0) continue;
          keep(finished(at->second), stored);
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
    const AffineFormat format = encoder_.format_of(unit.unit);
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

  CompressedUnit finished(UnitEncoder::Unfinished& done) {
    CompressedUnit unit = UnitEncoder::finish(done);
    count(unit, /*fresh=*/true);
    return unit;
  }

  /// A unit without usable inputs: the embedding, or experts that no token reached.
  CompressedUnit compress_alone(int unit) {
    if (std::optional<CompressedUnit> found = recall(unit)) return std::move(*found);
    UnitEncoder::Unfinished result = encoder_.begin(unit);
    std::vector<int> parts(result.sums.size());
    std::iota(parts.begin(), parts.end(), 0);
    encoder_.for_parts(parts, [&](int part) { encoder_.encode(result, part, {}); });
    result.unit.starved_parts = parts.size() > 1 ? std::ssize(parts) : 0;
    return finished(result);
  }

  /// Parts of units that share their inputs, and so one factor.
  void compress_group(const Moments::Group& group, Moments& moments,
                      std::map<int, UnitEncoder::Unfinished>& unfinished) {
    if (group.parts.empty()) return;
    std::vector<UnitEncoder::Unfinished*> units;
    for (const int unit : group.units) {
      const auto at = unfinished.find(unit);
      units.push_back(at != unfinished.end()
                          ? &at->second
                          : &unfinished.emplace(unit, encoder_.begin(unit)).first->second);
    }
    const int leader = group.units.front();
    const bool several = units.front()->sums.size() > 1;
    FeedbackOptions options = options_.feedback;
    if (options_.encoder == Encoder::kFeedback) {
      options.damping = moments.damping(group, options_.shrink_tokens, options.damping);
    }
    encoder_.for_parts(group.parts, [&](int part) {
      check_interrupted();
      UnitEncoder::Inputs inputs{.gathered = moments.gathered(leader, part)};
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
        inputs.feedback = &feedback.emplace(*inputs.moment, options, pool_);
      }
      for (UnitEncoder::Unfinished* unit : units) encoder_.encode(*unit, part, inputs);
    });
    for (UnitEncoder::Unfinished* unit : units) {
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
    UnitEncoder::Inputs inputs{
        .moment = &moment, .gathered = &moment, .drift = drift ? &*drift : nullptr};
    std::optional<FeedbackEncoder> feedback;
    if (options_.encoder == Encoder::kFeedback) {
      const SecondMoment held = final_moment(checkpoint_, end, pool_, /*held_out=*/true);
      FeedbackOptions chosen = options_.feedback;
      chosen.damping = damping_for(moment, held, chosen.damping, pool_);
      inputs.feedback = &feedback.emplace(moment, chosen, pool_);
    }
    UnitEncoder::Unfinished result = encoder_.begin(head);
    encoder_.encode(result, 0, inputs);
    return finished(result);
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
  UnitEncoder encoder_;
  CompressResult result_;
  bool in_turn_ = false;
  int64_t total_weights_ = 0;
  int64_t done_weights_ = 0;
};

}  // namespace

CompressResult compress_units(LanguageModel& model, std::span<const UnitFormat> formats,
                              const CalibrationText& text, const CompressOptions& options,
                              const std::function<std::optional<CompressedUnit>(int unit)>& known,
                              const std::function<void(const CompressedUnit& unit)>& sink,
                              const ProgressFn& progress) {
  Compressor compressor(model, formats, text, options, known, sink, progress);
  return compressor.run();
}

}  // namespace ram
