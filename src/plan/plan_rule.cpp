#include "plan_rule.h"

#include "ram/error.h"
#include "ram/text.h"

namespace ram {

bool is_plan_name(std::string_view text) {
  return text.size() <= kLongestName && printable(text, kLongestName) == text;
}

std::string to_plan_name(std::string_view text) {
  constexpr size_t kDots = 3;  // appended by printable to truncated text
  return printable(text, kLongestName - kDots);
}

void expect_readable(const Plan& plan) {
  try {
    (void)parse_plan(render_plan(plan), "plan.json");
  } catch (const Error& error) {
    fail(Code::kUsage, "the plan cannot be written so that it can be read again ({})",
         error.what());
  }
}

}  // namespace ram
