// The elements of the tensors of one part, one after another, in any storage format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ram/checkpoint.h"

namespace ram {

inline constexpr int64_t kFp8Block = 128;   ///< rows and columns that share a scale
inline constexpr int64_t kMxfp4Block = 32;  ///< elements of a row that share a scale

/// Reads runs of elements, decoded. Refers to the checkpoint; one per thread, cheap to create.
class ElementReader {
 public:
  ElementReader(const Checkpoint& checkpoint, const Unit& unit, const Part& part)
      : checkpoint_(checkpoint), unit_(unit), part_(part) {}

  /// Reads elements [begin, begin + count) in unit.dtype.
  /// @throws Error{kCorrupt} the file ends early (it changed since it was opened).
  /// @cost reads only the bytes of those elements; needs a buffer of 1 MiB if they are decoded,
  /// else none.
  void read(int64_t begin, int64_t count, std::byte* out);

  /// Hints to the system that these elements will be read soon.
  void prefetch(int64_t begin, int64_t count) const;

 private:
  template <class Fn>
  void in_each_tensor(int64_t begin, int64_t count, Fn fn) const;
  void read_fp8(int64_t begin, int64_t count, std::byte* out);
  void read_mxfp4(int64_t begin, int64_t count, std::byte* out);
  const TensorInfo& info(int tensor) const;
  std::span<std::byte> room(std::vector<std::byte>& bytes, int64_t size) const;

  const Checkpoint& checkpoint_;
  const Unit& unit_;
  const Part& part_;
  std::vector<std::byte> codes_;
  std::vector<std::byte> stored_scales_;
  std::vector<float> scales_;
};

/// @return the value of an E4M3 code: 1 sign, 4 bits of exponent (bias 7), 3 of mantissa; no
/// infinity, 0x7f and 0xff are NaN. Exact.
/// @source OCP 8-bit floating point specification (OFP8), revision 1.0, table 1
float e4m3_to_f32(uint8_t code);

}  // namespace ram
