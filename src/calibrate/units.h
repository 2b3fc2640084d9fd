// A unit's weights as the engine takes them: unchanged or disturbed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "ram/checkpoint.h"
#include "ram/encoder.h"
#include "ram/engine.h"
#include "ram/random.h"
#include "ram/size.h"
#include "ram/thread.h"

namespace ram {

/// Rows [first, first + count) of one part in float32, first cast to `dtype` if it is given.
/// @param out [count, cols]. @pre the unit is stored unquantized.
void read_rows(const Checkpoint& checkpoint, int unit, int part, int64_t first, int64_t count,
               std::optional<DType> dtype, float* out);

/// All parts of a unit, concatenated: [parts, rows, cols]. For small units.
std::vector<float> read_unit(const Checkpoint& checkpoint, int unit);

/// The unit with Gaussian noise: in each part the noise's norm is `relative` times that of the
/// weights, exact up to rounding. Depends only on the arguments, not on the number of threads or
/// the requested rows.
/// @param checkpoint must outlive the result.
/// @cost reads the unit once and draws its noise for the norms; requested rows draw theirs again.
UnitRows noisy_rows(const Checkpoint& checkpoint, int unit, double relative, uint64_t seed,
                    ThreadPool& pool);

/// The seed of a unit's noise, from the common seed and the number of the repetition.
constexpr uint64_t noise_seed(uint64_t seed, int unit, int repetition) {
  return derived_seed(derived_seed(seed, static_cast<uint64_t>(repetition)),
                      static_cast<uint64_t>(unit));
}

/// Variants whose logits are computed together with the original's.
inline constexpr int64_t kLogitsAtOnce = 8;

/// Default number of rows of own text that are written in parallel.
int64_t text_rows_at_once(const LanguageModel& model, int64_t length);

/// Rows of a matrix that are encoded at a time: a whole number of the encoders' tiles, or all.
int64_t encoded_rows(int64_t rows, int64_t cols);

/// Bytes of a row's inputs to all parts of a unit, plus those to one part again.
int64_t recorded_row_bytes(const Checkpoint& checkpoint, int unit, int64_t length);
/// 1/8 of the memory for moments is for recorded inputs.
inline constexpr int64_t kRecordedPart = 8;

/// Rows of text for coefficients, at least: with fewer, one half says nothing about the other.
inline constexpr int64_t kLeastRows = 2;

/// Upper bound on what gradient_coefficients keeps of a row of `length` tokens: what enters each
/// layer, and everything that one layer computes, with its gradients.
int64_t gradient_row_bytes(const LanguageModel& model, int64_t length);

/// How many of `rows` rows go back through the layers together, and whether what enters each layer
/// is kept in a file meanwhile: where that allows more rows, since each block reads all weights.
struct GradientBlock {
  int64_t rows = 1;
  bool in_file = false;
};
/// @param memory, disk bytes; of the disk at most half is used. @param length of the rows, tokens.
GradientBlock gradient_block(const LanguageModel& model, int64_t length, int64_t rows,
                             int64_t memory, int64_t disk);

/// What measure_gains samples of a matrix: one encoder tile of rows, since fewer would take as
/// long.
inline constexpr int64_t kSampledRows = 128;

/// How many of a unit's parts are sampled, for gains and for damping: at most four, and one where
/// their moments are large, since all are gathered together.
constexpr int64_t sampled_parts(int64_t parts, int64_t cols) {
  constexpr int64_t kMost = 4;
  constexpr int64_t kLargeCols = 4096;
  return cols > kLargeCols ? 1 : std::min(parts, kMost);
}
constexpr bool is_sampled_part(int64_t part, int64_t parts, int64_t cols) {
  return part % ceil_div(parts, sampled_parts(parts, cols)) == 0;
}

HiddenRows copy_rows(std::span<const Matrix> rows);

/// The share of the text's rows that are held out.
inline constexpr double kHeldShare = 0.25;
/// Whether a row is.
constexpr bool is_held_out(int64_t row) {
  return row % 4 == 3;
}

/// The second moment of the head's inputs. @param end hidden states after the last layer.
/// @param held_out of the rows that are held out alone.
SecondMoment final_moment(const Checkpoint& checkpoint, const HiddenRows& end, ThreadPool& pool,
                          bool held_out = false);

/// choose_damping for one moment. @param held its part of the rows that are held out.
/// @return `otherwise` if there are none, or no others.
double damping_for(const SecondMoment& moment, const SecondMoment& held, double otherwise,
                   ThreadPool& pool);

/// @throws Error{kCorrupt} it is not finite: a unit's inputs are too large to square, which only
///         damaged weights cause.
void check_moment(const Unit& unit, const SecondMoment& moment);

/// The drift of the head's inputs.
Drift final_drift(const Checkpoint& checkpoint, const HiddenRows& original,
                  const HiddenRows& compressed, ThreadPool& pool);

/// A second instance of the model, for another embedding and head than the original's. It keeps no
/// weights in memory.
LanguageModel twin_of(const LanguageModel& model);

}  // namespace ram
