// Probing: disturb one unit, look at the predictions. The text goes through the layers once; at
// each layer the variants of its units branch off and travel on together, so that each weight is
// read and unpacked once for all of them, and what comes before a unit's layer is never repeated.
#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <map>
#include <tuple>

#include <fmt/format.h>

#include "ram/calibrate.h"
#include "ram/error.h"
#include "ram/eval.h"

#include "units.h"

namespace ram {
namespace {

using Clock = std::chrono::steady_clock;

/// Numbers the arithmetic: with another, what older versions kept is not found.
constexpr int kProbeRule = 1;
// Variants whose logits are computed beside the original's in one go.
constexpr size_t kLogitsAtOnce = 8;

struct Variant {
  int unit = 0;
  int seed = 0;
  HiddenRows hidden;
};

HiddenRows copy_rows(const HiddenRows& rows) {
  HiddenRows copies;
  copies.reserve(rows.size());
  for (const Matrix& row : rows) copies.push_back(row.copy());
  return copies;
}

int64_t bytes_of(const HiddenRows& rows) {
  int64_t bytes = 0;
  for (const Matrix& row : rows) bytes += row.rows() * row.cols() * 4;
  return bytes;
}

/// KL sums per (unit, seed, row of the text).
using Known = std::map<std::tuple<int, int, int64_t>, double>;

class Prober {
 public:
  Prober(LanguageModel& model, const std::string& fingerprint, const CalibrationText& text,
         const ProbeOptions& options, Study& study, const ProgressFn& progress)
      : model_(model),
        checkpoint_(model.checkpoint()),
        text_(text),
        options_(options),
        study_(study),
        progress_(progress),
        pool_(model.options().threads),
        key_{.fingerprint = fingerprint,
             .text = text.digest,
             .disturbance = options.values
                                ? fmt::format("{} rule {}", options.disturbance, kProbeRule)
                                : fmt::format("gaussian {} seed {} rule {}", options.relative_noise,
                                              options.seed, kProbeRule)} {
    std::map<std::string, int> names;
    for (size_t u = 0; u < checkpoint_.units.size(); ++u) {
      names[checkpoint_.units[u].name] = static_cast<int>(u);
    }
    for (const ProbeRow& row : study.probes(key_)) {
      const auto unit = names.find(row.unit);
      if (unit == names.end() || row.row >= std::ssize(text.rows)) continue;
      known_[{unit->second, static_cast<int>(row.seed), row.row}] = row.kl_sum;
    }
  }

  const Known& known() const { return known_; }
  double layers_run() const { return layers_run_; }

  /// Measures units on rows [first, last) of the text, as far as they are not known there.
  void run(std::span<const int> units, int64_t first, int64_t last) {
    rows_.assign(text_.rows.begin() + first, text_.rows.begin() + last);
    first_row_ = first;
    const int layers = model_.layers();
    std::vector<std::vector<Variant>> by_layer(static_cast<size_t>(layers));
    std::vector<Variant> outside;
    for (const int unit : units) {
      for (int seed = 0; seed < options_.seeds; ++seed) {
        if (is_known(unit, seed)) continue;
        const int layer = checkpoint_.units[static_cast<size_t>(unit)].layer;
        (layer < 0 ? outside : by_layer[static_cast<size_t>(layer)])
            .push_back({.unit = unit, .seed = seed, .hidden = {}});
      }
    }
    int64_t wanted = std::ssize(outside);
    for (const auto& variants : by_layer) wanted += std::ssize(variants);
    if (wanted == 0) return;
    total_ += wanted;
    HiddenRows base = model_.embed(rows_);
    last_hidden_ = copy_rows(base);
    run_layers(last_hidden_, 0, layers);
    run_outside(outside);

    const int64_t memory = options_.memory_bytes > 0 ? options_.memory_bytes : memory_bytes() / 8;
    const auto most =
        static_cast<size_t>(std::max<int64_t>(1, memory / std::max<int64_t>(1, bytes_of(base))));
    std::vector<Variant> travelling;
    for (int layer = 0; layer < layers; ++layer) {
      for (Variant& variant : by_layer[static_cast<size_t>(layer)]) {
        if (travelling.size() >= most) arrive(travelling, layer + 1);
        branch_off(variant, base, layer);
        travelling.push_back(std::move(variant));
      }
      // In memory nothing is gained by travelling on with more, and what is done can be kept.
      if (!travelling.empty() && model_.keeps_weights()) arrive(travelling, layer + 1);
      run_layers(base, layer, layer + 1);
      if (layer + 1 < layers) travel(travelling, layer + 1, layer + 2);
    }
    arrive(travelling, layers);
  }

 private:
  bool is_known(int unit, int seed) const {
    for (int64_t row = 0; row < std::ssize(rows_); ++row) {
      if (!known_.contains({unit, seed, first_row_ + row})) return false;
    }
    return true;
  }

  void run_layers(HiddenRows& rows, int first, int last) {
    model_.run_layers(rows, first, last);
    layers_run_ += static_cast<double>(std::ssize(rows)) * (last - first);
  }

  std::vector<float> disturbed(int unit, int seed) {
    if (options_.values) return options_.values(unit);
    if (read_ != unit) original_ = read_unit(checkpoint_, unit, std::nullopt, pool_);
    read_ = unit;
    std::vector<float> weights = original_;
    add_noise(weights, std::ssize(checkpoint_.units[static_cast<size_t>(unit)].parts),
              options_.relative_noise, noise_seed(options_.seed, unit, seed), pool_);
    return weights;
  }

  /// From the original's hidden states before `layer` to the variant's after it.
  void branch_off(Variant& variant, const HiddenRows& base, int layer) {
    check_interrupted();
    variant.hidden = copy_rows(base);
    model_.set_unit(variant.unit, disturbed(variant.unit, variant.seed));
    run_layers(variant.hidden, layer, layer + 1);
    model_.restore_unit(variant.unit);
  }

  /// Takes all variants through layers, as one block of rows.
  void travel(std::vector<Variant>& variants, int first, int last) {
    if (variants.empty() || first >= last) return;
    HiddenRows all;
    for (Variant& variant : variants) {
      for (Matrix& row : variant.hidden) all.push_back(std::move(row));
    }
    run_layers(all, first, last);
    size_t next = 0;
    for (Variant& variant : variants) {
      for (Matrix& row : variant.hidden) row = std::move(all[next++]);
    }
  }

  /// Takes all variants to the end, compares them with the original, keeps what was found.
  void arrive(std::vector<Variant>& variants, int from) {
    travel(variants, from, model_.layers());
    for (size_t begin = 0; begin < variants.size(); begin += kLogitsAtOnce) {
      const size_t end = std::min(variants.size(), begin + kLogitsAtOnce);
      std::vector<LogitSource> sources = {{.model = &model_, .hidden = &last_hidden_}};
      for (size_t v = begin; v < end; ++v) {
        sources.push_back({.model = &model_, .hidden = &variants[v].hidden});
      }
      const std::vector<std::vector<double>> sums = divergence_sums(rows_, sources);
      for (size_t v = begin; v < end; ++v) add(variants[v], sums[v - begin]);
    }
    keep();
    variants.clear();
  }

  /// Embedding and head: the disturbed one belongs to a second model, so that the original's logits
  /// can be computed beside.
  void run_outside(std::vector<Variant>& variants) {
    if (variants.empty()) return;
    const auto& units = checkpoint_.units;
    LanguageModel twin(Checkpoint::open(checkpoint_.folder.string(), Quantized::kAccept),
                       model_.options());
    for (Variant& variant : variants) {
      check_interrupted();
      twin.set_unit(variant.unit, disturbed(variant.unit, variant.seed));
      const bool embeds = units[static_cast<size_t>(variant.unit)].role == Role::kEmbedding;
      const bool ends = !embeds || checkpoint_.tied_embeddings;
      if (embeds) {
        variant.hidden = twin.embed(rows_);
        run_layers(variant.hidden, 0, model_.layers());
      } else {
        variant.hidden = copy_rows(last_hidden_);
      }
      const std::vector<LogitSource> sources = {
          {.model = &model_, .hidden = &last_hidden_},
          {.model = ends ? &twin : &model_, .hidden = &variant.hidden}};
      add(variant, divergence_sums(rows_, sources).front());
      twin.restore_unit(variant.unit);
      variant.hidden.clear();
      keep();
    }
  }

  void add(const Variant& variant, const std::vector<double>& kl_sums) {
    for (size_t row = 0; row < kl_sums.size(); ++row) {
      const auto index = first_row_ + static_cast<int64_t>(row);
      known_[{variant.unit, variant.seed, index}] = kl_sums[row];
      fresh_.push_back({.unit = checkpoint_.units[static_cast<size_t>(variant.unit)].name,
                        .seed = variant.seed,
                        .row = index,
                        .tokens = std::ssize(rows_[row]) - 1,
                        .kl_sum = kl_sums[row]});
    }
    ++done_;
    if (progress_) {
      progress_({.phase = "probe", .done_bytes = done_, .total_bytes = total_, .unit = "variants"});
    }
  }

  void keep() {
    if (!fresh_.empty()) study_.put_probes(key_, fresh_);
    fresh_.clear();
  }

  LanguageModel& model_;
  const Checkpoint& checkpoint_;
  const CalibrationText& text_;
  const ProbeOptions& options_;
  Study& study_;
  const ProgressFn& progress_;
  ThreadPool pool_;
  ProbeKey key_;
  Known known_;
  std::vector<ProbeRow> fresh_;
  int read_ = -1;  // the unit whose weights these are: a unit's seeds follow each other
  std::vector<float> original_;
  std::vector<TokenRow> rows_;
  int64_t first_row_ = 0;
  HiddenRows last_hidden_;  // of the original, after the last layer
  double layers_run_ = 0;
  int64_t done_ = 0;
  int64_t total_ = 0;
};

struct Sample {
  double tokens = 0;
  double sum = 0;
  double mean() const { return tokens > 0 ? sum / tokens : 0; }
};

/// @param seed_variance set to the variance of the seeds' logarithms, where there are several.
/// @return the coefficient of a unit from the first `rows` rows; its error as far as they tell.
Coefficient summarize(const Known& known, int unit, const CalibrationText& text,
                      const ProbeOptions& options, int64_t rows, double& seed_variance) {
  std::vector<double> row_means;  // over seeds, per token
  std::vector<Sample> seeds(static_cast<size_t>(options.seeds));
  std::array<Sample, 2> halves;
  Coefficient result;
  for (int64_t row = 0; row < rows; ++row) {
    const auto tokens = static_cast<double>(text.rows[static_cast<size_t>(row)].size() - 1);
    double sum = 0;
    bool whole = true;
    for (int seed = 0; seed < options.seeds && whole; ++seed) {
      const auto found = known.find({unit, seed, row});
      whole = found != known.end();
      if (whole) sum += found->second;
    }
    if (!whole) break;
    for (int seed = 0; seed < options.seeds; ++seed) {
      Sample& sample = seeds[static_cast<size_t>(seed)];
      sample.sum += known.at({unit, seed, row});
      sample.tokens += tokens;
    }
    row_means.push_back(sum / options.seeds / tokens);
    Sample& half = halves[static_cast<size_t>(row % 2)];
    half.sum += sum / options.seeds;
    half.tokens += tokens;
  }
  result.rows = std::ssize(row_means);
  if (row_means.empty()) return result;
  const double square = options.relative_noise * options.relative_noise;
  const double mean = (halves[0].sum + halves[1].sum) / (halves[0].tokens + halves[1].tokens);
  result.value = mean / square;
  result.even = halves[0].mean() / square;
  result.odd = halves[1].mean() / square;
  if (mean <= 0) return result;
  double variance = 0;
  const auto count = static_cast<double>(row_means.size());
  if (row_means.size() > 1) {
    for (const double value : row_means) variance += (value - mean) * (value - mean);
    variance /= (count - 1) * count * mean * mean;
  }
  seed_variance = 0;
  for (const Sample& seed : seeds) {
    if (options.seeds > 1)
      seed_variance += std::pow(seed.mean() / mean - 1, 2) / (options.seeds - 1);
  }
  result.log_error = std::sqrt(variance);
  return result;
}

/// Summaries from the first `rows` rows. Two seeds of one unit say little of how much seeds matter;
/// those of all units together do, so the seeds' share of every error is the mean over all.
/// @param of_seeds that share; worked out where it is negative.
void summarize_units(const Known& known, std::span<const int> units, const CalibrationText& text,
                     const ProbeOptions& options, int64_t rows, double& of_seeds,
                     Coefficients& result) {
  double sum = 0;
  for (const int unit : units) {
    double seed_variance = 0;
    result.units[static_cast<size_t>(unit)] =
        summarize(known, unit, text, options, rows, seed_variance);
    sum += seed_variance;
  }
  if (of_seeds < 0) of_seeds = sum / static_cast<double>(units.size()) / options.seeds;
  for (const int unit : units) {
    double& error = result.units[static_cast<size_t>(unit)]->log_error;
    error = std::sqrt(error * error + of_seeds);
  }
}

}  // namespace

Coefficients measure_coefficients(LanguageModel& model, const std::string& fingerprint,
                                  std::span<const int> units, const CalibrationText& text,
                                  const ProbeOptions& options, Study& study,
                                  const ProgressFn& progress) {
  RAM_CHECK(options.relative_noise > 0 && options.seeds >= 1 && options.first_rows >= 1);
  const auto start = Clock::now();
  const auto elapsed = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  Coefficients result;
  result.units.resize(model.checkpoint().units.size());
  Prober prober(model, fingerprint, text, options, study, progress);
  std::vector<int> pending(units.begin(), units.end());
  const int64_t rows = std::ssize(text.rows);
  double of_seeds = -1;
  for (int64_t first = 0; first < rows && !pending.empty();) {
    const int64_t last = std::min(rows, std::max(options.first_rows, 2 * first));
    const double before = elapsed();
    prober.run(pending, first, last);
    result.layers_naive += static_cast<double>(std::ssize(pending)) * options.seeds *
                           static_cast<double>(last - first) * model.layers();
    std::vector<int> uncertain;
    summarize_units(prober.known(), pending, text, options, last, of_seeds, result);
    for (const int unit : pending) {
      const double error = result.units[static_cast<size_t>(unit)]->log_error;
      if (error > options.aimed_error) uncertain.push_back(unit);
    }
    const double block = elapsed() - before;
    first = last;
    pending = std::move(uncertain);
    // The next block has as many rows as all before it, for the units that are left.
    if (options.seconds > 0 && !pending.empty() && first < rows &&
        elapsed() + block > options.seconds) {
      result.cut_short = true;
      break;
    }
  }
  result.layers_run = prober.layers_run();
  result.seconds = elapsed();
  return result;
}

}  // namespace ram
