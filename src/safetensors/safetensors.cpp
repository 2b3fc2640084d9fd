// Reads a safetensors header: JSON events become tensors directly. Every number is checked, so that
// later uses of shapes and offsets are safe.
#include "ram/safetensors.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdint>
#include <cstring>
#include <optional>
#include <tuple>
#include <utility>

#include "ram/error.h"
#include "ram/file.h"
#include "ram/json.h"
#include "ram/size.h"

namespace ram {
namespace {

// @source https://github.com/huggingface/safetensors, safetensors/src/tensor.rs, MAX_HEADER_SIZE
constexpr int64_t kMaxHeaderBytes = 100'000'000;
constexpr int64_t kLengthBytes = 8;
// Our own limit: no model has tensors of more axes, and a list of a million sizes is an attack on
// memory.
constexpr size_t kMaxAxes = 16;

/// Bytes of a tensor, or nothing if they overflow or do not fill whole bytes (4 and 6 bit dtypes).
std::optional<int64_t> checked_bytes(std::span<const int64_t> shape, DType dtype) {
  // A zero makes the product zero, but the other sizes must multiply without overflow nevertheless:
  // callers may multiply in another order.
  int64_t elements = 1;
  bool empty = false;
  for (const int64_t size : shape) {
    empty = empty || size == 0;
    const auto product = checked_mul(elements, std::max<int64_t>(size, 1));
    if (!product) return std::nullopt;
    elements = *product;
  }
  if (empty) return 0;
  const auto bits = checked_mul(elements, dtype_bits(dtype));
  if (!bits || *bits % 8 != 0) return std::nullopt;
  return *bits / 8;
}

int64_t product(std::span<const int64_t> shape) {
  int64_t elements = 1;
  for (const int64_t size : shape) elements *= size;
  return elements;
}

/// Receives the JSON events of a header (nlohmann's SAX interface) and fails at the first
/// unexpected one, so that a hostile header cannot use up memory.
class HeaderEvents {
 public:
  HeaderEvents(SafetensorsHeader& header, const std::string& file) : header_(header), file_(file) {}

  bool start_object(size_t /*elements*/) {
    switch (place_) {
      case Place::kStart:
        place_ = Place::kTop;
        return true;
      case Place::kTopValue:
        place_ = in_metadata_ ? Place::kMetadata : Place::kTensor;
        return true;
      default:
        unexpected("an object");
    }
  }

  bool end_object() {
    switch (place_) {
      case Place::kTop:
        place_ = Place::kEnd;
        return true;
      case Place::kMetadata:
        place_ = Place::kTop;
        return true;
      default:  // kTensor: the parser allows the end of an object nowhere else
        finish_tensor();
        place_ = Place::kTop;
        return true;
    }
  }

  bool key(std::string& name) {
    switch (place_) {
      case Place::kTop:
        in_metadata_ = name == "__metadata__";
        if (in_metadata_ && std::exchange(metadata_seen_, true)) {
          fail(Code::kCorrupt, "__metadata__ appears twice in the header ({})", file_);
        }
        tensor_ = {};
        seen_ = {};
        tensor_.name = std::move(name);
        place_ = Place::kTopValue;
        return true;
      case Place::kMetadata:
        metadata_key_ = std::move(name);
        place_ = Place::kMetadataValue;
        return true;
      default:
        open_field(name);
        return true;
    }
  }

  bool start_array(size_t /*elements*/) {
    if (place_ == Place::kShape || place_ == Place::kOffsets) {
      if (std::exchange(in_array_, true)) unexpected("a list");
      return true;
    }
    unexpected("a list");
  }

  bool end_array() {
    in_array_ = false;
    place_ = Place::kTensor;
    return true;
  }

  bool string(std::string& text) {
    if (place_ == Place::kMetadataValue) {
      if (!header_.metadata.emplace(std::move(metadata_key_), std::move(text)).second) {
        fail(Code::kCorrupt, "a key of __metadata__ appears twice ({})", file_);
      }
      place_ = Place::kMetadata;
      return true;
    }
    if (place_ != Place::kDType) unexpected("a string");
    const auto dtype = parse_dtype(text);
    if (!dtype) {
      fail(Code::kUnsupported,
           "tensor {}: unknown dtype '{}': use a dtype of the format, such as BF16, F16 or F32 "
           "({})",
           printable(tensor_.name), printable(text), file_);
    }
    tensor_.dtype = *dtype;
    place_ = Place::kTensor;
    return true;
  }

  bool number_unsigned(uint64_t value) {
    if (!in_array_) unexpected("a number");
    if (value > static_cast<uint64_t>(INT64_MAX)) bad_number(std::to_string(value));
    if (place_ == Place::kShape) {
      if (tensor_.shape.size() == kMaxAxes) {
        fail(Code::kCorrupt, "tensor {}: more than {} axes ({})", printable(tensor_.name), kMaxAxes,
             file_);
      }
      tensor_.shape.push_back(static_cast<int64_t>(value));
    } else {
      if (offset_count_ == 2) offsets_wrong();
      (offset_count_ == 0 ? tensor_.begin : tensor_.end) = static_cast<int64_t>(value);
      ++offset_count_;
    }
    return true;
  }

  bool number_integer(int64_t value) { bad_number(std::to_string(value)); }  // only negative ones
  bool number_float(double /*value*/, const std::string& text) { bad_number(text); }
  bool boolean(bool /*value*/) { unexpected("true or false"); }

  bool null() {
    if (place_ != Place::kTopValue || !in_metadata_) unexpected("null");
    place_ = Place::kTop;
    return true;
  }

  bool binary(std::vector<uint8_t>& /*bytes*/) { unexpected("binary data"); }

  bool parse_error(size_t position, const std::string& /*token*/,
                   const nlohmann::detail::exception& /*error*/) {
    fail(Code::kCorrupt, "the header is not valid JSON at its byte {}: the file is damaged ({})",
         position, file_);
  }

 private:
  /// Where in the header the next event is; the names of tensors are keys of kTop.
  enum class Place {
    kStart,
    kTop,
    kTopValue,
    kTensor,
    kDType,
    kShape,
    kOffsets,
    kMetadata,
    kMetadataValue,
    kEnd
  };

  void open_field(const std::string& name) {
    struct Field {
      std::string_view name;
      Place place;
    };
    static constexpr std::array<Field, 3> kFields = {
        {{"dtype", Place::kDType}, {"shape", Place::kShape}, {"data_offsets", Place::kOffsets}}};
    for (size_t i = 0; i < kFields.size(); ++i) {
      if (kFields[i].name != name) continue;
      if (std::exchange(seen_[i], true)) {
        fail(Code::kCorrupt, "tensor {}: '{}' appears twice ({})", printable(tensor_.name), name,
             file_);
      }
      place_ = kFields[i].place;
      if (place_ == Place::kOffsets) offset_count_ = 0;
      return;
    }
    fail(Code::kCorrupt,
         "tensor {}: unknown key '{}': dtype, shape and data_offsets are allowed ({})",
         printable(tensor_.name), printable(name), file_);
  }

  void finish_tensor() {
    if (!seen_[0] || !seen_[1] || !seen_[2]) {
      fail(Code::kCorrupt, "tensor {}: {} is missing ({})", printable(tensor_.name),
           !seen_[0]   ? "dtype"
           : !seen_[1] ? "shape"
                       : "data_offsets",
           file_);
    }
    if (offset_count_ != 2) offsets_wrong();
    header_.tensors.push_back(std::move(tensor_));
  }

  [[noreturn]] void unexpected(std::string_view what) const {
    fail(Code::kCorrupt,
         "{} is unexpected in the header (at tensor '{}'): allowed are "
         "\"name\": {{dtype, shape, data_offsets}} and __metadata__ with strings ({})",
         what, printable(tensor_.name), file_);
  }

  [[noreturn]] void bad_number(const std::string& text) const {
    if (!in_array_) unexpected("a number");
    fail(Code::kCorrupt, "tensor {}: {} in {}: plain integers from 0 to 2^63 - 1 are allowed ({})",
         printable(tensor_.name), printable(text),
         place_ == Place::kShape ? "its shape" : "its data_offsets", file_);
  }

  [[noreturn]] void offsets_wrong() const {
    fail(Code::kCorrupt, "tensor {}: data_offsets must be two numbers ({})",
         printable(tensor_.name), file_);
  }

  SafetensorsHeader& header_;
  const std::string& file_;
  Place place_ = Place::kStart;
  bool in_metadata_ = false;
  bool metadata_seen_ = false;
  bool in_array_ = false;
  int offset_count_ = 0;
  std::array<bool, 3> seen_ = {};
  TensorInfo tensor_;
  std::string metadata_key_;
};

int64_t header_length(std::span<const std::byte> start, int64_t file_bytes,
                      const std::string& file) {
  if (file_bytes < kLengthBytes) {
    fail(Code::kCorrupt,
         "{} bytes are not a safetensors file, which begins with an 8-byte length ({})", file_bytes,
         file);
  }
  RAM_CHECK(static_cast<int64_t>(start.size()) >= kLengthBytes);
  uint64_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) {
    length |= static_cast<uint64_t>(std::to_integer<uint8_t>(start[i])) << (8 * i);
  }
  // How a Git LFS pointer begins: a clone without LFS has one in place of each large file.
  constexpr std::string_view kLfsPointer = "version ";
  if (std::memcmp(start.data(), kLfsPointer.data(), kLfsPointer.size()) == 0) {
    fail(Code::kMissing, "the file is only a Git LFS pointer: fetch it with `git lfs pull` ({})",
         file);
  }
  if (length > static_cast<uint64_t>(kMaxHeaderBytes)) {
    fail(Code::kCorrupt,
         "header of {} bytes: at most {} are allowed; this is not a safetensors file ({})", length,
         kMaxHeaderBytes, file);
  }
  const auto bytes = static_cast<int64_t>(length);
  if (bytes > file_bytes - kLengthBytes) {
    fail(Code::kCorrupt,
         "header of {} bytes in a file of {}: the file is truncated, fetch it again ({})", bytes,
         file_bytes, file);
  }
  if (bytes < 2) {
    fail(Code::kCorrupt,
         "header of {} bytes: at least 2 are required; this is not a safetensors file ({})", bytes,
         file);
  }
  return bytes;
}

void refuse_duplicates(const std::vector<TensorInfo>& tensors, const std::string& file) {
  std::vector<std::string_view> names;
  names.reserve(tensors.size());
  for (const TensorInfo& tensor : tensors) names.emplace_back(tensor.name);
  std::sort(names.begin(), names.end());
  const auto twin = std::adjacent_find(names.begin(), names.end());
  if (twin != names.end()) {
    fail(Code::kCorrupt, "tensor {} appears twice in the header ({})", printable(*twin), file);
  }
}

void check_layout(std::vector<TensorInfo>& tensors, int64_t data_start, int64_t file_bytes,
                  const std::string& file) {
  const int64_t data_bytes = file_bytes - data_start;
  for (TensorInfo& tensor : tensors) {
    const std::string name = printable(tensor.name);
    if (tensor.end < tensor.begin) {
      fail(Code::kCorrupt, "tensor {}: data_offsets [{}, {}] are reversed ({})", name, tensor.begin,
           tensor.end, file);
    }
    if (tensor.end > data_bytes) {
      fail(Code::kCorrupt,
           "tensor {}: data_offsets [{}, {}] reach past the {} bytes of data: the file "
           "is truncated, fetch it again ({})",
           name, tensor.begin, tensor.end, data_bytes, file);
    }
    const auto bytes = checked_bytes(tensor.shape, tensor.dtype);
    if (!bytes) {
      fail(Code::kCorrupt, "tensor {}: shape {} of {} overflows or does not fill whole bytes ({})",
           name, shape_text(tensor.shape), dtype_name(tensor.dtype), file);
    }
    if (*bytes != tensor.end - tensor.begin) {
      fail(Code::kCorrupt,
           "tensor {}: shape {} of {} is {} bytes, data_offsets [{}, {}] are {} ({})", name,
           shape_text(tensor.shape), dtype_name(tensor.dtype), *bytes, tensor.begin, tensor.end,
           tensor.end - tensor.begin, file);
    }
  }
  std::sort(tensors.begin(), tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  int64_t position = 0;
  for (TensorInfo& tensor : tensors) {
    if (tensor.begin != position) {
      fail(Code::kCorrupt, "tensor {}: begins at byte {} of the data, {}: byte {} is expected ({})",
           printable(tensor.name), tensor.begin,
           tensor.begin < position ? "overlapping its neighbour" : "leaving a hole", position,
           file);
    }
    position = tensor.end;
    tensor.begin += data_start;
    tensor.end += data_start;
  }
  if (position != data_bytes) {
    fail(Code::kCorrupt, "{} bytes of data, but the tensors cover {}: the file is damaged ({})",
         data_bytes, position, file);
  }
}

}  // namespace

std::string shape_text(std::span<const int64_t> shape) {
  std::string text = "[";
  for (const int64_t size : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + "]";
}

int64_t TensorInfo::elements() const {
  return product(shape);
}

SafetensorsHeader parse_safetensors_header(std::span<const std::byte> start, int64_t file_bytes,
                                           const std::string& file) {
  const int64_t length = header_length(start, file_bytes, file);
  RAM_CHECK(static_cast<int64_t>(start.size()) >= kLengthBytes + length);
  const auto json = start.subspan(kLengthBytes, static_cast<size_t>(length));
  // The parser below would skip white space and a byte order mark; the format does not allow them.
  if (json.front() != std::byte{'{'}) {
    fail(Code::kCorrupt, "the header does not begin with '{{': this is not a safetensors file ({})",
         file);
  }
  SafetensorsHeader header;
  HeaderEvents events(header, file);
  const auto* text = reinterpret_cast<const char*>(json.data());
  nlohmann::json::sax_parse(text, text + json.size(), &events);
  refuse_duplicates(header.tensors, file);
  check_layout(header.tensors, kLengthBytes + length, file_bytes, file);
  return header;
}

SafetensorsHeader read_safetensors_header(const InputFile& file) {
  const std::string name = file.path().string();
  std::vector<std::byte> start(static_cast<size_t>(std::min(file.size(), kLengthBytes)));
  file.read(0, start);
  const int64_t length = header_length(start, file.size(), name);
  start.resize(static_cast<size_t>(kLengthBytes + length));
  file.read(0, start);
  return parse_safetensors_header(start, file.size(), name);
}

SafetensorsHeader read_safetensors_header(const std::filesystem::path& path) {
  return read_safetensors_header(InputFile(path));
}

int64_t TensorSpec::elements() const {
  return product(shape);
}

int64_t TensorSpec::bytes() const {
  const auto bytes = checked_bytes(shape, dtype);
  RAM_CHECK(bytes.has_value());
  return *bytes;
}

}  // namespace ram
