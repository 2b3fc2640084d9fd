// config.json: any text is refused clearly, or becomes a spelling that reads as itself and a table
// of units that is refused for want of tensors.
#include "config.h"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "json_text.h"
#include "refusal.h"
#include "table.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  try {
    const ram::ParsedConfig config = ram::parse_config(input, "config.json");
    const std::string spelled = ram::render_json(config.spelled);
    if (ram::render_json(ram::parse_config(spelled, "again.json").spelled) != spelled) std::abort();
    ram::build_units(config, {}, "fuzz");
    std::abort();  // no model is complete without tensors
  } catch (const ram::Error& error) {
    ram::expect_clear(error);
  }
  return 0;
}
