// search_encode and mlx_encode, with tiles of rows in parallel; errors of encoded matrices.
#include <algorithm>

#include "ram/encoder.h"
#include "ram/error.h"
#include "ram/thread.h"

#include "product.h"
#include "tile.h"

namespace ram {

EncodedMatrix mlx_encode(const EncodeRequest& request, ThreadPool& pool) {
  check(request);
  EncodedMatrix encoded = sized(request);
  const int64_t words = code_words(request.cols, request.format);
  const int64_t stored = scale_bytes(request.cols, request.format, request.dtype);
  pool.run(tile_count(request.rows), [&](int64_t tile, int) {
    const int64_t first = tile * kTileRows;
    affine_encode(reinterpret_cast<const std::byte*>(request.weights.data() + first * request.cols),
                  DType::kF32, std::min(kTileRows, request.rows - first), request.cols,
                  request.format, request.dtype, encoded.codes.data() + first * words,
                  encoded.scales.data() + first * stored, encoded.biases.data() + first * stored);
  });
  return encoded;
}

EncodedMatrix search_encode(const EncodeRequest& request, std::span<const float> importance,
                            ThreadPool& pool) {
  check(request);
  const std::vector<float> shares = normalized(importance, request.cols);
  EncodedMatrix encoded = sized(request);
  pool.run(tile_count(request.rows), [&](int64_t index, int) {
    const Tile tile(request, index);
    const EncodedTile result(request);
    for (int64_t first = 0; first < request.cols; first += kBlock) {
      TileBlock block = block_of(tile, result, first, std::min(kBlock, request.cols - first));
      block.effort = kSearchEffort;
      block.importance = shares.data() + first;
      search_block(block, nullptr);
    }
    result.store(tile, encoded);
  });
  return encoded;
}

double weighted_error(const EncodeRequest& request, const EncodedMatrix& encoded,
                      const SecondMoment& moment, ThreadPool& pool) {
  check(request);
  RAM_CHECK(moment.cols() == request.cols);
  const int64_t cols = request.cols;
  const int64_t words = code_words(cols, request.format);
  const int64_t stored = scale_bytes(cols, request.format, request.dtype);
  std::vector<double> sums(static_cast<size_t>(tile_count(request.rows)));
  pool.run(tile_count(request.rows), [&](int64_t index, int) {
    const int64_t first = index * kTileRows;
    const int64_t rows = std::min(kTileRows, request.rows - first);
    std::vector<float> error(static_cast<size_t>(rows * cols));
    std::vector<float> product(error.size());
    affine_decode(encoded.codes.data() + first * words, encoded.scales.data() + first * stored,
                  encoded.biases.data() + first * stored, request.dtype, rows, cols, request.format,
                  error.data());
    const float* weights = request.weights.data() + first * cols;
    for (size_t i = 0; i < error.size(); ++i) error[i] -= weights[i];
    multiply({.m = rows,
              .n = cols,
              .k = cols,
              .a = error.data(),
              .a_stride = cols,
              .b = moment.values().data(),
              .b_stride = cols,
              .c = product.data(),
              .c_stride = cols});
    double sum = 0;
    for (size_t i = 0; i < error.size(); ++i) sum += double{error[i]} * product[i];
    sums[static_cast<size_t>(index)] = sum;
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

double squared_error(const EncodeRequest& request, const EncodedMatrix& encoded,
                     std::span<const float> importance) {
  check(request);
  RAM_CHECK(importance.empty() || static_cast<int64_t>(importance.size()) == request.cols);
  const int64_t cols = request.cols;
  const int64_t words = code_words(cols, request.format);
  const int64_t stored = scale_bytes(cols, request.format, request.dtype);
  std::vector<float> decoded(static_cast<size_t>(cols));
  double total = 0;
  for (int64_t row = 0; row < request.rows; ++row) {
    affine_decode(encoded.codes.data() + row * words, encoded.scales.data() + row * stored,
                  encoded.biases.data() + row * stored, request.dtype, 1, cols, request.format,
                  decoded.data());
    for (size_t i = 0; i < decoded.size(); ++i) {
      const double error =
          double{decoded[i]} - request.weights[static_cast<size_t>(row * cols) + i];
      total += (importance.empty() ? 1.0 : double{importance[i]}) * error * error;
    }
  }
  return total;
}

}  // namespace ram
