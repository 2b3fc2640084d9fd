#include "arguments.h"

#include <optional>

#include <CLI/CLI.hpp>

namespace ram::cli {

Option& Option::type_name(const std::string& name) {
  option_->type_name(name);
  return *this;
}

Option& Option::group(const std::string& name) {
  option_->group(name);
  return *this;
}

Option& Option::required(bool yes) {
  option_->required(yes);
  return *this;
}

Option& Option::expected(int least, int most) {
  option_->expected(least, most);
  return *this;
}

Option& Option::one_value_each() {
  option_->allow_extra_args(false);
  return *this;
}

Option& Option::range(int64_t least, int64_t most) {
  option_->check(CLI::Range(least, most));
  return *this;
}

Option& Option::check(std::string (*function)(const std::string& text)) {
  option_->check(function);
  return *this;
}

template <typename T>
Option Arguments::add_option(const std::string& names, T& value, const std::string& help) {
  return Option(app_->add_option(names, value, help));
}

template Option Arguments::add_option(const std::string&, std::string&, const std::string&);
template Option Arguments::add_option(const std::string&, int&, const std::string&);
template Option Arguments::add_option(const std::string&, int64_t&, const std::string&);
template Option Arguments::add_option(const std::string&, uint64_t&, const std::string&);
template Option Arguments::add_option(const std::string&, double&, const std::string&);
template Option Arguments::add_option(const std::string&, std::optional<double>&,
                                      const std::string&);
template Option Arguments::add_option(const std::string&, std::optional<uint64_t>&,
                                      const std::string&);
template Option Arguments::add_option(const std::string&, std::vector<std::string>&,
                                      const std::string&);

Option Arguments::add_flag(const std::string& names, bool& value, const std::string& help) {
  return Option(app_->add_flag(names, value, help));
}

std::vector<OptionInfo> Arguments::options() const {
  std::vector<OptionInfo> all;
  for (const CLI::Option* option : app_->get_options()) {
    OptionInfo info = {.names = {},
                       .help = option->get_description(),
                       .takes_value = option->get_items_expected_max() > 0,
                       .type_name = option->get_type_name()};
    for (const std::string& name : option->get_lnames()) info.names.push_back("--" + name);
    for (const std::string& name : option->get_snames()) info.names.push_back("-" + name);
    if (!info.names.empty()) all.push_back(std::move(info));
  }
  return all;
}

Arguments Arguments::sibling(const std::string& command) const {
  return Arguments(*app_->get_parent()->get_subcommand(command));
}

}  // namespace ram::cli
