// A unit's weights as the engine takes them: as they are, and disturbed.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "ram/checkpoint.h"
#include "ram/encoder.h"
#include "ram/engine.h"
#include "ram/random.h"
#include "ram/thread.h"

namespace ram {

/// Rows [first, first + count) of one part, float32, cast to `dtype` first where that is given.
/// @param out [count, cols]. @pre the unit is stored unquantized.
void read_rows(const Checkpoint& checkpoint, int unit, int part, int64_t first, int64_t count,
               std::optional<DType> dtype, float* out);

/// All parts of a unit one after another: [parts, rows, cols]. For small ones.
std::vector<float> read_unit(const Checkpoint& checkpoint, int unit);

/// The unit with Gaussian noise: in each part the noise's norm is `relative` times that of the
/// weights, exactly up to rounding. The same for the same arguments, whatever the number of threads
/// and the rows asked for.
/// @param checkpoint must outlive what is returned.
/// @cost  reads the unit once and draws its noise, for the norms; rows draw theirs again.
UnitRows noisy_rows(const Checkpoint& checkpoint, int unit, double relative, uint64_t seed,
                    ThreadPool& pool);

/// The seed of a unit's noise, from the seed of all and the number of the repetition.
constexpr uint64_t noise_seed(uint64_t seed, int unit, int repetition) {
  return derived_seed(derived_seed(seed, static_cast<uint64_t>(repetition)),
                      static_cast<uint64_t>(unit));
}

/// Variants whose logits are computed beside the original's in one go.
inline constexpr int64_t kLogitsAtOnce = 8;

/// Rows of own text that are written side by side where nobody says how many.
int64_t text_rows_at_once(const LanguageModel& model, int64_t length);

/// Rows of a matrix that are encoded at a time: a whole number of the encoders' tiles, or all.
int64_t encoded_rows(int64_t rows, int64_t cols);

/// Bytes of a row's inputs of a unit, of all its parts, and of one part's once more.
int64_t recorded_row_bytes(const Checkpoint& checkpoint, int unit, int64_t length);
/// Of what moments may take, this part is for recorded inputs.
inline constexpr int64_t kRecordedPart = 8;

HiddenRows copy_rows(std::span<const Matrix> rows);

/// The second moment of what the head multiplies. @param end hidden states after the last layer.
SecondMoment final_moment(const Checkpoint& checkpoint, const HiddenRows& end, ThreadPool& pool);

/// @throws Error{kCorrupt} it is not finite: a unit's inputs cannot be squared, which weights do
/// only where they are damaged.
void check_moment(const Unit& unit, const SecondMoment& moment);

/// How that has moved.
Drift final_drift(const Checkpoint& checkpoint, const HiddenRows& original,
                  const HiddenRows& compressed, ThreadPool& pool);

/// The model once more, for an embedding and a head that are not the original's: nothing is kept.
LanguageModel twin_of(const LanguageModel& model);

}  // namespace ram
