// Parses the values of a request as users type them, and as request_options writes them.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ram/error.h"
#include "ram/number.h"
#include "ram/plan.h"
#include "ram/suggest.h"
#include "ram/text.h"

namespace ram {
namespace {

Role parse_role_option(const char* option, const std::string& text) {
  const auto role = parse_role(text);
  if (!role) {
    const auto names = role_names();
    fail(Code::kUsage, "{} {}: no such role{}; roles are {}", option, text,
         did_you_mean(text, names), fmt::join(names, ", "));
  }
  return *role;
}

}  // namespace

AffineFormat parse_format_option(const char* option, const std::string& text) {
  const auto format = parse_format(text);
  if (!format) {
    fail(Code::kUsage,
         "{} {}: a format is BITS:GROUP, bits 2, 3, 4, 5, 6 or 8, group 32, 64 or 128", option,
         text);
  }
  return *format;
}

std::vector<AffineFormat> parse_menu(const std::string& text) {
  std::vector<AffineFormat> menu;
  for (const std::string& format : split(text, ',')) {
    menu.push_back(parse_format_option("--menu", format));
  }
  return menu;
}

std::set<Role> parse_keep(const std::string& text) {
  std::set<Role> keep;
  if (text == "none") return keep;
  for (const std::string& name : split(text, ',')) keep.insert(parse_role_option("--keep", name));
  return keep;
}

Pin parse_pin(const std::string& text) {
  const size_t at = text.rfind('=');
  if (at == std::string::npos || at == 0 || at + 1 == text.size()) {
    fail(Code::kUsage, "--pin {}: use PATTERN=FORMAT, such as '*.down_proj=6:64' or 'lm_head=bf16'",
         text);
  }
  const std::string format = text.substr(at + 1);
  Pin pin{.pattern = text.substr(0, at), .format = {}};
  if (!parse_weight_dtype(format)) pin.format = parse_format_option("--pin", format);
  return pin;
}

void parse_prior(const std::string& text, PlanRequest& request) {
  const size_t at = text.find('=');
  const std::string name = text.substr(0, at);
  const double value = at == std::string::npos ? 0 : parse_number(text.substr(at + 1)).value_or(0);
  if (!(value > 0) || value > kLargestPrior) {
    fail(Code::kUsage,
         "--prior {}: use ROLE=X with X above 0 and at most {:g}, such as head=10 (--keep leaves a "
         "role "
         "unquantized)",
         text, kLargestPrior);
  }
  if (name == "first_layer") {
    request.priors.first_layer = value;
  } else if (name == "last_layer") {
    request.priors.last_layer = value;
  } else {
    request.priors.roles[parse_role_option("--prior", name)] = value;
  }
}

}  // namespace ram
