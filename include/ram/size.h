// Byte counts and sizes: checked arithmetic for numbers that come from files, and the sizes people
// type.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ram {

/// @return a * b, or nothing on overflow or if either is negative.
std::optional<int64_t> checked_mul(int64_t a, int64_t b);

/// @return a + b, or nothing on overflow or if either is negative.
std::optional<int64_t> checked_add(int64_t a, int64_t b);

/// @return ceil(a / b) for a >= 0, b > 0.
constexpr int64_t ceil_div(int64_t a, int64_t b) {
  return a / b + (a % b != 0 ? 1 : 0);
}

/// A size as typed: bytes, or a share of a total that is known only later.
struct Size {
  static constexpr int64_t kWhole = 1'000'000'000'000'000'000;  ///< the share of 100 %

  int64_t bytes = 0;  ///< if share is 0
  int64_t share = 0;  ///< (0, kWhole]: of the source's weights

  /// @param whole_bytes the bytes of 100 %, from 0 to 2^62.
  /// @return the bytes, rounded down.
  int64_t resolve(int64_t whole_bytes) const;
};

/// Parses `19GB` (10^9), `17.5GiB` (2^30), `900MB`, `850MiB`, `64KiB`, `1TB`, plain bytes, or
/// `35%`. Decimal digits are exact: 2.01MB is 2010000 bytes. Fractions of a byte are rounded down,
/// a share to 16 decimals of a percent. Case is ignored: "gb" is GB, "gib" is GiB.
///
/// @throws Error{kUsage} `19G` (ambiguous), negative, zero, not numeric, or 2^62 and above.
Size parse_size(std::string_view text);

/// @return text for people: "18.24 GB", in decimal units with four digits; never parsed again.
std::string format_bytes(int64_t bytes);

/// @param bytes from 0 to 2^62.
/// @return the same, rounded up: a budget of the shown size is enough.
std::string format_enough_bytes(int64_t bytes);

/// @param bytes from 0 to 2^62.
/// @return a size that is easy to type and at least `bytes`: "19GB", "2.9MB"; parse_size reads it.
std::string format_typed_bytes(int64_t bytes);

/// @return a whole number with a comma between each three digits: "14,042".
std::string group_digits(int64_t number);

}  // namespace ram
