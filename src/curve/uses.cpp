// Units to tensors, and CurveKey::part. A part's text names its place and shape in the tensor, and
// the rule by which it is measured: a new rule (another partition into blocks, another arithmetic)
// takes a new number here, and what older programs measured is then no longer found.
#include "uses.h"

#include <algorithm>
#include <tuple>

#include "ram/error.h"

namespace ram {
namespace {

constexpr int kRule = 1;

// A reshaping whose rows depend on more than this one tensor needs the others' hashes here too.
std::string part_text(const Unit& unit, const Part& part) {
  const std::string how = part.reshape == Reshape::kRows
                              ? "rows"
                              : fmt::format("reshape {}", static_cast<int>(part.reshape));
  return fmt::format("{} {}+{} x {}, rule {}", how, part.first_row, unit.rows, unit.cols, kRule);
}

}  // namespace

uint32_t measured_formats(const Unit& unit) {
  return unit.quantizable ? formats_for_cols(unit.cols) : 0;
}

std::vector<TensorUse> tensor_uses(const Checkpoint& checkpoint) {
  std::vector<TensorUse> all(checkpoint.tensors.size());
  std::vector<bool> used(checkpoint.tensors.size());
  const auto use = [&](int tensor) -> TensorUse& {
    used.at(static_cast<size_t>(tensor)) = true;
    return all[static_cast<size_t>(tensor)];
  };
  for (size_t u = 0; u < checkpoint.units.size(); ++u) {
    const Unit& unit = checkpoint.units[u];
    const bool measured = measured_formats(unit) != 0;
    for (size_t p = 0; p < unit.parts.size(); ++p) {
      TensorUse& tensor = use(unit.parts[p].tensor);
      if (measured) tensor.parts.push_back({static_cast<int>(u), static_cast<int>(p)});
    }
    for (const Carried& carried : unit.carried) use(carried.tensor);
  }
  std::vector<TensorUse> uses;
  for (size_t t = 0; t < all.size(); ++t) {
    if (!used[t]) continue;
    all[t].tensor = static_cast<int>(t);
    uses.push_back(std::move(all[t]));
  }
  std::sort(uses.begin(), uses.end(), [&](const TensorUse& a, const TensorUse& b) {
    const auto place = [&](const TensorUse& tensor) {
      const SourceTensor& source = checkpoint.tensors[static_cast<size_t>(tensor.tensor)];
      return std::tuple(source.file, source.info.begin, tensor.tensor);
    };
    return place(a) < place(b);
  });
  return uses;
}

std::vector<CurveKey> curve_keys(const Checkpoint& checkpoint, const TensorUse& use,
                                 std::string_view hash, const AnalyzeOptions& options) {
  const DType source = checkpoint.tensors[static_cast<size_t>(use.tensor)].info.dtype;
  std::vector<CurveKey> keys;
  for (const PartUse& part : use.parts) {
    const Unit& unit = checkpoint.units[static_cast<size_t>(part.unit)];
    keys.push_back({.tensor_hash = std::string(hash),
                    .part = part_text(unit, unit.parts[static_cast<size_t>(part.part)]),
                    .source = source,
                    .dtype = options.dtype,
                    .encoder = options.encoder});
  }
  if (keys.empty() && is_weight_dtype(source)) {
    // One spelling for both encoders: what is not quantized has nothing to do with them.
    keys.push_back({.tensor_hash = std::string(hash),
                    .part = fmt::format("finite, rule {}", kRule),
                    .source = source,
                    .dtype = options.dtype,
                    .encoder = Encoder::kMlx});
  }
  return keys;
}

}  // namespace ram
