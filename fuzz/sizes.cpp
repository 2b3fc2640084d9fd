// Typed sizes, priors, pins, menus and roles: each is refused clearly, or is within its range.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "ram/size.h"

#include "planning.h"
#include "refusal.h"

namespace {

template <typename Act>
void refuse_or(const Act& act) {
  try {
    act();
  } catch (const ram::Error& error) {
    if (error.code() != ram::Code::kUsage) std::abort();
  }
}

void plan_with(ram::cli::PlanningArguments arguments) {
  refuse_or([&] {
    const ram::PlanRequest request = ram::cli::parse_planning(arguments, true).request;
    for (const auto& [role, prior] : request.priors.roles) {
      if (!(prior > 0 && prior <= ram::kLargestPrior)) std::abort();
    }
    (void)ram::request_options(request);
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr size_t kLongest = 200;  // a command line's words are short
  const std::string input(reinterpret_cast<const char*>(data), std::min(size, kLongest));
  refuse_or([&] {
    const ram::Size parsed = ram::parse_size(input);
    constexpr int64_t kWhole = int64_t{1} << 62;
    const bool share = parsed.share != 0;
    if (share ? parsed.share < 0 || parsed.share > ram::Size::kWhole : parsed.bytes <= 0) {
      std::abort();
    }
    if (parsed.resolve(kWhole) < 0 || parsed.resolve(kWhole) > kWhole) std::abort();
    if (!share && ram::parse_size(std::to_string(parsed.bytes)).bytes != parsed.bytes) std::abort();
  });
  plan_with({.budget = input});
  plan_with({.uniform = input});
  plan_with({.budget = "1GB", .priors = {input, "head=" + input}});
  plan_with({.budget = "1GB", .menu = input});
  plan_with({.budget = "1GB", .keep = input});
  plan_with({.budget = "1GB", .pins = {input, "lm_head=" + input, input + "=4:64"}});
  return 0;
}
