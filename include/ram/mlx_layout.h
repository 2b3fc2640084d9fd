// The exact contents of a finished MLX folder before anything is written: shards with their
// headers, index, config.json, carried files. The planner computes the sizes of plans from it;
// `build` writes exactly this.
//
// See docs/formats/mlx-folder.md. Part of the module `checkpoint`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ram/checkpoint.h"
#include "ram/quant.h"
#include "ram/safetensors.h"

namespace ram {

/// The number format of one unit: nothing means unquantized.
using UnitFormat = std::optional<AffineFormat>;

/// @return "4:64"; for an unquantized unit the name of its dtype, "bf16".
std::string unit_format_name(UnitFormat format, DType dtype);

/// Which tensor of a unit an output tensor is.
enum class Piece : uint8_t { kWeight, kScales, kBiases, kCarried };

/// One tensor of a shard, and the position of its bytes.
struct PlacedTensor {
  TensorSpec spec;
  int64_t begin = 0;  ///< from the start of the file
  int unit = 0;       ///< index into Checkpoint::units
  Piece piece = Piece::kWeight;
  int carried = 0;  ///< for kCarried: index into Unit::carried
};

struct Shard {
  std::string name;    ///< "model.safetensors", or "model-00001-of-00003.safetensors"
  std::string header;  ///< the bytes before the data
  std::vector<PlacedTensor> tensors;  ///< in the order of their data
  int64_t bytes = 0;                  ///< of the whole file
};

/// A file whose text is known.
struct RenderedFile {
  std::string name;
  std::string text;
};

struct FolderLayout {
  std::vector<Shard> shards;
  std::vector<RenderedFile>
      rendered;  ///< config.json and the index; build adds plan.json and README.md
  std::vector<CarriedFile> carried_files;  ///< copied from the source
  std::filesystem::path source;            ///< their folder; set by layout_plan
  int64_t weight_bytes = 0;                ///< of all tensors' data

  int64_t total_bytes() const;  ///< sum of the sizes of all files
};

/// The most bytes of a shard file, header included; a larger tensor gets its own shard.
/// @source mlx_lm writes shards of 5 << 30 bytes (utils.py, MAX_FILE_SIZE_GB)
inline constexpr int64_t kMaxShardBytes = int64_t{5} << 30;

/// Bytes of a unit's tensors in the output, carried ones included.
/// @pre as for layout_folder.
int64_t unit_bytes(const Checkpoint& checkpoint, const Unit& unit, UnitFormat format, DType dtype);

/// Elements of all tensors in the output that mlx_lm counts as parameters: the weights in any
/// format and the linears' biases, but not the scales and biases of groups.
/// @source mlx_lm/utils.py, get_total_parameters
int64_t parameter_count(const Checkpoint& checkpoint);

/// Tensors are assigned to shards in the order of the units; the tensors of one unit share a shard
/// if they fit into one. Within a shard wider elements come first, so that every tensor is aligned
/// to its element.
///
/// @param formats per unit of the checkpoint. @pre a format's group size divides the length of the
///         unit's rows; the unit is quantizable.
/// @param max_shard_bytes smaller in tests.
/// @cost O(tensors of the output), about 5 us each: milliseconds for a model of 1,000 units.
FolderLayout layout_folder(const Checkpoint& checkpoint, std::span<const UnitFormat> formats,
                           DType dtype, int64_t max_shard_bytes = kMaxShardBytes);

}  // namespace ram
