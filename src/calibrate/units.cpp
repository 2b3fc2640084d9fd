#include "units.h"

#include <algorithm>
#include <cstddef>

namespace ram {

std::vector<float> read_unit(const Checkpoint& checkpoint, int unit, std::optional<DType> dtype,
                             ThreadPool& pool) {
  const Unit& use = checkpoint.units.at(static_cast<size_t>(unit));
  std::vector<float> weights(static_cast<size_t>(use.weights()));
  constexpr int64_t kBlockWeights = int64_t{1} << 18;
  const int64_t step = std::max<int64_t>(1, kBlockWeights / use.cols);
  const int64_t blocks = (use.rows + step - 1) / step;
  pool.run(std::ssize(use.parts) * blocks, [&](int64_t i, int) {
    check_interrupted();
    const int64_t part = i / blocks;
    const int64_t row = i % blocks * step;
    const int64_t count = std::min(step, use.rows - row);
    float* const out = weights.data() + (part * use.rows + row) * use.cols;
    const auto elements = static_cast<size_t>(count * use.cols);
    std::vector<std::byte> raw(elements * static_cast<size_t>(dtype_bits(use.dtype) / 8));
    checkpoint.read_rows(use, static_cast<int>(part), row, count, raw.data());
    to_f32(raw.data(), use.dtype, static_cast<int64_t>(elements), out);
    if (!dtype || *dtype == use.dtype) return;
    raw.resize(elements * static_cast<size_t>(dtype_bits(*dtype) / 8));
    from_f32(out, *dtype, static_cast<int64_t>(elements), raw.data());
    to_f32(raw.data(), *dtype, static_cast<int64_t>(elements), out);
  });
  return weights;
}

}  // namespace ram
