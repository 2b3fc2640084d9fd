// Limits on the output of a file's steps for one text: otherwise a file of a few kB could request
// gigabytes, each step multiplying the output of the previous one by ten.
#pragma once

#include <cstddef>

namespace ram {

/// Steps of a normalizer, pre-tokenizer or decoder: real files have below 20 of each.
inline constexpr size_t kMostSteps = 256;

/// Counts the output of the steps in one call of encode or decode.
class Growth {
 public:
  /// For a text to encode: real steps make at most 22 bytes of one (NFKD of U+FDFA, spelled by
  /// ByteLevel).
  static Growth of_text(size_t bytes);
  /// For ids to decode: real tokens are below 1 KiB.
  static Growth of_ids(size_t count);

  /// A step has produced a text of this length, finished or not.
  /// @throws Error{kUnsupported} it is longer than the output of any real step.
  void reach(size_t bytes) const {
    if (bytes > most_bytes_) refuse();
  }
  /// A step has finished a text of this length.
  /// @throws Error{kUnsupported} as reach, or all steps together produced more than real ones do.
  void made(size_t bytes) {
    reach(bytes);
    work_ += bytes + kEach;
    if (work_ > most_work_) refuse();
  }

 private:
  static constexpr size_t kEach = 16;  ///< cost of a piece beside its bytes
  Growth(size_t most_bytes, size_t most_work) : most_bytes_(most_bytes), most_work_(most_work) {}
  [[noreturn]] void refuse() const;

  size_t most_bytes_;
  size_t most_work_;
  size_t work_ = 0;
};

}  // namespace ram
