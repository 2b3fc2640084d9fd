// Probing: disturb one unit and compare the predictions. The text goes through the layers once; at
// each layer the variants of its units branch off and run on together, so that each weight is read
// and unpacked once for all of them, and the layers before a unit's own are never repeated.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <tuple>
#include <vector>

#include <fmt/format.h>

#include "ram/calibrate.h"
#include "ram/calibration_table.h"
#include "ram/cancellation.h"
#include "ram/error.h"
#include "ram/eval.h"
#include "ram/machine.h"
#include "ram/progress.h"
#include "ram/scoped.h"
#include "ram/thread.h"

#include "units.h"

namespace ram {
namespace {

using Clock = std::chrono::steady_clock;

/// Version of the arithmetic: a new one invalidates what older versions stored.
constexpr int kProbeRule = 2;
// A unit must stay a little below the requested error: the estimate of the seeds' share, which uses
// all units, still changes.
constexpr double kMargin = 0.9;

struct Variant {
  int unit = 0;
  int seed = 0;
  HiddenRows hidden;
};

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
    for (const ProbeRow& row : ProbeTable(study).find(key_)) {
      const auto unit = names.find(row.unit);
      if (unit == names.end() || row.row >= std::ssize(text.rows)) continue;
      known_[{unit->second, static_cast<int>(row.seed), row.row}] = row.kl_sum;
    }
  }

  const Known& known() const { return known_; }
  double layers_run() const { return layers_run_; }

  /// Measures units on rows [first, last) of the text with seeds [0, seeds), unless already known;
  /// on fewer rows if all would take longer than `seconds`.
  /// @param seconds 0: no limit. @return the end of the rows measured.
  int64_t run(std::span<const int> units, int64_t first, int64_t last, int seeds, double seconds) {
    rows_.assign(text_.rows.begin() + first, text_.rows.begin() + last);
    first_row_ = first;
    const int layers = model_.layers();
    std::vector<std::vector<Variant>> by_layer(static_cast<size_t>(layers));
    std::vector<Variant> outside;
    for (const int unit : units) {
      for (int seed = 0; seed < seeds; ++seed) {
        if (is_known(unit, seed)) continue;
        const int layer = checkpoint_.units[static_cast<size_t>(unit)].layer;
        (layer < 0 ? outside : by_layer[static_cast<size_t>(layer)])
            .push_back({.unit = unit, .seed = seed, .hidden = {}});
      }
    }
    int64_t wanted = std::ssize(outside);
    for (const auto& variants : by_layer) wanted += std::ssize(variants);
    if (wanted == 0) return last;
    total_ += wanted;
    HiddenRows base = model_.embed(rows_);
    last_hidden_ = copy_rows(base);
    if (model_.keeps_weights()) warm_up();  // variants will not have to pack them
    const auto start = Clock::now();
    run_layers(last_hidden_, 0, layers);
    const double layer_seconds = seconds_since(start) / static_cast<double>(layers);
    ProbeForecast forecast = forecast_of(outside, by_layer, layer_seconds);
    if (seconds > 0 && forecast.seconds > seconds) {
      const int64_t rows = std::ssize(rows_);
      const auto within =
          static_cast<int64_t>(static_cast<double>(rows) * seconds / forecast.seconds);
      forecast.rows = std::clamp(within / 2 * 2, std::min(kLeastRows, rows), rows);
      forecast.seconds *= static_cast<double>(forecast.rows) / static_cast<double>(rows);
      for (auto* cut : {&base, &last_hidden_}) cut->resize(static_cast<size_t>(forecast.rows));
      rows_.resize(static_cast<size_t>(forecast.rows));
    }
    if (options_.forecast) options_.forecast(forecast);
    run_outside(outside);

    const int64_t memory = options_.memory_bytes > 0 ? options_.memory_bytes : memory_bytes() / 8;
    int64_t each = 0;
    for (const TokenRow& row : rows_) each += model_.row_bytes(std::ssize(row));
    const auto most = static_cast<size_t>(std::max<int64_t>(1, memory / each));
    std::vector<Variant> travelling;
    for (int layer = 0; layer < layers; ++layer) {
      for (Variant& variant : by_layer[static_cast<size_t>(layer)]) {
        if (travelling.size() >= most) arrive(travelling, layer + 1);
        branch_off(variant, base, layer);
        travelling.push_back(std::move(variant));
      }
      // With weights in memory, larger batches of variants gain nothing, and finished ones can be
      // stored.
      if (!travelling.empty() && model_.keeps_weights()) arrive(travelling, layer + 1);
      run_layers(base, layer, layer + 1);
      if (layer + 1 < layers) travel(travelling, layer + 1, layer + 2);
    }
    arrive(travelling, layers);
    return first + std::ssize(rows_);
  }

 private:
  static double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  }

  void warm_up() {
    HiddenRows one = model_.embed(std::span(rows_).first(1));
    model_.run_layers(one, 0, model_.layers());
    divergence_sums(std::span(rows_).first(1),
                    std::vector<LogitSource>(2, {.model = &model_, .hidden = &one}));
  }

  /// @param layer_seconds time of a layer for all rows.
  ProbeForecast forecast_of(const std::vector<Variant>& outside,
                            const std::vector<std::vector<Variant>>& by_layer,
                            double layer_seconds) {
    const int layers = model_.layers();
    ProbeForecast forecast{.rows = std::ssize(rows_)};
    double layer_passes = 0;
    for (const Variant& variant : outside) {
      const Unit& unit = checkpoint_.units[static_cast<size_t>(variant.unit)];
      if (unit.role == Role::kEmbedding) layer_passes += layers;
    }
    forecast.variants = std::ssize(outside);
    for (size_t layer = 0; layer < by_layer.size(); ++layer) {
      const int64_t count = std::ssize(by_layer[layer]);
      forecast.variants += count;
      layer_passes += static_cast<double>(count * (layers - static_cast<int64_t>(layer)));
    }
    // Logits of one row for a variant and the original: the original's are computed once for every
    // kLogitsAtOnce variants.
    HiddenRows one;
    one.push_back(last_hidden_.front().copy());
    const std::vector<LogitSource> sources(2, {.model = &model_, .hidden = &one});
    const auto start = Clock::now();
    divergence_sums(std::span(rows_).first(1), sources);
    const double share = 0.5 * (1 + 1 / static_cast<double>(kLogitsAtOnce));
    const double logits = seconds_since(start) * static_cast<double>(forecast.rows) * share;
    forecast.seconds =
        layer_passes * layer_seconds + static_cast<double>(forecast.variants) * logits;
    return forecast;
  }

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

  UnitRows disturbed(int unit, int seed) {
    if (options_.values) return options_.values(unit);
    return noisy_rows(checkpoint_, unit, options_.relative_noise,
                      noise_seed(options_.seed, unit, seed), pool_);
  }

  /// From the original's hidden states before `layer` to the variant's after it.
  void branch_off(Variant& variant, const HiddenRows& base, int layer) {
    check_interrupted();
    variant.hidden = copy_rows(base);
    const AtScopeExit restore([&] { model_.restore_unit(variant.unit); });
    model_.set_unit(variant.unit, disturbed(variant.unit, variant.seed));
    run_layers(variant.hidden, layer, layer + 1);
  }

  /// Runs all variants through layers, as one block of rows.
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

  /// Runs all variants to the end, compares them with the original, and stores the results.
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
  /// can still be computed.
  void run_outside(std::vector<Variant>& variants) {
    if (variants.empty()) return;
    const auto& units = checkpoint_.units;
    LanguageModel twin = twin_of(model_);
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
      progress_({.phase = "probe", .done = done_, .total = total_, .counted = "variants"});
    }
  }

  void keep() {
    if (fresh_.empty()) return;
    checkpoint_.check_unchanged();
    ProbeTable(study_).put(key_, fresh_);
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
  std::vector<TokenRow> rows_;
  int64_t first_row_ = 0;
  HiddenRows last_hidden_;  // of the original, after the last layer
  double layers_run_ = 0;
  int64_t done_ = 0;
  int64_t total_ = 0;
};

/// KL per token of one unit, by seed and row.
class Measured {
 public:
  /// Uses rows from the first one on, as long as all seeds are known.
  Measured(const Known& known, int unit, const CalibrationText& text, int seeds, int64_t rows)
      : by_seed_(static_cast<size_t>(seeds)) {
    for (int64_t row = 0; row < rows; ++row) {
      const auto tokens = static_cast<double>(text.rows[static_cast<size_t>(row)].size() - 1);
      std::vector<double> values;
      for (int seed = 0; seed < seeds; ++seed) {
        const auto found = known.find({unit, seed, row});
        if (found == known.end()) return;
        values.push_back(found->second / tokens);
      }
      for (size_t seed = 0; seed < values.size(); ++seed) by_seed_[seed].push_back(values[seed]);
      row_means_.push_back(mean_of(values));
    }
  }

  int64_t rows() const { return std::ssize(row_means_); }
  double mean() const { return mean_of(row_means_); }
  /// Mean of every other row, starting at `first`; 0 if there is none.
  double half(size_t first) const {
    std::vector<double> values;
    for (size_t row = first; row < row_means_.size(); row += 2) values.push_back(row_means_[row]);
    return values.empty() ? 0 : mean_of(values);
  }

  /// Variance of the mean divided by its square, due to the choice of rows and each row's own
  /// noise.
  double of_rows() const {
    if (row_means_.size() < 2 || mean() <= 0) return 0;
    return spread(row_means_) / static_cast<double>(row_means_.size()) / (mean() * mean());
  }

  /// Variance, divided by the square of the mean, of a seed's common effect on all rows: how much
  /// the seeds' means vary beyond what their rows explain. Unbiased, so it may be below 0.
  /// @source the method of moments for two crossed random effects without replication
  double of_seed() const {
    if (by_seed_.size() < 2 || row_means_.size() < 2 || mean() <= 0) return 0;
    std::vector<double> seed_means;
    seed_means.reserve(by_seed_.size());
    for (const auto& values : by_seed_) seed_means.push_back(mean_of(values));
    const double all = mean();
    double rest = 0;
    for (size_t seed = 0; seed < by_seed_.size(); ++seed) {
      for (size_t row = 0; row < row_means_.size(); ++row) {
        rest += std::pow(by_seed_[seed][row] - seed_means[seed] - row_means_[row] + all, 2);
      }
    }
    const auto count = static_cast<double>(row_means_.size());
    rest /= static_cast<double>(by_seed_.size() - 1) * (count - 1);
    return (spread(seed_means) - rest / count) / (all * all);
  }

 private:
  static double mean_of(const std::vector<double>& values) {
    double sum = 0;
    for (const double value : values) sum += value;
    return values.empty() ? 0 : sum / static_cast<double>(values.size());
  }
  static double spread(const std::vector<double>& values) {
    double squares = 0;
    for (const double value : values) squares += std::pow(value - mean_of(values), 2);
    return squares / static_cast<double>(values.size() - 1);
  }

  std::vector<std::vector<double>> by_seed_;
  std::vector<double> row_means_;  ///< over seeds
};

/// How far a unit was measured.
struct Progressed {
  int64_t rows = 0;
  int seeds = 0;
};

/// Two seeds of one unit say little about the seeds' variance, those of all units together do: so
/// this share of every error is estimated from all units.
void summarize_units(const Known& known, std::span<const int> units, const CalibrationText& text,
                     const ProbeOptions& options, const std::map<int, Progressed>& progressed,
                     Coefficients& result) {
  const double square = options.relative_noise * options.relative_noise;
  double of_seed = 0;
  for (const int unit : units) {
    const Progressed& at = progressed.at(unit);
    const Measured measured(known, unit, text, at.seeds, at.rows);
    result.units[static_cast<size_t>(unit)] = {.value = measured.mean() / square,
                                               .log_error = measured.of_rows(),
                                               .rows = measured.rows(),
                                               .seeds = at.seeds,
                                               .even = measured.half(0) / square,
                                               .odd = measured.half(1) / square};
    of_seed += measured.of_seed() / static_cast<double>(units.size());
  }
  for (const int unit : units) {
    Coefficient& found = *result.units[static_cast<size_t>(unit)];
    found.log_error = std::sqrt(found.log_error + std::max(0.0, of_seed) / found.seeds);
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
  std::map<int, Progressed> progressed;
  std::vector<int> pending(units.begin(), units.end());
  const int64_t rows = std::ssize(text.rows);
  // Double the rows until all are used, then the seeds: most uncertainty comes from the rows.
  int64_t first = 0;
  int64_t last = std::min(rows, options.first_rows);
  int known_seeds = 0;
  int seeds = options.seeds;
  while (!pending.empty()) {
    const double left = options.seconds > 0 ? std::max(1e-3, options.seconds - elapsed()) : 0;
    const int64_t reached = prober.run(pending, first, last, seeds, left);
    // Fewer rows than before, with more seeds, are not progress.
    const bool whole = reached == last;
    if (known_seeds == 0 || whole) {
      for (const int unit : pending) progressed[unit] = {.rows = reached, .seeds = seeds};
    }
    result.layers_naive += static_cast<double>(std::ssize(pending)) * (seeds - known_seeds) *
                           static_cast<double>(reached - first) * model.layers();
    summarize_units(prober.known(), units, text, options, progressed, result);
    std::erase_if(pending, [&](int unit) {
      return result.units[static_cast<size_t>(unit)]->log_error <= kMargin * options.aimed_error;
    });
    if (pending.empty()) break;
    if (options.seconds > 0 && (!whole || elapsed() >= options.seconds)) {
      result.cut_short = true;
      break;
    }
    if (last < rows) {
      first = last;
      last = std::min(rows, 2 * first);
    } else if (seeds < options.most_seeds) {
      first = 0;
      known_seeds = seeds;
      seeds = std::min(options.most_seeds, 2 * seeds);
    } else {
      break;
    }
  }
  result.layers_run = prober.layers_run();
  result.seconds = elapsed();
  return result;
}

}  // namespace ram
