// Reads rows of parts: the runs of elements that a view covers, in as few reads as its steps allow,
// and with no more memory than one buffer of 1 MiB.
#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "ram/checkpoint.h"
#include "ram/error.h"

#include "elements.h"

namespace ram {
namespace {

constexpr int64_t kBufferBytes = int64_t{1} << 20;
// Elements no further apart share a file page or nearly so: reading on is cheaper than another
// call.
constexpr int64_t kGapBytes = 4096;

/// Bytes of one row of a unit that is stored quantized.
int64_t code_row_bytes(const Unit& unit) {
  return unit.cols / 8 * unit.stored->bits;
}

int64_t scale_row_bytes(const Unit& unit) {
  return scale_bytes(unit.cols, *unit.stored, unit.dtype);
}

/// One axis of a matrix: number of elements, distance in the tensor and in memory.
struct Axis {
  int64_t count = 0;
  int64_t step = 0;
  int64_t out_step = 0;
};

/// Elements of a matrix that are read together: `outer` runs of `inner` elements each.
struct Run {
  int64_t first = 0;     ///< element of the tensor
  int64_t elements = 0;  ///< from there, including what lies between
  int64_t outer = 0;
  int64_t inner = 0;
  int64_t out = 0;  ///< element of the matrix
};

/// Splits rows of a view into runs that fit the buffer. The inner axis is the one whose elements
/// are closer in the tensor.
class Walk {
 public:
  Walk(const View& view, int64_t row, int64_t rows, int64_t cols, int64_t width)
      : first_(view.first + row * view.row_step),
        inner_({.count = cols, .step = view.col_step, .out_step = 1}),
        outer_({.count = rows, .step = view.row_step, .out_step = cols}),
        width_(width) {
    if (outer_.step < inner_.step) std::swap(inner_, outer_);
    RAM_CHECK(inner_.step > 0);
  }

  const Axis& inner() const { return inner_; }
  const Axis& outer() const { return outer_; }

  /// The matrix has the same order in the tensor and in memory.
  bool contiguous() const {
    return inner_.step == 1 && inner_.out_step == 1 &&
           (outer_.step == inner_.count || outer_.count == 1);
  }
  int64_t first() const { return first_; }

  template <class Fn>
  void each_run(Fn fn) const {
    const int64_t most = kBufferBytes / width_;
    const int64_t inner_most = std::min(inner_.count, (most - 1) / inner_.step + 1);
    for (int64_t o = 0, outer = 0; o < outer_.count; o += outer) {
      outer = 1;
      for (int64_t i = 0, inner = 0; i < inner_.count; i += inner) {
        inner = std::min(inner_most, inner_.count - i);
        const int64_t length = (inner - 1) * inner_.step + 1;
        const bool whole = inner == inner_.count;
        if (whole && (outer_.step - length) * width_ <= kGapBytes && outer_.step > 0) {
          outer = std::min(outer_.count - o, (most - length) / outer_.step + 1);
        }
        fn(Run{.first = first_ + o * outer_.step + i * inner_.step,
               .elements = (outer - 1) * outer_.step + length,
               .outer = outer,
               .inner = inner,
               .out = o * outer_.out_step + i * inner_.out_step});
      }
    }
  }

 private:
  int64_t first_;
  Axis inner_;
  Axis outer_;
  int64_t width_;
};

template <class Element>
void scatter(const Walk& walk, const Run& run, const std::byte* from, std::byte* to) {
  for (int64_t o = 0; o < run.outer; ++o) {
    const std::byte* in = from + o * walk.outer().step * int64_t{sizeof(Element)};
    std::byte* out = to + (run.out + o * walk.outer().out_step) * int64_t{sizeof(Element)};
    for (int64_t i = 0; i < run.inner; ++i) {
      std::memcpy(out, in, sizeof(Element));
      in += walk.inner().step * int64_t{sizeof(Element)};
      out += walk.inner().out_step * int64_t{sizeof(Element)};
    }
  }
}

}  // namespace

void Checkpoint::read_rows(const Unit& unit, int part, int64_t row, int64_t count,
                           std::byte* out) const {
  RAM_CHECK(!unit.stored);
  RAM_CHECK(row >= 0 && count >= 0 && row <= unit.rows - count);
  if (count == 0 || unit.cols == 0) return;
  const Part& from = unit.parts.at(static_cast<size_t>(part));
  const int64_t width = dtype_bytes(unit.dtype);
  const Walk walk(from.view, row, count, unit.cols, width);
  ElementReader elements(*this, unit, from);
  if (walk.contiguous()) return elements.read(walk.first(), count * unit.cols, out);
  std::vector<std::byte> buffer;
  walk.each_run([&](const Run& run) {
    const bool direct = run.outer == 1 && walk.inner().step == 1 && walk.inner().out_step == 1;
    if (direct) return elements.read(run.first, run.elements, out + run.out * width);
    buffer.resize(std::max(buffer.size(), static_cast<size_t>(run.elements * width)));
    elements.read(run.first, run.elements, buffer.data());
    width == 2 ? scatter<uint16_t>(walk, run, buffer.data(), out)
               : scatter<uint32_t>(walk, run, buffer.data(), out);
  });
}

void Checkpoint::read_encoded_rows(const Unit& unit, int part, int64_t row, int64_t count,
                                   uint32_t* codes, std::byte* scales, std::byte* biases) const {
  RAM_CHECK(unit.stored);
  RAM_CHECK(row >= 0 && count >= 0 && row <= unit.rows - count);
  const Part& from = unit.parts.at(static_cast<size_t>(part));
  RAM_CHECK(is_rows(from, unit.cols));
  const int64_t first = from.view.first / unit.cols + row;
  const auto read = [&](int tensor, int64_t row_bytes, std::byte* out) {
    read_tensor(tensor, first * row_bytes, {out, static_cast<size_t>(count * row_bytes)});
  };
  read(from.tensor, code_row_bytes(unit), reinterpret_cast<std::byte*>(codes));
  read(from.scales, scale_row_bytes(unit), scales);
  read(from.biases, scale_row_bytes(unit), biases);
}

void Checkpoint::prefetch_rows(const Unit& unit, int part, int64_t row, int64_t count) const {
  const Part& from = unit.parts.at(static_cast<size_t>(part));
  if (!unit.stored) {
    if (count == 0 || unit.cols == 0) return;
    const ElementReader elements(*this, unit, from);
    const Walk walk(from.view, row, count, unit.cols, dtype_bytes(unit.dtype));
    if (walk.contiguous()) return elements.prefetch(walk.first(), count * unit.cols);
    return walk.each_run([&](const Run& run) { elements.prefetch(run.first, run.elements); });
  }
  const auto prefetch = [&](int index, int64_t row_bytes) {
    const SourceTensor& tensor = tensors.at(static_cast<size_t>(index));
    files.at(static_cast<size_t>(tensor.file))
        .prefetch(tensor.info.begin + from.view.first / unit.cols * row_bytes + row * row_bytes,
                  count * row_bytes);
  };
  prefetch(from.tensor, code_row_bytes(unit));
  prefetch(from.scales, scale_row_bytes(unit));
  prefetch(from.biases, scale_row_bytes(unit));
}

void Checkpoint::read_tensor(int tensor, int64_t offset, std::span<std::byte> out) const {
  const SourceTensor& source = tensors.at(static_cast<size_t>(tensor));
  const auto size = static_cast<int64_t>(out.size());
  RAM_CHECK(offset >= 0 && offset <= source.info.bytes() - size);
  files.at(static_cast<size_t>(source.file)).read(source.info.begin + offset, out);
}

}  // namespace ram
