// Bounds on what the steps of a file may make of one text: a file of a few kB could else ask for
// gigabytes, each step ten times what the step before it made.
#pragma once

#include <cstddef>

namespace ram {

/// Steps of a normalizer, of a pre-tokenizer, of a decoder: real files have below 20 of each.
inline constexpr size_t kMostSteps = 256;

/// Counts what the steps of one call of encode or decode make.
class Growth {
 public:
  /// Of a text to encode: real steps make at most 22 bytes of one (NFKD of U+FDFA, as ByteLevel
  /// spells it).
  static Growth of_text(size_t bytes);
  /// Of ids to decode: real tokens are below 1 KiB.
  static Growth of_ids(size_t count);

  /// A step has made, or makes and is not done with, a text of this length.
  /// @throws Error{kUnsupported} it is longer than any real step makes.
  void reach(size_t bytes) const {
    if (bytes > most_bytes_) refuse();
  }
  /// A step is done with a text of this length.
  /// @throws Error{kUnsupported} as reach, or all steps together made more than real ones do.
  void made(size_t bytes) {
    reach(bytes);
    work_ += bytes + kEach;
    if (work_ > most_work_) refuse();
  }

 private:
  static constexpr size_t kEach = 16;  ///< what a piece costs beside its bytes
  Growth(size_t most_bytes, size_t most_work) : most_bytes_(most_bytes), most_work_(most_work) {}
  [[noreturn]] void refuse() const;

  size_t most_bytes_;
  size_t most_work_;
  size_t work_ = 0;
};

}  // namespace ram
