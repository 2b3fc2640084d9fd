// A tile of a matrix: kTileRows rows as the lanes of [cols, kTileRows] arrays, and the conversion
// from and to row-major weights, codes, scales and biases.
#pragma once

#include <cstdint>
#include <memory>
#include <new>

#include "ram/encoder.h"

#include "lanes.h"

namespace ram {

/// Array aligned to 64 bytes, not initialized.
template <typename T>
class Aligned {
 public:
  explicit Aligned(int64_t count = 0)
      : data_(static_cast<T*>(
            ::operator new(static_cast<size_t>(count) * sizeof(T), std::align_val_t{64}))) {}
  T* data() const { return data_.get(); }
  T& operator[](int64_t i) const { return data_.get()[i]; }

 private:
  struct Free {
    void operator()(T* data) const { ::operator delete(data, std::align_val_t{64}); }
  };
  std::unique_ptr<T, Free> data_;
};

/// Number of tiles of a matrix with that many rows.
constexpr int64_t tile_count(int64_t rows) {
  return (rows + kTileRows - 1) / kTileRows;
}

/// The weights of a tile, each row in units of a power of two that brings its greatest magnitude to
/// [0.5, 1).
struct Tile {
  const EncodeRequest& request;
  int64_t first;           ///< row
  int64_t rows;            ///< of the matrix in this tile, at most kTileRows
  Aligned<float> weights;  ///< [cols, kTileRows]; zeros beyond the matrix
  Aligned<float> unit;     ///< [kTileRows]

  Tile(const EncodeRequest& the_request, int64_t index);
};

/// An encoded tile.
struct EncodedTile {
  Aligned<uint8_t> codes;  ///< [cols, kTileRows]
  Aligned<float> scale;    ///< [groups, kTileRows], in units of the row
  Aligned<float> bias;     ///< the same

  explicit EncodedTile(const EncodeRequest& request);

  /// Copies the rows of `other` that cost less there than here.
  void take_better(const EncodedTile& other, const Tile& tile, const float* cost,
                   const float* other_cost);

  void store(const Tile& tile, EncodedMatrix& to) const;
};

/// The block of columns [first, first + width) of a tile and its encoding; the caller sets the
/// other fields.
TileBlock block_of(const Tile& tile, const EncodedTile& encoded, int64_t first, int64_t width);

/// An encoded matrix of the request's sizes.
EncodedMatrix sized(const EncodeRequest& request);

/// Fails if the request contradicts itself.
void check(const EncodeRequest& request);

/// Importance for the search: about 1 on average, and small but positive for columns without
/// importance.
std::vector<float> normalized(std::span<const float> importance, int64_t cols);

}  // namespace ram
