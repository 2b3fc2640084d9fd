// Numbers in a BLOB: little-endian, one after another.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

namespace ram {

/// @tparam Number of 4 or 8 bytes: int32_t, float, double.
template <typename Number>
std::vector<std::byte> pack_blob(std::span<const Number> values) {
  using Bits = std::conditional_t<sizeof(Number) == 4, uint32_t, uint64_t>;
  std::vector<std::byte> blob;
  blob.reserve(values.size() * sizeof(Number));
  for (const Number value : values) {
    const auto bits = std::bit_cast<Bits>(value);
    for (size_t i = 0; i < sizeof(Number); ++i) {
      blob.push_back(static_cast<std::byte>(bits >> (8 * i)));
    }
  }
  return blob;
}

/// @return the numbers of a blob; bytes that are left over at its end are not looked at.
template <typename Number>
std::vector<Number> unpack_blob(std::span<const std::byte> blob) {
  using Bits = std::conditional_t<sizeof(Number) == 4, uint32_t, uint64_t>;
  std::vector<Number> values(blob.size() / sizeof(Number));
  for (size_t v = 0; v < values.size(); ++v) {
    Bits bits = 0;
    for (size_t i = 0; i < sizeof(Number); ++i) {
      bits |= static_cast<Bits>(blob[v * sizeof(Number) + i]) << (8 * i);
    }
    values[v] = std::bit_cast<Number>(bits);
  }
  return values;
}

}  // namespace ram
