// Which tensors a checkpoint's units use and for what, and the keys under which the study keeps
// their measurements.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ram/checkpoint.h"
#include "ram/curve.h"
#include "ram/curve_table.h"
#include "ram/quant.h"

namespace ram {

/// A part to be measured.
struct PartUse {
  int unit = 0;  ///< index into Checkpoint::units
  int part = 0;  ///< index into Unit::parts
};

/// A tensor that belongs to some unit.
struct TensorUse {
  int tensor = 0;              ///< index into Checkpoint::tensors
  std::vector<PartUse> parts;  ///< those that can be quantized; empty: the tensor is only hashed
  /// Parts of other tensors depend on it too (other_tensors): it is hashed before they are
  /// measured.
  bool others_need_it = false;
};

/// @return every tensor of the units, each once, in file order.
std::vector<TensorUse> tensor_uses(const Checkpoint& checkpoint);

/// @return the formats in which a unit can be stored; 0 if it is kept under any plan.
uint32_t measured_formats(const Unit& unit);

/// @return what the study must know of a tensor of this content: a curve per part, in the order of
/// use.parts; for a tensor that is only carried, that its elements are finite. Empty for tensors
/// without a weight dtype, and for those of others_need_it without parts, where only the hash
/// matters. Nothing if a part depends on a tensor whose hash is unknown.
/// @param hashes of the checkpoint's tensors, by their index, as far as known: a key covers the
/// content of every tensor that the part is made of.
std::optional<std::vector<CurveKey>> curve_keys(const Checkpoint& checkpoint, const TensorUse& use,
                                                std::string_view hash,
                                                const AnalyzeOptions& options,
                                                std::span<const std::string> hashes = {});

}  // namespace ram
