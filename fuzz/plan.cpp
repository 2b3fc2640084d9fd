// plan.json: any text is refused clearly, or becomes a plan whose text reads back as the same plan.
#include "ram/plan.h"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "refusal.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  try {
    const std::string text = ram::render_plan(ram::parse_plan(input, "plan.json"));
    if (ram::render_plan(ram::parse_plan(text, "again.json")) != text) std::abort();
  } catch (const ram::Error& error) {
    // A format that does not exist is a mistake in editing the plan: kUsage, not kCorrupt.
    if (error.code() != ram::Code::kUsage) ram::expect_clear(error);
  }
  return 0;
}
