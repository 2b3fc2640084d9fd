// Which tensors a checkpoint's units use and for what, and the names under which the study keeps
// what was measured of them.
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

/// A part that is to be measured.
struct PartUse {
  int unit = 0;  ///< index into Checkpoint::units
  int part = 0;  ///< index into Unit::parts
};

/// A tensor that some unit is made of.
struct TensorUse {
  int tensor = 0;              ///< index into Checkpoint::tensors
  std::vector<PartUse> parts;  ///< those that can be quantized; empty: the tensor is only hashed
  /// Parts of other tensors depend on it too (other_tensors): it is hashed before they are
  /// measured.
  bool others_need_it = false;
};

/// @return every tensor of the units, each once, in the order in which the files hold them.
std::vector<TensorUse> tensor_uses(const Checkpoint& checkpoint);

/// @return the formats that a unit can be stored in; 0 if it is kept whatever the plan says.
uint32_t measured_formats(const Unit& unit);

/// @return what the study must know of a tensor of this content: a curve per part, in the order of
/// use.parts; for a tensor that is only carried, that its elements are finite. Empty for tensors
/// of no weight dtype, and for those of others_need_it without parts, of which only the hash
/// counts. Nothing where a part depends on a tensor whose hash is not known.
/// @param hashes of the checkpoint's tensors, by their index, as far as they are known: a key
/// covers the content of every tensor that the part is made of.
std::optional<std::vector<CurveKey>> curve_keys(const Checkpoint& checkpoint, const TensorUse& use,
                                                std::string_view hash,
                                                const AnalyzeOptions& options,
                                                std::span<const std::string> hashes = {});

}  // namespace ram
