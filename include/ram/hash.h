// Content hashes: XXH3-128 for detecting changes (not secure against attackers), and SHA-256 where
// people compare with the output of other programs.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace ram {

/// Hash of a stream of bytes. The hash does not depend on how the bytes are split over calls.
class Hasher {
 public:
  Hasher();
  ~Hasher();
  Hasher(Hasher&&) noexcept;
  Hasher& operator=(Hasher&&) noexcept;

  void update(std::span<const std::byte> bytes);
  void update(std::string_view text);

  /// @return 32 lower-case hexadecimal digits (canonical XXH3-128) of all bytes so far.
  std::string digest() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// @return Hasher's digest of one piece of text.
std::string hash_text(std::string_view text);

/// @return SHA-256 of one piece of text, 64 lower-case hexadecimal digits, as sha256sum prints it.
std::string sha256_text(std::string_view text);

}  // namespace ram
