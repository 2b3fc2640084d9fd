// The safetensors container: bytes <-> named tensors. Independent of models.
//
// File: 8 bytes little-endian header length n, n bytes of JSON (may be padded with spaces), then
// the data. See docs/formats/safetensors.md.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ram/dtype.h"
#include "ram/file.h"
#include "ram/text.h"

namespace ram {

/// One tensor of a file. `begin` and `end` count from the start of the file, not of the data.
struct TensorInfo {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;  ///< each >= 0; empty for a scalar
  int64_t begin = 0;
  int64_t end = 0;

  int64_t elements() const;  ///< product of shape; cannot overflow (checked when parsed)
  int64_t bytes() const { return end - begin; }
};

/// @return "[2048, 768]", as in messages.
std::string shape_text(std::span<const int64_t> shape);

struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;              ///< in order of `begin`, then `end`, then name
  std::map<std::string, std::string> metadata;  ///< __metadata__
};

/// Parses and checks a header: lengths, JSON (no duplicate names, no deep nesting), dtypes, shapes
/// without overflow (at most 16 axes), offsets without overlaps or holes, within the file and
/// consistent with shape and dtype; 4 and 6 bit dtypes must fill whole bytes.
///
/// @param start the first bytes of the file: at least the 8 + n header bytes. Fewer only if the
///         file has no more.
/// @param file_bytes size of the whole file.
/// @param file named in messages.
/// @throws Error{kCorrupt} naming tensor, value found and what is allowed; {kUnsupported} unknown
/// dtype.
/// @cost O(header); a header above 100 MB is refused, as the format's own readers do.
/// @source https://github.com/huggingface/safetensors (README, "Format")
SafetensorsHeader parse_safetensors_header(std::span<const std::byte> start, int64_t file_bytes,
                                           const std::string& file);

/// Reads and parses the header of a file. @throws as above, and Error{kMissing}.
SafetensorsHeader read_safetensors_header(const std::filesystem::path& path);
SafetensorsHeader read_safetensors_header(const InputFile& file);

/// The input for writing a header: name, dtype and shape, in the order of the data.
struct TensorSpec {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;

  int64_t elements() const;
  int64_t bytes() const;
};

/// @return the first 8 + n bytes of a file with these tensors: the metadata, then the tensors in
///         the given order, padded with spaces so that the data starts at a multiple of 8.
std::string render_safetensors_header(std::span<const TensorSpec> tensors,
                                      const std::map<std::string, std::string>& metadata);

}  // namespace ram
