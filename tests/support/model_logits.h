// For tests that run whole models: rows of ids, their logits, and a small amount of memory.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ram/engine.h"

namespace ram::testing {

/// Value of EngineOptions::memory_bytes that keeps no weights in memory: every stage is read again.
constexpr int64_t kLittleMemory = (int64_t{96} << 20) + 4096;

/// `count` rows of `length` ids below `vocabulary`; neighbouring rows differ.
inline std::vector<TokenRow> some_rows(int64_t count, int64_t length, int64_t vocabulary) {
  std::vector<TokenRow> rows;
  for (int64_t r = 0; r < count; ++r) {
    TokenRow& row = rows.emplace_back();
    for (int64_t i = 0; i < length; ++i) {
      row.push_back(static_cast<int32_t>((7 * i * i + 3 * i + 11 * r + 1) % vocabulary));
    }
  }
  return rows;
}

/// Logits of all rows, one after another: tokens of all rows x vocabulary.
inline std::vector<float> logits_of(LanguageModel& model, std::span<const TokenRow> rows) {
  HiddenRows hidden = model.embed(rows);
  model.run_layers(hidden, 0, model.layers());
  std::vector<float> all;
  for (const Matrix& row : hidden) {
    const Matrix logits = model.logits(row);
    all.insert(all.end(), logits.data(), logits.data() + logits.rows() * logits.cols());
  }
  return all;
}

}  // namespace ram::testing
