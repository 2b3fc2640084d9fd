// config.json: any text is refused clearly, or becomes a spelling that reads back as itself and a
// table of units that is refused because the tensors are missing.
#include "config.h"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "json_text.h"
#include "refusal.h"
#include "table.h"

namespace {

void read_as(const std::string& input, ram::Quantized quantized) {
  try {
    const ram::ParsedConfig config = ram::parse_config(input, "config.json", quantized);
    const std::string spelled = ram::render_json(config.spelled);
    if (ram::render_json(ram::parse_config(spelled, "again.json").spelled) != spelled) std::abort();
    if (config.model.layers.empty()) std::abort();
    ram::build_units(config, {}, {.folder = "fuzz"});
    std::abort();  // no model is complete without tensors
  } catch (const ram::Error& error) {
    ram::expect_clear(error);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  read_as(input, ram::Quantized::kRefuse);
  read_as(input, ram::Quantized::kAccept);
  return 0;
}
