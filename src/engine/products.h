// Matrix products by oneDNN: weights packed once, then multiplied by blocks of rows, each product
// on one thread. Hides oneDNN, its versions, its primitives and its own threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "ram/engine.h"

namespace ram {

/// Rows of a block: products are cut at its multiples, so that what comes out depends on a row's
/// place in its sequence only.
inline constexpr int64_t kRowBlock = 256;

/// A block's rows are filled up to a multiple of this: inputs must be readable and outputs writable
/// up to there. What stands in the unused rows does not matter.
inline constexpr int64_t kRowStep = 16;

/// Rows that a matrix of `rows` rows must have room for.
constexpr int64_t padded_rows(int64_t rows) {
  return (rows + kRowStep - 1) / kRowStep * kRowStep;
}

/// y = x W^T for one packed [n, k] matrix W.
struct Product {
  const float* x = nullptr;          ///< [padded_rows(rows), k]; for kBF16 already rounded to bf16
  const uint16_t* x_bf16 = nullptr;  ///< the same as bf16, where Products::wants_bf16()
  int64_t rows = 0;                  ///< 1 to kRowBlock
  const std::byte* packed = nullptr;
  int64_t n = 0;
  int64_t k = 0;
  /// [rows, n], rows `y_stride` apart; where that is n, room for padded_rows(rows).
  float* y = nullptr;
  int64_t y_stride = 0;
};

class Products {
 public:
  explicit Products(Precision precision);
  ~Products();

  /// Whether x is taken as bf16: kBF16 on processors that multiply it themselves.
  bool wants_bf16() const;

  /// The n up to which a product gets faster, or at least not slower: where oneDNN has no layout of
  /// its own for weights, longer rows of them fall on the same lines of the cache.
  int64_t best_rows() const;

  /// Bytes of a packed [n, k] matrix.
  int64_t packed_bytes(int64_t n, int64_t k);

  /// Packs [n, k] row-major float32 (for kBF16 rounded to bf16 first). Safe from several threads.
  void pack(const float* weights, int64_t n, int64_t k, std::byte* packed);

  /// One product on this thread. Safe from several threads.
  void multiply(const Product& product);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// c = alpha a b on this thread: a [m, k], b [k, n] or, if `transposed`, [n, k]; all row-major
/// float32, rows `..._stride` apart.
struct SmallProduct {
  bool transposed = false;
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;
  float alpha = 1;
  const float* a = nullptr;
  int64_t a_stride = 0;
  const float* b = nullptr;
  int64_t b_stride = 0;
  float* c = nullptr;
  int64_t c_stride = 0;
};
void multiply_small(const SmallProduct& product);

}  // namespace ram
