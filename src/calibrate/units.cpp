#include "units.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "ram/error.h"
#include "ram/thread.h"

namespace ram {

void read_rows(const Checkpoint& checkpoint, int unit, int part, int64_t first, int64_t count,
               std::optional<DType> dtype, float* out) {
  const Unit& use = checkpoint.units.at(static_cast<size_t>(unit));
  const int64_t elements = count * use.cols;
  std::vector<std::byte> raw(static_cast<size_t>(elements * dtype_bytes(use.dtype)));
  checkpoint.read_rows(use, part, first, count, raw.data());
  to_f32(raw.data(), use.dtype, elements, out);
  if (!dtype || *dtype == use.dtype) return;
  raw.resize(static_cast<size_t>(elements * dtype_bytes(*dtype)));
  from_f32(out, *dtype, elements, raw.data());
  to_f32(raw.data(), *dtype, elements, out);
}

std::vector<float> read_unit(const Checkpoint& checkpoint, int unit) {
  const Unit& use = checkpoint.units.at(static_cast<size_t>(unit));
  std::vector<float> weights(static_cast<size_t>(use.weights()));
  for (size_t part = 0; part < use.parts.size(); ++part) {
    read_rows(checkpoint, unit, static_cast<int>(part), 0, use.rows, std::nullopt,
              weights.data() + static_cast<int64_t>(part) * use.part_weights());
  }
  return weights;
}

int64_t encoded_rows(int64_t rows, int64_t cols) {
  constexpr int64_t kBytes = int64_t{32} << 20;
  constexpr int64_t kMultiple = 512;
  return std::min(rows, std::max<int64_t>(1, kBytes / (4 * cols * kMultiple)) * kMultiple);
}

int64_t recorded_row_bytes(const Checkpoint& checkpoint, int unit, int64_t length) {
  const Unit& use = checkpoint.units.at(static_cast<size_t>(unit));
  const bool several = use.parts.size() > 1;
  const int64_t times = several ? checkpoint.config.layer(use.layer).experts->per_token + 1 : 1;
  return 4 * times * length * use.cols;
}

HiddenRows copy_rows(std::span<const Matrix> rows) {
  HiddenRows copies;
  copies.reserve(rows.size());
  for (const Matrix& row : rows) copies.push_back(row.copy());
  return copies;
}

namespace {

/// A row's final hidden states as the head receives them.
Matrix normed(const Checkpoint& checkpoint, std::span<const float> gain, const Matrix& hidden) {
  const int64_t cols = hidden.cols();
  Matrix result(hidden.rows(), cols);
  for (int64_t t = 0; t < hidden.rows(); ++t) {
    double squares = 0;
    for (int64_t i = 0; i < cols; ++i) squares += std::pow(double{hidden.row(t)[i]}, 2);
    const double scale =
        1 / std::sqrt(squares / static_cast<double>(cols) + checkpoint.config.rms_norm_eps);
    for (int64_t i = 0; i < cols; ++i) {
      result.row(t)[i] =
          static_cast<float>(hidden.row(t)[i] * scale) * gain[static_cast<size_t>(i)];
    }
  }
  return result;
}

}  // namespace

SecondMoment final_moment(const Checkpoint& checkpoint, const HiddenRows& end, ThreadPool& pool,
                          bool held_out) {
  const std::vector<float> gain = read_unit(checkpoint, checkpoint.final_norm);
  SecondMoment moment(checkpoint.config.hidden);
  for (int64_t row = 0; row < std::ssize(end); ++row) {
    if (held_out && !is_held_out(row)) continue;
    const Matrix inputs = normed(checkpoint, gain, end[static_cast<size_t>(row)]);
    moment.add(inputs.data(), inputs.rows(), pool);
  }
  return moment;
}

double damping_for(const SecondMoment& moment, const SecondMoment& held, double otherwise,
                   ThreadPool& pool) {
  if (held.tokens() == 0 || held.tokens() == moment.tokens()) return otherwise;
  SecondMoment rest = moment;
  rest.remove(held);
  const HeldOut inputs{.rest = &rest, .held = &held};
  return choose_damping({&inputs, 1}, pool);
}

void check_moment(const Unit& unit, const SecondMoment& moment) {
  for (const float value : moment.diagonal()) {
    if (std::isfinite(value)) continue;
    fail(Code::kCorrupt,
         "{}: its inputs on the calibration text are too large to square: earlier weights are "
         "damaged",
         unit.name);
  }
}

Drift final_drift(const Checkpoint& checkpoint, const HiddenRows& original,
                  const HiddenRows& compressed, ThreadPool& pool) {
  const std::vector<float> gain = read_unit(checkpoint, checkpoint.final_norm);
  Drift drift(checkpoint.config.hidden);
  for (size_t row = 0; row < original.size(); ++row) {
    const Matrix before = normed(checkpoint, gain, original[row]);
    const Matrix after = normed(checkpoint, gain, compressed[row]);
    drift.add(before.data(), after.data(), after.rows(), pool);
  }
  return drift;
}

LanguageModel twin_of(const LanguageModel& model) {
  EngineOptions options = model.options();
  options.memory_bytes = 1;
  return {Checkpoint::open(model.checkpoint().folder.string(), Quantized::kAccept), options};
}

}  // namespace ram
