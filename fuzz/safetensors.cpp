// The safetensors header: any bytes are refused clearly, or become tensors that tile the file and
// that are read back from a header written from them.
#include "ram/safetensors.h"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "refusal.h"

namespace {

void try_file(const std::string& start, int64_t file_bytes) {
  try {
    const ram::SafetensorsHeader header = ram::parse_safetensors_header(
        std::as_bytes(std::span(start)), file_bytes, "fuzz.safetensors");
    std::vector<ram::TensorSpec> specs;
    int64_t data = 0;
    for (const ram::TensorInfo& tensor : header.tensors) {
      if (tensor.begin < 8 || tensor.end > file_bytes || tensor.elements() < 0) std::abort();
      specs.push_back({tensor.name, tensor.dtype, tensor.shape});
      if (specs.back().bytes() != tensor.bytes()) std::abort();
      data += tensor.bytes();
    }
    const std::string again = ram::render_safetensors_header(specs, header.metadata);
    const ram::SafetensorsHeader copy = ram::parse_safetensors_header(
        std::as_bytes(std::span(again)), static_cast<int64_t>(again.size()) + data,
        "again.safetensors");
    if (copy.tensors.size() != header.tensors.size() || copy.metadata != header.metadata)
      std::abort();
  } catch (const ram::Error& error) {
    ram::expect_clear(error);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  try_file(input, static_cast<int64_t>(size));
  // JSON after a correct length, so that the fuzzer need not find one; with space for data.
  std::string framed;
  for (size_t i = 0; i < 8; ++i) framed += static_cast<char>((size >> (8 * i)) & 0xff);
  framed += input;
  try_file(framed, static_cast<int64_t>(framed.size()));
  try_file(framed, static_cast<int64_t>(framed.size()) + 64);
  return 0;
}
