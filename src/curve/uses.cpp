// From units to tensors, and CurveKey::part. A part's text names its position and shape in the
// tensor, and the rule by which it is measured: a new rule (another split into blocks, other
// arithmetic) needs a new number here, so that results of older programs are no longer found.
#include "uses.h"

#include <algorithm>
#include <optional>
#include <span>
#include <tuple>
#include <utility>

#include "ram/error.h"

namespace ram {
namespace {

constexpr int kRule = 1;

std::string_view storage_name(StorageFormat storage) {
  switch (storage) {
    case StorageFormat::kPlain:
      return "view";
    case StorageFormat::kFp8Blocks:
      return "fp8 128x128";
    case StorageFormat::kMxfp4:
      return "mxfp4";
  }
  RAM_CHECK(false);
  return "";
}

/// @param hashes of all known tensors, by their index. @return nothing if the part depends on an
/// unknown one.
std::optional<std::string> part_text(const Unit& unit, const Part& part,
                                     std::span<const std::string> hashes) {
  if (is_rows(part, unit.cols)) {
    return fmt::format("rows {}+{} x {}, rule {}",
                       part.view.first / std::max<int64_t>(1, unit.cols), unit.rows, unit.cols,
                       kRule);
  }
  std::string text =
      fmt::format("{} {}+{}r+{}c, {} x {}", storage_name(part.storage), part.view.first,
                  part.view.row_step, part.view.col_step, unit.rows, unit.cols);
  for (const int tensor : other_tensors(part)) {
    const auto index = static_cast<size_t>(tensor);
    if (index >= hashes.size() || hashes[index].empty()) return std::nullopt;
    text += ", with " + hashes[index];
  }
  return text + fmt::format(", rule {}", kRule);
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
    for (const Part& part : unit.parts) {
      for (const int tensor : other_tensors(part)) use(tensor).others_need_it = true;
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

std::optional<std::vector<CurveKey>> curve_keys(const Checkpoint& checkpoint, const TensorUse& use,
                                                std::string_view hash,
                                                const AnalyzeOptions& options,
                                                std::span<const std::string> hashes) {
  const DType source = checkpoint.tensors[static_cast<size_t>(use.tensor)].info.dtype;
  std::vector<CurveKey> keys;
  for (const PartUse& part : use.parts) {
    const Unit& unit = checkpoint.units[static_cast<size_t>(part.unit)];
    std::optional<std::string> text =
        part_text(unit, unit.parts[static_cast<size_t>(part.part)], hashes);
    if (!text) return std::nullopt;
    keys.push_back({.tensor_hash = std::string(hash),
                    .part = std::move(*text),
                    .source = unit.dtype,
                    .dtype = options.dtype,
                    .encoder = options.encoder});
  }
  // If a tensor is decoded together with another, the decoded values are checked instead.
  if (keys.empty() && is_weight_dtype(source) && !use.others_need_it) {
    // One spelling for all encoders: they do not affect unquantized tensors.
    keys.push_back({.tensor_hash = std::string(hash),
                    .part = fmt::format("finite, rule {}", kRule),
                    .source = source,
                    .dtype = options.dtype,
                    .encoder = Encoder::kMlx});
  }
  return keys;
}

}  // namespace ram
