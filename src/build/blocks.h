// A model split into blocks of rows, and each block's output: shared by the writer and by verify's
// comparison with the source.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ram/build.h"
#include "ram/checkpoint.h"
#include "ram/mlx_layout.h"

namespace ram {

/// Some rows of one part of a unit, or some elements of a tensor that the unit carries.
struct Block {
  int unit = 0;
  int carried = -1;  ///< index into Unit::carried; -1: rows of the unit itself
  int part = 0;
  int64_t row = 0;    ///< first row in the part; first element of a carried tensor
  int64_t count = 0;  ///< rows; elements of a carried tensor
};

/// Appends the blocks of a unit's own rows, about 1 MiB of the source each. The split depends only
/// on the unit.
void append_unit_blocks(const Checkpoint& checkpoint, int unit, std::vector<Block>& out);

/// Appends the blocks of one carried tensor.
void append_carried_blocks(const Checkpoint& checkpoint, int unit, int carried,
                           std::vector<Block>& out);

/// @return bytes of the source that a block covers.
int64_t source_bytes(const Checkpoint& checkpoint, const Block& block);

/// Offset of this block's bytes of a piece within that piece's tensor.
/// @pre The unit has this `piece` in this format.
int64_t piece_offset(const Unit& unit, UnitFormat format, DType dtype, const Block& block,
                     Piece piece);

/// Reads blocks and makes their output. One per thread; keeps its buffers from block to block.
class BlockEncoder {
 public:
  /// @param encoded source of the rows of quantized units; if empty, affine_encode makes them.
  ///                Outlives the encoder.
  BlockEncoder(const Checkpoint& checkpoint, std::span<const UnitFormat> formats, DType dtype,
               const EncodedRowsFn* encoded = nullptr)
      : checkpoint_(&checkpoint), formats_(formats), dtype_(dtype), encoded_(encoded) {}

  /// @throws Error{kCorrupt} a weight is not finite in the source or in the output's dtype (the
  ///         message names tensor and position), or the source ends early.
  void run(const Block& block);

  /// The output of the last run: kWeight, kScales, kBiases of rows; kCarried of a carried tensor.
  /// Empty for a piece that the block does not have.
  std::span<const std::byte> bytes(Piece piece) const;

  /// The weights of the last run as the source has them.
  std::span<const std::byte> source() const { return source_; }

 private:
  /// @param cols columns of the rows just read; `view` locates their elements in a tensor with rows
  ///             of `width`.
  void check_finite(const TensorInfo& info, DType source, int64_t cols, const View& view,
                    int64_t width) const;
  void cast(DType source, int64_t count);

  const Checkpoint* checkpoint_;
  std::span<const UnitFormat> formats_;
  DType dtype_;
  const EncodedRowsFn* encoded_;
  bool carried_ = false;
  std::vector<std::byte> source_;
  std::vector<float> floats_;
  std::vector<uint32_t> codes_;
  std::vector<std::byte> plain_;
  std::vector<std::byte> scales_;
  std::vector<std::byte> biases_;
};

}  // namespace ram
