// Splitting, reading, casting and encoding: see blocks.h.
#include "blocks.h"

#include <algorithm>

#include "ram/error.h"

namespace ram {
namespace {

// In the source: large enough for one read and few writes, small enough that all threads stay busy
// and a buffer per thread costs little.
constexpr int64_t kBlockBytes = int64_t{1} << 20;

const Unit& unit_of(const Checkpoint& checkpoint, int unit) {
  return checkpoint.units[static_cast<size_t>(unit)];
}

const SourceTensor& carried_source(const Checkpoint& checkpoint, const Block& block) {
  const Unit& unit = unit_of(checkpoint, block.unit);
  const Carried& carried = unit.carried[static_cast<size_t>(block.carried)];
  return checkpoint.tensors[static_cast<size_t>(carried.tensor)];
}

}  // namespace

void append_unit_blocks(const Checkpoint& checkpoint, int unit, std::vector<Block>& out) {
  const Unit& u = unit_of(checkpoint, unit);
  const int64_t row_bytes = std::max<int64_t>(1, u.cols * dtype_bytes(u.dtype));
  const int64_t rows = std::max<int64_t>(1, kBlockBytes / row_bytes);
  for (size_t part = 0; part < u.parts.size(); ++part) {
    for (int64_t row = 0; row < u.rows; row += rows) {
      out.push_back({.unit = unit,
                     .part = static_cast<int>(part),
                     .row = row,
                     .count = std::min(rows, u.rows - row)});
    }
  }
}

void append_carried_blocks(const Checkpoint& checkpoint, int unit, int carried,
                           std::vector<Block>& out) {
  const Block whole = {.unit = unit, .carried = carried};
  const TensorInfo& info = carried_source(checkpoint, whole).info;
  const int64_t elements = info.elements();
  const int64_t step = kBlockBytes / dtype_bytes(info.dtype);
  for (int64_t first = 0; first < elements; first += step) {
    Block block = whole;
    block.row = first;
    block.count = std::min(step, elements - first);
    out.push_back(block);
  }
}

int64_t source_bytes(const Checkpoint& checkpoint, const Block& block) {
  const Unit& unit = unit_of(checkpoint, block.unit);
  if (block.carried < 0) return block.count * unit.cols * dtype_bytes(unit.dtype);
  return block.count * dtype_bytes(carried_source(checkpoint, block).info.dtype);
}

int64_t piece_offset(const Unit& unit, UnitFormat format, DType dtype, const Block& block,
                     Piece piece) {
  if (piece == Piece::kCarried) return block.row * dtype_bytes(dtype);
  const int64_t row = block.part * unit.rows + block.row;
  if (!format) return row * unit.cols * dtype_bytes(dtype);
  if (piece == Piece::kWeight) return row * (unit.cols * format->bits / 8);
  return row * (unit.cols / format->group_size) * dtype_bytes(dtype);
}

void BlockEncoder::run(const Block& block) {
  const Unit& unit = unit_of(*checkpoint_, block.unit);
  source_.resize(static_cast<size_t>(source_bytes(*checkpoint_, block)));
  carried_ = block.carried >= 0;
  codes_.clear();
  plain_.clear();
  scales_.clear();
  biases_.clear();
  if (carried_) {
    const Carried& carried = unit.carried[static_cast<size_t>(block.carried)];
    const TensorInfo& info = carried_source(*checkpoint_, block).info;
    checkpoint_->read_tensor(carried.tensor, block.row * dtype_bytes(info.dtype), source_);
    // Carried tensors are split by elements and read as one row.
    const int64_t elements = std::max<int64_t>(1, info.elements());
    check_finite(info, info.dtype, elements, {.first = block.row, .row_step = elements}, elements);
    return cast(info.dtype, block.count);
  }
  checkpoint_->read_rows(unit, block.part, block.row, block.count, source_.data());
  const Part& part = unit.parts[static_cast<size_t>(block.part)];
  const TensorInfo& info = checkpoint_->tensors[static_cast<size_t>(part.tensor)].info;
  View rows = part.view;
  rows.first += block.row * rows.row_step;
  check_finite(info, unit.dtype, unit.cols, rows,
               part.storage == StorageFormat::kPlain ? info.shape.back() : unit.cols);
  const UnitFormat& format = formats_[static_cast<size_t>(block.unit)];
  if (!format) return cast(unit.dtype, block.count * unit.cols);
  const int64_t groups = block.count * (unit.cols / format->group_size);
  codes_.resize(static_cast<size_t>(code_words(block.count * unit.cols, *format)));
  scales_.resize(static_cast<size_t>(groups * dtype_bytes(dtype_)));
  biases_.resize(scales_.size());
  if (encoded_ != nullptr && *encoded_) {
    (*encoded_)(block.unit, block.part, block.row, block.count, codes_.data(), scales_.data(),
                biases_.data());
    return;
  }
  affine_encode(source_.data(), unit.dtype, block.count, unit.cols, *format, dtype_, codes_.data(),
                scales_.data(), biases_.data());
}

std::span<const std::byte> BlockEncoder::bytes(Piece piece) const {
  switch (piece) {
    case Piece::kScales:
      return scales_;
    case Piece::kBiases:
      return biases_;
    case Piece::kCarried:
      return carried_ ? std::span<const std::byte>(plain_) : std::span<const std::byte>();
    case Piece::kWeight:
      break;
  }
  if (carried_) return {};
  if (codes_.empty()) return plain_;
  return std::as_bytes(std::span(codes_));
}

void BlockEncoder::check_finite(const TensorInfo& info, DType source, int64_t cols,
                                const View& view, int64_t width) const {
  const int64_t count = static_cast<int64_t>(source_.size()) / dtype_bytes(source);
  const int64_t at = find_non_finite(source_.data(), source, count, dtype_);
  if (at < 0) return;
  const int64_t element = view.first + at / cols * view.row_step + at % cols * view.col_step;
  float value = 0;
  to_f32(source_.data() + at * dtype_bytes(source), source, 1, &value);
  fail(Code::kCorrupt,
       "tensor {}: row {}, column {} is {} as {}: a weight must be finite; fetch the model again, "
       "or use --dtype bf16 if it is only too large",
       info.name, element / width, element % width, value, weight_dtype_name(dtype_));
}

void BlockEncoder::cast(DType source, int64_t count) {
  if (source == dtype_) {
    plain_ = source_;
    return;
  }
  floats_.resize(static_cast<size_t>(count));
  plain_.resize(static_cast<size_t>(count * dtype_bytes(dtype_)));
  to_f32(source_.data(), source, count, floats_.data());
  from_f32(floats_.data(), dtype_, count, plain_.data());
}

}  // namespace ram
