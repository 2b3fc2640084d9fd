// What error feedback gains over plain rounding, on a sample of every unit's rows. Rows are encoded
// independently, so a sample represents the whole; both encoders get the same sample, so the ratio
// has little noise. Matrices are encoded for three quarters of the text and judged by the rest.
#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include <fmt/format.h>

#include "ram/calibrate.h"
#include "ram/cancellation.h"
#include "ram/error.h"
#include "ram/machine.h"
#include "ram/number.h"
#include "ram/progress.h"
#include "ram/size.h"
#include "ram/thread.h"

#include "gain_table.h"
#include "moments.h"
#include "units.h"

namespace ram {
namespace {

constexpr std::array<int, 6> kBits = {2, 3, 4, 5, 6, 8};
constexpr std::array<int, 3> kGroups = {32, 64, 128};

/// Every number of bits, with a group size that changes from unit to unit and from bits to bits:
/// all formats occur equally often, and no unit is measured at all of them.
std::vector<int> sampled_formats(int unit, int64_t cols) {
  std::vector<int> formats;
  for (size_t b = 0; b < kBits.size(); ++b) {
    for (size_t next = 0; next < kGroups.size(); ++next) {
      const int group = kGroups[(static_cast<size_t>(unit) + b + next) % kGroups.size()];
      if (cols % group != 0) continue;
      formats.push_back(format_index({.bits = kBits[b], .group_size = group}));
      break;
    }
  }
  return formats;
}

class GainMeter {
 public:
  GainMeter(LanguageModel& model, const std::string& fingerprint, std::span<const int> units,
            const CalibrationText& text, const CompressOptions& options, Study& study,
            const ProgressFn& progress)
      : model_(model),
        checkpoint_(model.checkpoint()),
        units_(units),
        text_(text),
        options_(options),
        progress_(progress),
        pool_(model.options().threads),
        table_(study,
               fmt::format("{} {} {} {} shrink {} damping {} rule 2", fingerprint, text.digest,
                           encoder_name(options.encoder), weight_dtype_name(options.dtype),
                           options.shrink_tokens, options.feedback.damping)) {
    RAM_CHECK(options.encoder == Encoder::kFeedback);
    recall();
  }

  std::vector<GainRatios> run() {
    std::map<int, std::vector<int>> by_layer;
    bool all = true;
    for (const int unit : units_) {
      if (known_.contains(unit)) continue;
      all = false;
      by_layer[checkpoint_.units[static_cast<size_t>(unit)].layer].push_back(unit);
    }
    if (!all) {
      HiddenRows base = model_.embed(text_.rows);
      const int last = by_layer.rbegin()->first;
      const bool to_the_end = by_layer.contains(-1);
      for (int layer = 0; layer < model_.layers() && (to_the_end || layer <= last); ++layer) {
        run_layer(layer, base, by_layer[layer]);
      }
      for (const int unit : by_layer[-1]) measure_outside(unit, base);
      keep();
    }
    std::vector<GainRatios> ratios(checkpoint_.units.size());
    for (const int unit : units_) ratios[static_cast<size_t>(unit)] = known_.at(unit);
    return ratios;
  }

 private:
  void run_layer(int layer, HiddenRows& base, std::span<const int> units) {
    bool moved = false;
    if (!units.empty()) {
      Moments moments(checkpoint_, units,
                      options_.memory_bytes > 0 ? options_.memory_bytes : memory_bytes() / 4,
                      pool_);
      const InputObserver observe = [&](const LinearInput& input) { moments.add(input); };
      moved = moments.fits_one_pass();
      do {
        if (moved) {
          model_.run_layers(base, layer, layer + 1, observe);
        } else {
          HiddenRows passing = copy_rows(base);
          model_.run_layers(passing, layer, layer + 1, observe);
        }
        for (const Moments::Group& group : moments.groups()) measure_group(group, moments);
      } while (moments.next_pass());
      for (const int unit : units) {
        settle(unit);
        if (progress_) {
          progress_({.phase = "sample",
                     .done = std::ssize(known_),
                     .total = std::ssize(units_),
                     .counted = "units"});
        }
      }
      keep();
    }
    if (!moved) model_.run_layers(base, layer, layer + 1);
  }

  /// Embedding and head. An embedding is looked up row by row, so it has no input moment.
  void measure_outside(int unit, const HiddenRows& end) {
    const Unit& use = checkpoint_.units[static_cast<size_t>(unit)];
    const bool multiplies = use.role != Role::kEmbedding || checkpoint_.tied_embeddings;
    if (multiplies) {
      SecondMoment moment = final_moment(checkpoint_, end, pool_);
      const SecondMoment held = final_moment(checkpoint_, end, pool_, /*held_out=*/true);
      const bool some = held.tokens() > 0 && held.tokens() < moment.tokens();
      const double damping = damping_for(moment, held, options_.feedback.damping, pool_);
      if (some) moment.remove(held);
      measure_part(unit, 0, moment, some ? held : moment, damping);
    } else {
      const SecondMoment none(use.cols);
      measure_part(unit, 0, none, none, options_.feedback.damping);
    }
    settle(unit);
  }

  void measure_group(const Moments::Group& group, Moments& moments) {
    const int leader = group.units.front();
    const auto parts = std::ssize(checkpoint_.units[static_cast<size_t>(leader)].parts);
    const int64_t cols = checkpoint_.units[static_cast<size_t>(leader)].cols;
    const double damping =
        moments.damping(group, options_.shrink_tokens, options_.feedback.damping);
    for (const int part : group.parts) {
      if (!is_sampled_part(part, parts, cols)) continue;
      check_interrupted();
      const SecondMoment* held = moments.held(leader, part);
      const SecondMoment moment = moments.rest(leader, part, options_.shrink_tokens);
      for (const int unit : group.units) {
        measure_part(unit, part, moment, held != nullptr ? *held : moment, damping);
      }
    }
  }

  /// Encodes for `moment`, and judges by `held`: feedback fits the inputs that it is given.
  void measure_part(int unit, int part, const SecondMoment& moment, const SecondMoment& held,
                    double damping) {
    const Unit& use = checkpoint_.units[static_cast<size_t>(unit)];
    const int64_t rows = std::min(use.rows, kSampledRows);
    const int64_t step = use.rows / rows;
    std::vector<float> weights(static_cast<size_t>(rows * use.cols));
    for (int64_t i = 0; i < rows; ++i) {
      read_rows(checkpoint_, unit, part, i * step, 1, options_.dtype,
                weights.data() + i * use.cols);
    }
    check_moment(use, moment);
    double trace = 0;
    for (const float value : held.diagonal()) trace += double{value};
    const double mean = trace / static_cast<double>(use.cols);
    FeedbackOptions feedback = options_.feedback;
    feedback.damping = damping;
    const FeedbackEncoder encoder(moment, feedback, pool_);
    const std::vector<int> formats = sampled_formats(unit, use.cols);
    std::vector<Sums>& sums = sums_[unit];
    sums.resize(kFormatCount);
    pool_.run(std::ssize(formats), [&](int64_t i, int) {
      const int index = formats[static_cast<size_t>(i)];
      const EncodeRequest request{.weights = weights,
                                  .rows = rows,
                                  .cols = use.cols,
                                  .format = kAffineFormats[static_cast<size_t>(index)],
                                  .dtype = options_.dtype};
      const EncodedMatrix encoded = encoder.encode(request, pool_);
      Sums& to = sums[static_cast<size_t>(index)];
      to.plain += squared_error(request, mlx_encode(request, pool_), {});
      to.encoded += mean > 0 ? weighted_error(request, encoded, held, pool_) / mean
                             : squared_error(request, encoded, {});
    });
  }

  void settle(int unit) {
    GainRatios& ratios = known_[unit];
    const auto found = sums_.find(unit);
    if (found == sums_.end()) return;  // no token reached it
    for (size_t f = 0; f < kFormatCount; ++f) {
      const Sums& sums = found->second[f];
      const double ratio = sums.plain > 0 ? sums.encoded / sums.plain : 0;
      if (ratio > 0 && std::isfinite(ratio)) ratios[f] = ratio;
    }
    sums_.erase(found);
  }

  void recall() {
    std::map<std::string, int> wanted;
    for (const int unit : units_) wanted[checkpoint_.units[static_cast<size_t>(unit)].name] = unit;
    for (const auto& [name, ratios] : table_.find()) {
      if (const auto unit = wanted.find(name); unit != wanted.end()) known_[unit->second] = ratios;
    }
  }

  void keep() {
    checkpoint_.check_unchanged();
    std::map<std::string, GainRatios> gains;
    for (const auto& [unit, ratios] : known_) {
      gains[checkpoint_.units[static_cast<size_t>(unit)].name] = ratios;
    }
    table_.put(gains);
  }

  struct Sums {
    double encoded = 0;  // squared error of outputs, divided by the mean squared input
    double plain = 0;    // squared error of weights with plain rounding
  };

  LanguageModel& model_;
  const Checkpoint& checkpoint_;
  std::span<const int> units_;
  const CalibrationText& text_;
  const CompressOptions& options_;
  const ProgressFn& progress_;
  ThreadPool pool_;
  GainTable table_;
  std::map<int, std::vector<Sums>> sums_;  // by unit, then format
  std::map<int, GainRatios> known_;        // by unit
};

/// Three digits: plans stay readable and their length hardly changes.
double rounded(double value) {
  return parse_number(fmt::format("{:.2e}", value)).value();
}

/// Least squares of the logarithms: one term per unit plus one per format, solved alternately.
EncoderGains factored(const Checkpoint& checkpoint, std::span<const int> units,
                      std::span<const GainRatios> ratios) {
  constexpr int kTurns = 100;
  std::map<int, double> own;
  std::vector<double> formats(kFormatCount);
  for (int turn = 0; turn < kTurns; ++turn) {
    for (const int unit : units) {
      double sum = 0;
      int count = 0;
      for (size_t f = 0; f < kFormatCount; ++f) {
        const double ratio = ratios[static_cast<size_t>(unit)][f];
        if (ratio <= 0) continue;
        sum += std::log(ratio) - formats[f];
        ++count;
      }
      if (count > 0) own[unit] = sum / count;
    }
    double mean = 0;
    int measured = 0;
    for (size_t f = 0; f < kFormatCount; ++f) {
      double sum = 0;
      int count = 0;
      for (const auto& [unit, term] : own) {
        const double ratio = ratios[static_cast<size_t>(unit)][f];
        if (ratio <= 0) continue;
        sum += std::log(ratio) - term;
        ++count;
      }
      formats[f] = count > 0 ? sum / count : 0;
      mean += formats[f];
      measured += count > 0 ? 1 : 0;
    }
    if (measured == 0) return {};
    for (double& term : formats) term -= mean / measured;
  }
  EncoderGains gains;
  double mean = 0;
  for (const auto& [unit, term] : own) {
    gains.units[checkpoint.units[static_cast<size_t>(unit)].name] = rounded(std::exp(term));
    mean += term / static_cast<double>(own.size());
  }
  // A unit that no token reached gets the mean gain of the others.
  for (const int unit : units) {
    gains.units.emplace(checkpoint.units[static_cast<size_t>(unit)].name, rounded(std::exp(mean)));
  }
  for (const double term : formats) gains.formats.push_back(rounded(std::exp(term)));
  return gains;
}

}  // namespace

EncoderGains measure_gains(LanguageModel& model, const std::string& fingerprint,
                           std::span<const int> units, const CalibrationText& text,
                           const CompressOptions& options, Study& study,
                           const ProgressFn& progress) {
  GainMeter meter(model, fingerprint, units, text, options, study, progress);
  return factored(model.checkpoint(), units, meter.run());
}

}  // namespace ram
