#include "matrix.h"

#include <cstring>
#include <new>

#include "ram/engine.h"

namespace ram {
namespace {

constexpr std::align_val_t kMatrixAlignment{64};

}  // namespace

void Matrix::Free::operator()(float* data) const {
  ::operator delete(data, kMatrixAlignment);
}

Matrix::Matrix(int64_t rows, int64_t cols) : rows_(rows), cols_(cols) {
  const auto bytes = static_cast<size_t>(padded_rows(rows) * cols * 4 + kSlackBytes);
  data_.reset(static_cast<float*>(::operator new(bytes, kMatrixAlignment)));
}

Matrix Matrix::copy() const {
  Matrix other(rows_, cols_);
  std::memcpy(other.data(), data(), static_cast<size_t>(rows_ * cols_) * 4);
  return other;
}

}  // namespace ram
