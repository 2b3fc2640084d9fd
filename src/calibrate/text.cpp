// Texts to calibrate on: written by the model itself, drawn at random, or from a file.
#include <algorithm>
#include <functional>
#include <iterator>

#include <fmt/format.h>

#include "ram/calibrate.h"
#include "ram/calibration_table.h"
#include "ram/cancellation.h"
#include "ram/error.h"
#include "ram/eval.h"
#include "ram/hash.h"
#include "ram/machine.h"
#include "ram/progress.h"
#include "ram/random.h"
#include "ram/thread.h"

#include "units.h"

namespace ram {
namespace {

/// Version of the way own text is drawn: a new one invalidates what older versions stored.
constexpr int kTextRule = 5;
// Own text uses a different random stream than everything else drawn from the same seed, such as
// the texts of `ram generate`.
constexpr uint64_t kOwnText = uint64_t{1} << 32;
// More rows gain little if memory holds the weights, and an interrupted run loses them.
// @source docs/performance.md, "Own text"
constexpr int64_t kRowsAtOnce = 32;
// 1/4 of the memory is for keys, values and logits.
constexpr int64_t kCachePart = 4;

std::string digest_of(std::span<const TokenRow> rows) {
  Hasher hasher;
  for (const TokenRow& row : rows) {
    for (const int32_t id : row) hasher.update(fmt::format("{} ", id));
    hasher.update("\n");
  }
  return hasher.digest();
}

std::string spec_of(std::string_view source, const CalibrationTextOptions& options) {
  return fmt::format("{} rows {} length {} seed {} rule {}", source, options.rows, options.length,
                     options.seed, kTextRule);
}

/// Limits rows to the length that the model was made for.
CalibrationTextOptions cut_to(const ModelConfig& config, CalibrationTextOptions options) {
  if (config.max_positions > 0) options.length = std::min(options.length, config.max_positions);
  return options;
}

CalibrationText finish(std::string spec, std::vector<TokenRow> rows) {
  CalibrationText text{.spec = std::move(spec), .digest = {}, .rows = std::move(rows)};
  text.digest = digest_of(text.rows);
  return text;
}

void keep(Study& study, const Checkpoint& model, const std::string& fingerprint,
          const CalibrationText& text, int64_t length) {
  model.check_unchanged();
  CalibrationRecord record{.fingerprint = fingerprint,
                           .spec = text.spec,
                           .digest = digest_of(text.rows),
                           .row_length = length,
                           .ids = {}};
  for (const TokenRow& row : text.rows) record.ids.insert(record.ids.end(), row.begin(), row.end());
  CalibrationTextTable(study).put(record);
}

/// Ids of ordinary text, which a row may start with.
std::vector<TokenId> ordinary_ids(const Tokenizer& tokenizer, const ModelConfig& config) {
  std::vector<TokenId> ids;
  const auto end = static_cast<TokenId>(std::min<int64_t>(tokenizer.id_end(), config.vocab));
  for (TokenId id = 0; id < end; ++id) {
    const bool ends =
        std::find(config.eos_ids.begin(), config.eos_ids.end(), id) != config.eos_ids.end();
    if (!ends && !tokenizer.is_special(id)) ids.push_back(id);
  }
  return ids;
}

/// @param starts ids from which the first token after the beginning is drawn; empty: the model
///               draws it.
/// @param on_position called after each position, with the number of tokens in every row.
std::vector<TokenRow> write_rows(LanguageModel& model, const std::vector<TokenId>& beginning,
                                 const std::vector<TokenId>& starts,
                                 const CalibrationTextOptions& options, int64_t first,
                                 int64_t count, const std::function<void(int64_t)>& on_position) {
  ThreadPool pool(model.options().threads);
  std::vector<Decoder> decoders;
  std::vector<SplitMix64> random;
  std::vector<TokenRow> rows(static_cast<size_t>(count));
  for (int64_t row = first; row < first + count; ++row) {
    decoders.emplace_back(model, options.length);
    random.emplace_back(own_text_seed(options.seed, row));
  }
  for (int64_t position = 0; position < options.length; ++position) {
    check_interrupted();
    std::vector<int32_t> ids(rows.size());
    pool.run(count, [&](int64_t i, int) {
      const auto row = static_cast<size_t>(i);
      TokenId id = 0;
      if (position < std::ssize(beginning)) {
        id = beginning[static_cast<size_t>(position)];
      } else if (position == std::ssize(beginning) && !starts.empty()) {
        id =
            starts[static_cast<size_t>(random[row].uniform() * static_cast<double>(starts.size()))];
      } else {
        id = model.draw_token(decoders[row].logits(), 1, random[row]);
      }
      rows[row].push_back(id);
      ids[row] = id;
    });
    // The last token is drawn but not fed.
    if (position + 1 < options.length) Decoder::feed_each(decoders, ids);
    on_position(position + 1);
  }
  return rows;
}

}  // namespace

int64_t text_rows_at_once(const LanguageModel& model, int64_t length) {
  const ModelConfig& config = model.checkpoint().config;
  const int64_t row =
      length * model.state_bytes_per_token() + model.state_fixed_bytes() + 4 * config.vocab;
  const int64_t memory =
      model.options().memory_bytes > 0 ? model.options().memory_bytes : memory_bytes() / 2;
  const int64_t fitting =
      std::min(std::max<int64_t>(1, memory / kCachePart / row), model.decoders_at_once(length));
  return model.keeps_weights() ? std::min(kRowsAtOnce, fitting) : fitting;
}

int64_t CalibrationText::tokens() const {
  int64_t count = 0;
  for (const TokenRow& row : rows) count += std::ssize(row);
  return count;
}

std::vector<TokenId> text_beginning(const Tokenizer& tokenizer, const ModelConfig& config) {
  if (!tokenizer.prefix_ids().empty()) return tokenizer.prefix_ids();
  if (config.bos_id) return {*config.bos_id};
  if (!config.eos_ids.empty()) return {config.eos_ids.front()};
  fail(Code::kUnsupported,
       "neither tokenizer.json nor config.json name a token that begins or ends a text: give a "
       "text, by --prompt (ram generate) or --calibration FILE");
}

uint64_t own_text_seed(uint64_t seed, int64_t row) {
  return derived_seed(derived_seed(seed, kOwnText), static_cast<uint64_t>(row));
}

std::string text_spec(std::string_view source, const ModelConfig& config,
                      const CalibrationTextOptions& options) {
  if (source != "own") return spec_of(source, options);
  return spec_of(options.random_start ? "own random-start" : "own", cut_to(config, options));
}

CalibrationText own_text(LanguageModel& model, const Tokenizer& tokenizer,
                         const std::string& fingerprint, const CalibrationTextOptions& options,
                         Study& study, const ProgressFn& progress) {
  const ModelConfig& config = model.checkpoint().config;
  const CalibrationTextOptions use = cut_to(config, options);
  const std::vector<TokenId> beginning = text_beginning(tokenizer, config);
  RAM_CHECK(use.rows >= 1);
  if (use.length <= std::ssize(beginning)) {
    fail(
        Code::kUsage,
        "own text in rows of {} tokens: the first {} tokens are the same in every text of {}; give "
        "longer rows (--calibration-length)",
        use.length, std::ssize(beginning), model.checkpoint().name);
  }
  const std::vector<TokenId> starts =
      use.random_start ? ordinary_ids(tokenizer, config) : std::vector<TokenId>();
  CalibrationText text{.spec = text_spec("own", config, options), .digest = {}, .rows = {}};
  if (const auto known = CalibrationTextTable(study).find(fingerprint, text.spec)) {
    for (auto at = known->ids.begin(); at != known->ids.end(); at += known->row_length) {
      text.rows.emplace_back(at, at + known->row_length);
    }
  }
  const int64_t total = use.rows * use.length;
  const int64_t at_once =
      use.rows_at_once > 0 ? use.rows_at_once : text_rows_at_once(model, use.length);
  while (std::ssize(text.rows) < use.rows) {
    const int64_t first = std::ssize(text.rows);
    const int64_t count = std::min(at_once, use.rows - first);
    std::vector<TokenRow> rows =
        write_rows(model, beginning, starts, use, first, count, [&](int64_t drawn) {
          if (!progress) return;
          progress({.phase = "own text",
                    .done = first * use.length + drawn * count,
                    .total = total,
                    .counted = "tokens"});
        });
    std::move(rows.begin(), rows.end(), std::back_inserter(text.rows));
    keep(study, model.checkpoint(), fingerprint, text, use.length);
  }
  text.digest = digest_of(text.rows);
  return text;
}

CalibrationText random_text(int64_t vocabulary, const CalibrationTextOptions& options) {
  RAM_CHECK(vocabulary >= 1 && options.rows >= 1 && options.length >= 2);
  SplitMix64 random(options.seed);
  std::vector<TokenRow> rows(static_cast<size_t>(options.rows));
  for (TokenRow& row : rows) {
    for (int64_t i = 0; i < options.length; ++i) {
      row.push_back(static_cast<int32_t>(random.uniform() * static_cast<double>(vocabulary)));
    }
  }
  return finish(spec_of("random", options), std::move(rows));
}

CalibrationText file_text(const std::filesystem::path& file, const Tokenizer& tokenizer,
                          const CalibrationTextOptions& options) {
  const Text text = read_text(file);
  TextRows cut = cut_rows(text, tokenizer, {.length = options.length});
  const int64_t count = std::min<int64_t>(options.rows, std::ssize(cut.rows));
  std::vector<TokenRow> rows;
  for (int64_t i = 0; i < count; ++i) {
    rows.push_back(std::move(cut.rows[static_cast<size_t>(i * std::ssize(cut.rows) / count)]));
  }
  return finish(spec_of("file sha256 " + text.sha256, options), std::move(rows));
}

}  // namespace ram
