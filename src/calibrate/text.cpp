// Texts to calibrate on: written by the model itself, drawn at random, or from a file.
#include <algorithm>

#include <fmt/format.h>

#include "ram/calibrate.h"
#include "ram/error.h"
#include "ram/eval.h"
#include "ram/hash.h"
#include "ram/random.h"

namespace ram {
namespace {

/// Numbers the way own text is drawn: with another, what older versions kept is not found.
constexpr int kTextRule = 1;

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

CalibrationText finish(std::string spec, std::vector<TokenRow> rows) {
  CalibrationText text{.spec = std::move(spec), .digest = {}, .rows = std::move(rows)};
  text.digest = digest_of(text.rows);
  return text;
}

void keep(Study& study, const std::string& fingerprint, const CalibrationText& text,
          int64_t length) {
  CalibrationRecord record{.fingerprint = fingerprint,
                           .spec = text.spec,
                           .digest = digest_of(text.rows),
                           .row_length = length,
                           .ids = {}};
  for (const TokenRow& row : text.rows) record.ids.insert(record.ids.end(), row.begin(), row.end());
  study.put_calibration_text(record);
}

}  // namespace

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

CalibrationText own_text(LanguageModel& model, const Tokenizer& tokenizer,
                         const std::string& fingerprint, const CalibrationTextOptions& options,
                         Study& study, const ProgressFn& progress) {
  const ModelConfig& config = model.checkpoint().config;
  CalibrationTextOptions use = options;
  if (config.max_positions > 0) use.length = std::min(use.length, config.max_positions);
  const std::vector<TokenId> beginning = text_beginning(tokenizer, config);
  RAM_CHECK(use.rows >= 1 && use.length > std::ssize(beginning));
  CalibrationText text{.spec = spec_of("own", use), .digest = {}, .rows = {}};
  if (const auto known = study.calibration_text(fingerprint, text.spec)) {
    for (auto at = known->ids.begin(); at != known->ids.end(); at += known->row_length) {
      text.rows.emplace_back(at, at + known->row_length);
    }
  }
  const int64_t total = use.rows * use.length;
  while (std::ssize(text.rows) < use.rows) {
    Decoder decoder(model, use.length);
    const int64_t done = std::ssize(text.rows) * use.length;
    int64_t drawn = std::ssize(beginning);
    const SampleOptions sampling{.max_tokens = use.length - drawn,
                                 .temperature = 1,
                                 .seed = use.seed + static_cast<uint64_t>(text.rows.size())};
    TokenRow row = beginning;
    sample_tokens(decoder, beginning, sampling, [&](int32_t id) {
      row.push_back(id);
      ++drawn;
      check_interrupted();
      if (progress) {
        progress({.phase = "own text",
                  .done_bytes = done + drawn,
                  .total_bytes = total,
                  .unit = "tokens"});
      }
    });
    text.rows.push_back(std::move(row));
    keep(study, fingerprint, text, use.length);
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
