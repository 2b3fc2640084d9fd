// The parts of the encoders that work weight by weight, on tiles whose rows are in the lanes of
// vectors: a tile of [rows, cols] is stored as [cols, kTileRows], so that nothing is summed across
// lanes and every row's result is independent.
#pragma once

#include <cstdint>

#include "ram/quant.h"

namespace ram {

/// Rows of a tile; rows beyond the matrix are zeros.
inline constexpr int64_t kTileRows = 128;
/// Rows are padded to a multiple of this: the widest vector.
inline constexpr int64_t kLaneStep = 16;
/// Columns that are processed at a time; a multiple of every group size.
inline constexpr int64_t kBlock = 128;

/// How thorough the search is (docs/encoders.md says what each part gains).
struct SearchEffort {
  int outward = 0;        ///< positions of each end outside the range of the weights,
  int inward = 0;         ///< and inside it,
  float share = 0;        ///< this many steps of the grid apart
  int least_squares = 0;  ///< most rounds of least squares after that
  int repeats = 0;        ///< of trying neighbors of the best, then least squares again:
  int neighbors = 0;      ///< number of scales on either side of the least-squares scale,
  float spacing = 0;      ///< this share of it apart
};

/// The full search.
inline constexpr SearchEffort kSearchEffort = {.outward = 2,
                                               .inward = 3,
                                               .share = 0.3F,
                                               .least_squares = 2,
                                               .repeats = 2,
                                               .neighbors = 4,
                                               .spacing = 0.006F};

/// Columns [width] of a tile, a whole number of groups, width <= kBlock. Weights are in units of
/// their row: a power of two that keeps squares within float32.
struct TileBlock {
  AffineFormat format;
  DType dtype = DType::kBF16;
  int64_t width = 0;
  int64_t lanes = kTileRows;          ///< number to process, a multiple of kLaneStep
  SearchEffort effort;                ///< default: MLX's rule alone
  const float* importance = nullptr;  ///< [width], positive, about 1
  const float* unit = nullptr;        ///< [kTileRows]
  const float* weights = nullptr;     ///< [width, kTileRows]
  uint8_t* codes = nullptr;           ///< [width, kTileRows]
  float* scale = nullptr;             ///< [groups, kTileRows], as stored but in units of the row
  float* bias = nullptr;              ///< the same
};

/// Sets scale, bias and the nearest codes; `error` [width, kTileRows], if not null, to weight -
/// decoded.
void search_block(const TileBlock& block, float* error);

struct FeedbackBlock : TileBlock {
  int tries = 0;  ///< scales to try on either side
  /// [width, kTileRows]: the weights plus the errors propagated from earlier blocks; overwritten.
  float* target = nullptr;
  float* error = nullptr;           ///< [width, kTileRows] out: weight - decoded
  const float* feedback = nullptr;  ///< [kBlock, kBlock]: share k, j of column k's error goes to j
  const float* pivots = nullptr;    ///< [width]: the cost of an error target - decoded
  float* objective = nullptr;       ///< [kTileRows]: costs are added
};

/// Scale, bias and codes of a block, column by column, group by group.
void feedback_block(const FeedbackBlock& block);

struct DescentBlock : TileBlock {
  float* error = nullptr;           ///< [width, kTileRows] weight - decoded, in and out
  float* gradient = nullptr;        ///< [width, kTileRows] of H error; overwritten
  float* change = nullptr;          ///< [width, kTileRows] out: error after - error before
  const float* moment = nullptr;    ///< [kBlock, kBlock]: the block of H
  const float* row_sums = nullptr;  ///< [width]: of each group's block of H
  int tries = 0;
  /// [kBlock, kBlock] and [width]: the factors of the groups' blocks of H; null: groups are not
  /// rounded anew.
  const float* feedback = nullptr;
  const float* pivots = nullptr;
};

/// One pass of coordinate descent over a block: for each group scale and bias, then its codes.
void descend_block(const DescentBlock& block);

}  // namespace ram
