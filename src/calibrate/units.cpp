#include "units.h"

#include <algorithm>
#include <cstddef>

namespace ram {

void read_rows(const Checkpoint& checkpoint, int unit, int part, int64_t first, int64_t count,
               std::optional<DType> dtype, float* out) {
  const Unit& use = checkpoint.units.at(static_cast<size_t>(unit));
  const int64_t elements = count * use.cols;
  std::vector<std::byte> raw(static_cast<size_t>(elements * (dtype_bits(use.dtype) / 8)));
  checkpoint.read_rows(use, part, first, count, raw.data());
  to_f32(raw.data(), use.dtype, elements, out);
  if (!dtype || *dtype == use.dtype) return;
  raw.resize(static_cast<size_t>(elements * (dtype_bits(*dtype) / 8)));
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

HiddenRows copy_rows(const HiddenRows& rows) {
  HiddenRows copies;
  copies.reserve(rows.size());
  for (const Matrix& row : rows) copies.push_back(row.copy());
  return copies;
}

LanguageModel twin_of(const LanguageModel& model) {
  EngineOptions options = model.options();
  options.memory_bytes = 1;
  return {Checkpoint::open(model.checkpoint().folder.string(), Quantized::kAccept), options};
}

}  // namespace ram
