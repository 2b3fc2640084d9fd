// Products with weights, which are packed once and then multiplied by blocks of rows, each product
// on one thread: by oneDNN where it has its own layout for weights, else by tiles.h. Hides oneDNN,
// its versions, its primitives and its own threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "ram/engine.h"

#include "matrix.h"

namespace ram {

/// Rows of a block: products are split at its multiples, so that a result depends only on the row's
/// position in its sequence.
inline constexpr int64_t kRowBlock = 256;

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

  /// Whether x is taken as bf16: kBF16 on processors with bf16 multiplication.
  bool wants_bf16() const;

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

}  // namespace ram
