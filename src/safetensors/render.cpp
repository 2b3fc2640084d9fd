// Writes a safetensors header. The text is formatted field by field: a plan promises its exact
// bytes, so they must not depend on a JSON library's formatting.
#include <string>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ram/error.h"
#include "ram/json_text.h"
#include "ram/safetensors.h"
#include "ram/size.h"

namespace ram {
namespace {

std::string sizes_text(std::span<const int64_t> sizes) {
  return fmt::format("[{}]", fmt::join(sizes.begin(), sizes.end(), ","));
}

}  // namespace

std::string render_safetensors_header(std::span<const TensorSpec> tensors,
                                      const std::map<std::string, std::string>& metadata) {
  std::string json = "{";
  if (!metadata.empty()) {
    json += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) {
      if (json.back() != '{') json += ',';
      json += json_quoted(key) + ":" + json_quoted(value);
    }
    json += '}';
  }
  int64_t begin = 0;
  for (const TensorSpec& tensor : tensors) {
    const auto end = checked_add(begin, tensor.bytes());
    RAM_CHECK(end.has_value());
    if (json.size() > 1) json += ',';
    json += fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":{},\"data_offsets\":[{},{}]}}",
                        json_quoted(tensor.name), dtype_name(tensor.dtype),
                        sizes_text(tensor.shape), begin, *end);
    begin = *end;
  }
  json += '}';
  // The length field has 8 bytes, so the header's length must be a multiple of 8 too.
  // @source https://github.com/huggingface/safetensors, safetensors/src/tensor.rs, `prepare`
  while (json.size() % 8 != 0) json += ' ';
  std::string bytes;
  for (size_t i = 0; i < 8; ++i) bytes += static_cast<char>((json.size() >> (8 * i)) & 0xff);
  return bytes + json;
}

}  // namespace ram
