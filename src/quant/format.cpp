// The table of the 18 affine formats, their names and sizes, and the measures derived from
// distortion sums.
#include <cmath>

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/quant.h"
#include "ram/size.h"

namespace ram {
namespace {

constexpr std::array<int, 6> kBits = {2, 3, 4, 5, 6, 8};
constexpr std::array<int, 3> kGroupSizes = {32, 64, 128};

constexpr std::array<AffineFormat, kFormatCount> make_formats() {
  std::array<AffineFormat, kFormatCount> formats = {};
  size_t next = 0;
  for (const int bits : kBits) {
    for (const int group_size : kGroupSizes) formats[next++] = {bits, group_size};
  }
  return formats;
}

}  // namespace

const std::array<AffineFormat, kFormatCount> kAffineFormats = make_formats();

int format_index(AffineFormat format) {
  for (int i = 0; i < kFormatCount; ++i) {
    if (kAffineFormats[static_cast<size_t>(i)] == format) return i;
  }
  return -1;
}

std::string format_name(AffineFormat format) {
  return fmt::format("{}:{}", format.bits, format.group_size);
}

std::vector<std::string> format_names() {
  std::vector<std::string> names;
  names.reserve(kAffineFormats.size());
  for (const AffineFormat format : kAffineFormats) names.push_back(format_name(format));
  return names;
}

std::optional<AffineFormat> parse_format(std::string_view text) {
  for (const AffineFormat& format : kAffineFormats) {
    if (format_name(format) == text) return format;
  }
  return std::nullopt;
}

int64_t encoded_bytes(int64_t rows, int64_t cols, AffineFormat format, DType scale_dtype) {
  RAM_CHECK(format_index(format) >= 0 && rows >= 0 && cols >= 0 && cols % format.group_size == 0);
  // Of one group: its codes fill whole words (32 codes are `bits` words), and it has a scale and a
  // bias.
  const int64_t group_bytes = format.group_size / 8 * format.bits + 2 * dtype_bytes(scale_dtype);
  const std::optional<int64_t> groups = checked_mul(rows, cols / format.group_size);
  const std::optional<int64_t> bytes = checked_mul(groups.value_or(-1), group_bytes);
  if (!bytes) {
    fail(Code::kCorrupt, "a matrix of {} x {} weights is larger than this program can count", rows,
         cols);
  }
  return *bytes;
}

uint32_t formats_for_cols(int64_t cols) {
  uint32_t formats = 0;
  if (cols <= 0) return formats;
  for (size_t i = 0; i < kAffineFormats.size(); ++i) {
    if (cols % kAffineFormats[i].group_size == 0) formats |= uint32_t{1} << i;
  }
  return formats;
}

Distortion& Distortion::operator+=(const Distortion& other) {
  sum_squares += other.sum_squares;
  for (size_t i = 0; i < squared_error.size(); ++i) squared_error[i] += other.squared_error[i];
  return *this;
}

double nrmse(double squared_error, double sum_squares, int64_t count) {
  if (count <= 0 || std::sqrt(sum_squares / static_cast<double>(count)) < 1e-12) return 0;
  return std::sqrt(squared_error / sum_squares);
}

double sqnr_db(double squared_error, double sum_squares, int64_t count) {
  if (count <= 0 || squared_error / static_cast<double>(count) < 1e-20) return 100;
  return 10 * std::log10(sum_squares / squared_error);
}

}  // namespace ram
