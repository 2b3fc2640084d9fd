#include "tile.h"

#include <algorithm>
#include <cmath>

#include "ram/error.h"

namespace ram {
namespace {

/// The least importance of a column, as a share of the mean.
constexpr double kLeastImportance = 1e-4;

/// Transposition works in squares of this size: whole cache lines both ways.
constexpr int64_t kSquare = 16;

/// A power of two with `greatest` in [unit / 2, unit), limited so that its inverse is in float32.
float unit_for(float greatest) {
  int exponent = 0;
  std::frexp(greatest, &exponent);
  return std::ldexp(1.0F, greatest > 0 ? std::clamp(exponent, -100, 120) : 0);
}

}  // namespace

Tile::Tile(const EncodeRequest& the_request, int64_t index)
    : request(the_request),
      first(index * kTileRows),
      rows(std::min(kTileRows, request.rows - first)),
      weights(request.cols * kTileRows),
      unit(kTileRows) {
  const int64_t cols = request.cols;
  const float* from = request.weights.data() + first * cols;
  std::fill_n(unit.data(), kTileRows, 1.0F);
  float per_unit[kTileRows];
  for (int64_t r = 0; r < rows; ++r) {
    float greatest = 0;
    for (int64_t k = 0; k < cols; ++k) greatest = std::max(greatest, std::abs(from[r * cols + k]));
    unit[r] = unit_for(greatest);
    per_unit[r] = 1 / unit[r];
  }
  if (rows < kTileRows) std::fill_n(weights.data(), cols * kTileRows, 0.0F);
  for (int64_t k = 0; k < cols; k += kSquare) {
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t i = k; i < k + kSquare; ++i) {
        weights[i * kTileRows + r] = from[r * cols + i] * per_unit[r];
      }
    }
  }
}

EncodedTile::EncodedTile(const EncodeRequest& request)
    : codes(request.cols * kTileRows),
      scale(request.cols / request.format.group_size * kTileRows),
      bias(request.cols / request.format.group_size * kTileRows) {}

void EncodedTile::take_better(const EncodedTile& other, const Tile& tile, const float* cost,
                              const float* other_cost) {
  const EncodeRequest& request = tile.request;
  for (int64_t r = 0; r < tile.rows; ++r) {
    // NaN is worse than any cost.
    if (std::isnan(other_cost[r]) || cost[r] <= other_cost[r]) continue;
    for (int64_t k = 0; k < request.cols; ++k) {
      codes[k * kTileRows + r] = other.codes[k * kTileRows + r];
    }
    for (int64_t g = 0; g < request.cols / request.format.group_size; ++g) {
      scale[g * kTileRows + r] = other.scale[g * kTileRows + r];
      bias[g * kTileRows + r] = other.bias[g * kTileRows + r];
    }
  }
}

void EncodedTile::store(const Tile& tile, EncodedMatrix& to) const {
  const EncodeRequest& request = tile.request;
  const int64_t groups = request.cols / request.format.group_size;
  const int64_t words = code_words(request.cols, request.format);
  const int64_t stored = dtype_bytes(request.dtype);
  std::vector<uint8_t> row(static_cast<size_t>(request.cols * kSquare));
  std::vector<float> rules(static_cast<size_t>(groups));
  for (int64_t r = 0; r < tile.rows; r += kSquare) {
    const int64_t here = std::min(kSquare, tile.rows - r);
    for (int64_t k = 0; k < request.cols; ++k) {
      for (int64_t i = 0; i < here; ++i) {
        row[static_cast<size_t>(i * request.cols + k)] = codes[k * kTileRows + r + i];
      }
    }
    affine_pack(row.data(), request.cols * here, request.format.bits,
                to.codes.data() + (tile.first + r) * words);
  }
  for (int64_t r = 0; r < tile.rows; ++r) {
    const int64_t at = (tile.first + r) * groups * stored;
    const float unit = tile.unit[r];
    for (int64_t g = 0; g < groups; ++g)
      rules[static_cast<size_t>(g)] = scale[g * kTileRows + r] * unit;
    from_f32(rules.data(), request.dtype, groups, to.scales.data() + at);
    for (int64_t g = 0; g < groups; ++g)
      rules[static_cast<size_t>(g)] = bias[g * kTileRows + r] * unit;
    from_f32(rules.data(), request.dtype, groups, to.biases.data() + at);
  }
}

TileBlock block_of(const Tile& tile, const EncodedTile& encoded, int64_t first, int64_t width) {
  const int64_t group = first / tile.request.format.group_size;
  TileBlock block;
  block.format = tile.request.format;
  block.dtype = tile.request.dtype;
  block.width = width;
  block.lanes = (tile.rows + kLaneStep - 1) / kLaneStep * kLaneStep;
  block.unit = tile.unit.data();
  block.weights = tile.weights.data() + first * kTileRows;
  block.codes = encoded.codes.data() + first * kTileRows;
  block.scale = encoded.scale.data() + group * kTileRows;
  block.bias = encoded.bias.data() + group * kTileRows;
  return block;
}

EncodedMatrix sized(const EncodeRequest& request) {
  const int64_t weights = request.rows * request.cols;
  EncodedMatrix encoded;
  encoded.codes.resize(static_cast<size_t>(code_words(weights, request.format)));
  encoded.scales.resize(static_cast<size_t>(scale_bytes(weights, request.format, request.dtype)));
  encoded.biases.resize(encoded.scales.size());
  return encoded;
}

void check(const EncodeRequest& request) {
  RAM_CHECK(format_index(request.format) >= 0 && is_weight_dtype(request.dtype));
  RAM_CHECK(request.rows >= 0 && request.cols >= 1 &&
            request.cols % request.format.group_size == 0);
  RAM_CHECK(static_cast<int64_t>(request.weights.size()) == request.rows * request.cols);
}

std::vector<float> normalized(std::span<const float> importance, int64_t cols) {
  std::vector<float> result(static_cast<size_t>(cols), 1.0F);
  if (importance.empty()) return result;
  RAM_CHECK(static_cast<int64_t>(importance.size()) == cols);
  double mean = 0;
  for (const float one : importance) mean += one;
  mean /= static_cast<double>(cols);
  if (!(mean > 0)) return result;
  for (size_t i = 0; i < result.size(); ++i) {
    result[i] = static_cast<float>(importance[i] / mean + kLeastImportance);
  }
  return result;
}

}  // namespace ram
