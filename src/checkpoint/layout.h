// The position of a module's matrices in a tensor: a list of steps, and the resulting shape and
// view. Numbers only.
#pragma once

#include <cstdint>
#include <vector>

#include "ram/checkpoint.h"

namespace ram {

/// One step from a tensor to a part's matrix [R, C]. The input of a step is a matrix: initially the
/// tensor seen as [elements / last axis, last axis].
enum class StepKind : uint8_t {
  kSlice,       ///< of [parts, R, C] the part's own [R, C]; only as the first step
  kGroup,       ///< of parts * R rows the part's own R: heads of a projection
  kFirstHalf,   ///< of 2R rows the first R
  kSecondHalf,  ///< ... the last R
  kEvenRows,    ///< of 2R rows those with even numbers
  kOddRows,     ///< ... with odd numbers
  kFirstRows,   ///< all rows but the last `others`
  kLastRows,    ///< all rows but the first `others`
  kTranspose,   ///< of [C, R] the transposed matrix
};

struct SizedStep {
  StepKind kind = StepKind::kSlice;
  int64_t others = 0;  ///< kFirstRows, kLastRows: the rows that do not belong to the part
};

/// The steps of a module whose parts are [rows, cols].
class TensorLayout {
 public:
  TensorLayout(std::vector<SizedStep> steps, int64_t parts, int64_t rows, int64_t cols);

  /// The shape that the tensor must have.
  const std::vector<int64_t>& shape() const { return shape_; }

  /// Where a part's matrix is. @pre a tensor of this shape has fewer than 2^63 elements.
  View view(int64_t part) const;

 private:
  std::vector<SizedStep> steps_;
  int64_t parts_;
  std::vector<int64_t> shape_;
};

}  // namespace ram
