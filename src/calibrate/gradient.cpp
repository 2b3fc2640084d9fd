// Coefficients from backward passes. Rows go forward through the layers, and what enters each layer
// is kept; then the gradients of their likelihood go back, layer by layer. The squared norm of each
// matrix's gradient is taken from its inputs and the gradients of its results, without the matrix.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "ram/calibrate.h"
#include "ram/calibration_table.h"
#include "ram/dtype.h"
#include "ram/error.h"
#include "ram/file.h"
#include "ram/machine.h"
#include "ram/random.h"
#include "ram/size.h"
#include "ram/thread.h"

#include "hidden_stack.h"
#include "units.h"

namespace ram {
namespace {

using Clock = std::chrono::steady_clock;

/// The study's name of what was measured; a new rule invalidates what older versions stored.
constexpr const char* kDisturbance = "gradient rule 2";

double sum_of_squares(std::span<const float> values) {
  constexpr size_t kLanes = 8;  // sums that do not wait for each other
  double sums[kLanes] = {};
  for (size_t i = 0; i < values.size(); ++i) {
    sums[i % kLanes] += double{values[i]} * double{values[i]};
  }
  double sum = 0;
  for (const double lane : sums) sum += lane;
  return sum;
}

/// mean(W^2) of a unit.
double mean_square(const Checkpoint& checkpoint, int index, ThreadPool& pool) {
  constexpr int64_t kRows = 256;
  const Unit& unit = checkpoint.units[static_cast<size_t>(index)];
  const int64_t blocks = ceil_div(unit.rows, kRows);
  std::vector<double> sums(static_cast<size_t>(blocks * std::ssize(unit.parts)));
  pool.run(std::ssize(sums), [&](int64_t i, int) {
    const int64_t first = i % blocks * kRows;
    const int64_t count = std::min(kRows, unit.rows - first);
    std::vector<float> values(static_cast<size_t>(count * unit.cols));
    read_rows(checkpoint, index, static_cast<int>(i / blocks), first, count, {}, values.data());
    sums[static_cast<size_t>(i)] = sum_of_squares(values);
  });
  double sum = 0;
  for (const double part : sums) sum += part;
  return sum / static_cast<double>(unit.weights());
}

/// The squared norm of each unit's gradient, of one row of the text.
using Squares = std::map<int, double>;

/// The gradient of an embedding's rows, of which a text uses few: the sums of the hidden states'
/// gradients by id. A tied head adds its own to them.
class EmbeddingGradient {
 public:
  EmbeddingGradient(const TokenRow& ids, int64_t cols) : ids_(ids), cols_(cols) {
    for (const int32_t id : ids) rows_.try_emplace(id, static_cast<size_t>(cols), 0.0F);
  }

  /// Adds the head's gradient of the ids that the text uses. @return its square over these alone.
  double add_head(const LinearGradient& head) {
    double square = 0;
    const auto from = rows_.lower_bound(static_cast<int32_t>(head.first_row));
    const auto to = rows_.lower_bound(static_cast<int32_t>(head.first_row + head.rows));
    for (auto at = from; at != to; ++at) {
      const int64_t id = at->first - head.first_row;
      float* sum = at->second.data();
      for (int64_t t = 0; t < head.tokens; ++t) {
        const float factor = head.gradients[t * head.rows + id];
        const float* inputs = head.inputs + t * cols_;
        for (int64_t j = 0; j < cols_; ++j) sum[j] += factor * inputs[j];
      }
      square += sum_of_squares(at->second);
    }
    return square;
  }

  /// Adds the gradients of the embedded tokens. @return the square of everything added.
  double add_tokens(const Matrix& gradients) {
    for (int64_t t = 0; t < gradients.rows(); ++t) {
      std::vector<float>& sum = rows_.at(ids_[static_cast<size_t>(t)]);
      for (int64_t j = 0; j < cols_; ++j) sum[static_cast<size_t>(j)] += gradients.row(t)[j];
    }
    double square = 0;
    for (const auto& [id, sum] : rows_) square += sum_of_squares(sum);
    return square;
  }

 private:
  const TokenRow& ids_;
  int64_t cols_;
  std::map<int32_t, std::vector<float>> rows_;
};

/// Each token's label is the one that follows; the last has none.
std::vector<TokenRow> labels_of(std::span<const TokenRow> rows) {
  std::vector<TokenRow> labels;
  for (const TokenRow& row : rows) {
    TokenRow& next = labels.emplace_back(row.begin() + 1, row.end());
    next.push_back(-1);
  }
  return labels;
}

/// Labels drawn from the model's predictions: of each token the id with the largest sum of its
/// logit and Gumbel noise, one visit of the logits. The last token has none, as in labels_of.
/// @param first the number of the first row. @source Gumbel (1954), the Gumbel-max trick
std::vector<TokenRow> drawn_labels(LanguageModel& model, const HiddenRows& hidden, int64_t first,
                                   uint64_t seed) {
  struct Draw {
    SplitMix64 random;
    double most = -std::numeric_limits<double>::infinity();
    int32_t id = -1;
  };
  std::vector<std::vector<Draw>> draws;
  for (size_t row = 0; row < hidden.size(); ++row) {
    const uint64_t of_row = derived_seed(seed, static_cast<uint64_t>(first) + row);
    std::vector<Draw>& of_tokens = draws.emplace_back();
    for (int64_t t = 0; t < hidden[row].rows(); ++t) {
      of_tokens.push_back({.random = SplitMix64(derived_seed(of_row, static_cast<uint64_t>(t)))});
    }
  }
  const LogitSource source{.model = &model, .hidden = &hidden};
  visit_logits({&source, 1}, [&](const LogitPiece& piece, int) {
    for (int64_t t = 0; t < piece.tokens; ++t) {
      Draw& draw =
          draws[static_cast<size_t>(piece.row)][static_cast<size_t>(piece.first_token + t)];
      for (int64_t i = 0; i < piece.ids; ++i) {
        const double noise = -std::log(-std::log(draw.random.uniform()));
        const double value = double{piece.logits[0][t * piece.ids + i]} + noise;
        if (value <= draw.most) continue;
        draw.most = value;
        draw.id = static_cast<int32_t>(piece.first_id + i);
      }
    }
  });
  std::vector<TokenRow> labels;
  for (const std::vector<Draw>& row : draws) {
    TokenRow& ids = labels.emplace_back();
    for (const Draw& draw : row) ids.push_back(draw.id);
    ids.back() = -1;
  }
  return labels;
}

class GradientPass {
 public:
  /// @param own the rows are the model's own text. @param seed of labels for other text.
  GradientPass(LanguageModel& model, bool own, uint64_t seed, const ProgressFn& progress,
               int64_t total)
      : model_(model),
        checkpoint_(model.checkpoint()),
        own_(own),
        seed_(seed),
        progress_(progress),
        total_(total) {}

  /// The squares of all matrices for each of these rows of the text, numbered from `first`.
  /// @param borders empty; keeps what enters each layer.
  std::vector<Squares> run(std::span<const TokenRow> rows, int64_t first, HiddenStack borders) {
    const int layers = model_.layers();
    HiddenRows hidden = model_.embed(rows);
    for (int layer = 0; layer < layers; ++layer) {
      borders.push(hidden);
      model_.run_layers(hidden, layer, layer + 1);
    }
    std::vector<Squares> squares(rows.size());
    const bool tied = checkpoint_.head == checkpoint_.embedding;
    std::vector<EmbeddingGradient> embedding;
    embedding.reserve(rows.size());
    for (const TokenRow& row : rows) embedding.emplace_back(row, hidden.front().cols());
    const auto add = [&](const LinearGradient& gradient) {
      const auto row = static_cast<size_t>(gradient.row);
      double& square = squares[row][gradient.unit];
      square += model_.gradient_square(gradient);
      if (tied && gradient.unit == checkpoint_.head) square -= embedding[row].add_head(gradient);
    };
    const std::vector<TokenRow> labels =
        own_ ? labels_of(rows) : drawn_labels(model_, hidden, first, seed_);
    HiddenRows gradients = model_.likelihood_gradients(hidden, labels, add);
    for (int layer = layers; layer-- > 0;) {
      model_.run_back(gradients, borders.pop(), layer, add);
      done_ += std::ssize(rows);
      if (progress_) {
        progress_({.phase = "gradient", .done = done_, .total = total_, .counted = "rows"});
      }
    }
    for (size_t r = 0; r < rows.size(); ++r) {
      squares[r][checkpoint_.embedding] += embedding[r].add_tokens(gradients[r]);
    }
    return squares;
  }

 private:
  LanguageModel& model_;
  const Checkpoint& checkpoint_;
  bool own_;
  uint64_t seed_;
  const ProgressFn& progress_;
  int64_t done_ = 0;
  int64_t total_;
};

Coefficient coefficient_of(const std::vector<double>& values) {
  const auto mean_of = [&](size_t first, size_t step) {
    double sum = 0;
    int64_t count = 0;
    for (size_t i = first; i < values.size(); i += step, ++count) sum += values[i];
    return count == 0 ? 0.0 : sum / static_cast<double>(count);
  };
  Coefficient result{.value = mean_of(0, 1),
                     .rows = std::ssize(values),
                     .seeds = 1,
                     .even = mean_of(0, 2),
                     .odd = mean_of(1, 2)};
  if (values.size() < 2 || result.value <= 0) return result;
  double squares = 0;
  for (const double value : values) squares += (value - result.value) * (value - result.value);
  const auto count = static_cast<double>(values.size());
  result.log_error = std::sqrt(squares / (count - 1) / count) / result.value;
  return result;
}

/// The loss of each unit per token of each row, measured where the study does not have it.
class RowLosses {
 public:
  /// All arguments outlive the object.
  RowLosses(LanguageModel& model, const std::string& fingerprint, std::span<const int> units,
            const CalibrationText& text, const GradientOptions& options, Study& study,
            const ProgressFn& progress)
      : model_(model),
        checkpoint_(model.checkpoint()),
        units_(units),
        text_(text),
        seed_(options.seed),
        table_(study),
        progress_(progress),
        own_(text.spec.starts_with("own ")),
        folder_(study.path().parent_path()),
        key_{.fingerprint = fingerprint,
             .text = text.digest,
             .disturbance = own_ ? kDisturbance : fmt::format("{} seed {}", kDisturbance, seed_)},
        pool_(model.options().threads) {
    memory_ = options.memory_bytes > 0 ? options.memory_bytes : memory_bytes() / 8;
    for (const int unit : units) names_[checkpoint_.units[static_cast<size_t>(unit)].name] = unit;
    for (const ProbeRow& found : table_.find(key_)) {
      const auto unit = names_.find(found.unit);
      if (unit == names_.end() || found.row >= std::ssize(text.rows)) continue;
      known_[unit->second][found.row] = found.kl_sum / static_cast<double>(found.tokens);
    }
  }

  /// Measures what is missing of rows [first, last). @return the number of rows measured.
  int64_t measure(int64_t first, int64_t last) {
    GradientPass pass(model_, own_, seed_, progress_, (last - first) * model_.layers());
    const int64_t length = std::ssize(text_.rows.front());
    const GradientBlock block =
        gradient_block(model_, length, last - first, memory_, free_bytes(folder_));
    int64_t measured = 0;
    while (first < last) {
      int64_t end = first;
      while (end < last && end - first < block.rows && !is_known(end)) ++end;
      if (end == first) {
        ++first;
        continue;
      }
      const auto rows = std::span(text_.rows)
                            .subspan(static_cast<size_t>(first), static_cast<size_t>(end - first));
      keep(first, pass.run(rows, first, block.in_file ? HiddenStack(folder_) : HiddenStack()));
      measured += end - first;
      first = end;
    }
    return measured;
  }

  /// From rows [0, last).
  Coefficient coefficient(int unit, int64_t last) const {
    std::vector<double> values;
    for (int64_t row = 0; row < last; ++row) values.push_back(known_.at(unit).at(row));
    return coefficient_of(values);
  }

 private:
  bool is_known(int64_t row) {
    return std::all_of(units_.begin(), units_.end(),
                       [&](int unit) { return known_[unit].contains(row); });
  }

  void keep(int64_t first, const std::vector<Squares>& squares) {
    checkpoint_.check_unchanged();
    std::vector<ProbeRow> fresh;
    for (size_t r = 0; r < squares.size(); ++r) {
      const int64_t row = first + static_cast<int64_t>(r);
      const int64_t tokens = std::ssize(text_.rows[static_cast<size_t>(row)]) - 1;
      for (const auto& [unit, square] : squares[r]) {
        const std::string& name = checkpoint_.units[static_cast<size_t>(unit)].name;
        if (!names_.contains(name)) continue;
        const double loss = 0.5 * mean_square_of(unit) * square;
        known_[unit][row] = loss / static_cast<double>(tokens);
        fresh.push_back({.unit = name, .row = row, .tokens = tokens, .kl_sum = loss});
      }
    }
    table_.put(key_, fresh);
  }

  double mean_square_of(int unit) {
    const auto [at, fresh] = mean_squares_.try_emplace(unit);
    if (fresh) at->second = mean_square(checkpoint_, unit, pool_);
    return at->second;
  }

  LanguageModel& model_;
  const Checkpoint& checkpoint_;
  std::span<const int> units_;
  const CalibrationText& text_;
  uint64_t seed_;
  ProbeTable table_;
  const ProgressFn& progress_;
  bool own_;
  std::filesystem::path folder_;
  ProbeKey key_;
  ThreadPool pool_;
  int64_t memory_ = 0;
  std::map<std::string, int> names_;
  std::map<int, std::map<int64_t, double>> known_;  // [unit][row]
  std::map<int, double> mean_squares_;
};

}  // namespace

int64_t gradient_row_bytes(const LanguageModel& model, int64_t length) {
  const Checkpoint& checkpoint = model.checkpoint();
  const ModelConfig& config = checkpoint.config;
  std::vector<int64_t> widths(static_cast<size_t>(checkpoint.layers));
  for (const Unit& unit : checkpoint.units) {
    if (unit.layer < 0 || unit.shape.size() == 1) continue;
    const auto& experts = config.layer(unit.layer).experts;
    const int64_t times = unit.parts.size() > 1 && experts ? experts->per_token : 1;
    widths[static_cast<size_t>(unit.layer)] += 3 * times * (unit.rows + unit.cols);
  }
  const int64_t layer = widths.empty() ? 0 : *std::max_element(widths.begin(), widths.end());
  return 4 * length * (layer + config.hidden * (checkpoint.layers + 4));
}

GradientBlock gradient_block(const LanguageModel& model, int64_t length, int64_t rows,
                             int64_t memory, int64_t disk) {
  const int64_t row = gradient_row_bytes(model, length);
  const int64_t borders = 4 * length * model.checkpoint().config.hidden * model.layers();
  const int64_t in_memory = std::max<int64_t>(1, memory / row);
  const int64_t in_file = std::min(memory / (row - borders), disk / 2 / borders);
  if (in_memory >= rows || in_file <= in_memory) return {.rows = in_memory};
  return {.rows = in_file, .in_file = true};
}

Coefficients gradient_coefficients(LanguageModel& model, const std::string& fingerprint,
                                   std::span<const int> units, const CalibrationText& text,
                                   const GradientOptions& options, Study& study,
                                   const ProgressFn& progress) {
  RAM_CHECK(options.rows >= 1 && !text.rows.empty());
  const auto start = Clock::now();
  RowLosses losses(model, fingerprint, units, text, options, study, progress);
  const int64_t rows = std::ssize(text.rows);
  Coefficients result;
  result.units.resize(model.checkpoint().units.size());
  int64_t measured = 0;
  bool certain = false;
  for (int64_t last = 0; !certain && last < rows;) {
    const int64_t next = std::min(rows, last == 0 ? options.rows : 2 * last);
    measured += losses.measure(last, next);
    last = next;
    certain = true;
    for (const int unit : units) {
      const Coefficient found = losses.coefficient(unit, last);
      certain = certain && found.log_error <= options.aimed_error;
      result.units[static_cast<size_t>(unit)] = found;
    }
  }
  constexpr double kPasses = 4;  // of a row: forward, forward again and back, and norms
  result.layers_run = kPasses * static_cast<double>(measured * model.layers());
  result.layers_naive = result.layers_run;
  result.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return result;
}

}  // namespace ram
