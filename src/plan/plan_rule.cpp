#include "plan_rule.h"

#include "ram/error.h"
#include "ram/utf8.h"

namespace ram {

bool is_plan_name(std::string_view text) {
  return text.size() <= kLongestName && one_line(text) == text;
}

std::string to_plan_name(std::string_view text) {
  std::string name = one_line(text);
  if (name.size() > kLongestName) name.resize(utf8_previous(name, kLongestName + 1));
  return name;
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
