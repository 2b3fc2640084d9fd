#include "ram/arguments.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <optional>
#include <type_traits>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "ram/number.h"
#include "ram/text.h"

namespace ram::cli {
namespace {

// "squared|ram|FILE": parts without capitals are literal values.
std::vector<std::string> words_of(const std::string& type) {
  std::vector<std::string> words;
  if (type.find('|') == std::string::npos) return words;
  for (const std::string& word : split(type, '|')) {
    const bool capitals =
        std::any_of(word.begin(), word.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
    if (!capitals) words.push_back(word);
  }
  return words;
}

// Decided by the last part of the type name: "own|random|FILE", "MODELS".
Takes takes_of(const std::string& type) {
  const std::string last = type.substr(type.rfind('|') + 1);
  if (last == "FILE") return Takes::kFile;
  if (last == "FOLDER" || last == "OUT") return Takes::kFolder;
  if (last == "MODEL" || last == "MODELS") return Takes::kModel;
  if (last == "PLAN") return Takes::kPlan;
  return Takes::kText;
}

std::string wrong_integer(const std::string& text, bool is_signed) {
  const std::string_view digits = std::string_view(text).substr(text.starts_with('-') ? 1 : 0);
  const bool whole = !digits.empty() && digits.find_first_not_of("0123456789") == digits.npos;
  if (!whole) return fmt::format("'{}' is no whole number", text);
  if (!is_signed && text.starts_with('-')) return fmt::format("{} is below 0", text);
  return {};
}

template <typename T>
std::string wrong_number(const std::string& text) {
  std::string wrong = wrong_integer(text, std::is_signed_v<T>);
  if (!wrong.empty()) return wrong;
  T value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() ? std::string() : fmt::format("{} is too large", text);
}

std::string wrong_real(const std::string& text) {
  return parse_number(text) ? std::string() : fmt::format("'{}' is not a number", text);
}

}  // namespace

Option& Option::type_name(const std::string& name) {
  option_->type_name(name);
  value_->type = name;
  if (value_->takes == Takes::kText) value_->takes = takes_of(name);
  if (value_->words.empty()) value_->words = words_of(name);
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
  option_->check([least, most](const std::string& text) {
    int64_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    if (value >= least && value <= most) return std::string();
    return fmt::format("{} is outside {} to {}", text, least, most);
  });
  return *this;
}

Option& Option::check(std::string (*function)(const std::string& text)) {
  option_->check(function);
  return *this;
}

Option& Option::takes(Takes takes) {
  value_->takes = takes;
  return *this;
}

Option& Option::writes(Content content) {
  value_->takes = Takes::kOutputFile;
  value_->content = content;
  return *this;
}

Option& Option::words(std::vector<std::string> words, bool list) {
  value_->words = std::move(words);
  value_->list = list;
  return *this;
}

template <typename T>
Option Arguments::add_option(const std::string& names, T& value, const std::string& help) {
  CLI::Option* option = app_->add_option(names, value, help);
  Option::Value& said = (*values_)[option];
  said.option = option;
  if (names.front() != '-') said.takes = takes_of(names);
  if constexpr (std::is_same_v<T, std::string>) said.one = &value;
  if constexpr (std::is_same_v<T, std::vector<std::string>>) said.several = &value;
  // The parser's own messages for these have another form than ours.
  if constexpr (std::is_integral_v<T>) option->check(wrong_number<T>);
  if constexpr (std::is_same_v<T, std::optional<uint64_t>>) option->check(wrong_number<uint64_t>);
  if constexpr (std::is_same_v<T, std::optional<int64_t>>) option->check(wrong_number<int64_t>);
  if constexpr (std::is_same_v<T, double> || std::is_same_v<T, std::optional<double>>) {
    option->check(wrong_real);
  }
  return {option, &said};
}

template Option Arguments::add_option(const std::string&, std::string&, const std::string&);
template Option Arguments::add_option(const std::string&, int&, const std::string&);
template Option Arguments::add_option(const std::string&, int64_t&, const std::string&);
template Option Arguments::add_option(const std::string&, uint64_t&, const std::string&);
template Option Arguments::add_option(const std::string&, double&, const std::string&);
template Option Arguments::add_option(const std::string&, std::optional<double>&,
                                      const std::string&);
template Option Arguments::add_option(const std::string&, std::optional<int64_t>&,
                                      const std::string&);
template Option Arguments::add_option(const std::string&, std::optional<uint64_t>&,
                                      const std::string&);
template Option Arguments::add_option(const std::string&, std::vector<std::string>&,
                                      const std::string&);

Option Arguments::add_flag(const std::string& names, bool& value, const std::string& help) {
  CLI::Option* option = app_->add_flag(names, value, help);
  Option::Value& said = (*values_)[option];
  said.option = option;
  return {option, &said};
}

std::vector<OptionInfo> Arguments::options() const {
  std::vector<OptionInfo> all;
  for (const CLI::Option* option : app_->get_options()) {
    OptionInfo info;
    info.help = option->get_description();
    info.takes_value = option->get_items_expected_max() > 0;
    info.group = option->get_group();
    for (const std::string& name : option->get_lnames()) info.names.push_back("--" + name);
    for (const std::string& name : option->get_snames()) info.names.push_back("-" + name);
    if (info.names.empty()) {
      info.positional = true;
      info.names = {option->get_name()};
    }
    const auto said = values_->find(option);
    if (said != values_->end()) {
      info.takes = said->second.takes;
      info.words = said->second.words;
      info.list = said->second.list;
      info.type = said->second.type;
    }
    all.push_back(std::move(info));
  }
  return all;
}

std::string Arguments::missing() const {
  for (const CLI::Option* option : app_->get_options()) {
    const auto count = static_cast<int>(option->results().size());
    const bool positional = option->get_lnames().empty() && option->get_snames().empty();
    const std::string name = option->get_name();
    const auto said = values_->find(option);
    const std::string type = said == values_->end() ? "" : said->second.type;
    if (option->get_required() && count == 0) {
      if (!positional) return fmt::format("{} is missing: give {} {}", name, name, type);
      return fmt::format("{} is missing", type.empty() ? name : type);
    }
    if (positional && count > 0 && count < option->get_items_expected_min()) {
      return fmt::format("{} needs at least {} names, but {} is given", type,
                         option->get_items_expected_min(), count);
    }
  }
  return {};
}

void Arguments::expand_home() {
  const char* home = std::getenv("HOME");
  if (home == nullptr || *home == '\0') return;
  const auto expand = [home](std::string& path) {
    std::error_code ignored;
    const bool tilde = path == "~" || path.starts_with("~/");
    if (tilde && !std::filesystem::exists(std::filesystem::symlink_status("~", ignored))) {
      path = home + path.substr(1);
    }
  };
  for (auto& [option, value] : *values_) {
    if (value.takes == Takes::kText || option->results().empty()) continue;
    if (value.one != nullptr) expand(*value.one);
    if (value.several == nullptr) continue;
    for (std::string& path : *value.several) expand(path);
  }
}

std::vector<PathArgument> Arguments::paths() const {
  std::vector<PathArgument> paths;
  for (const CLI::Option* option : app_->get_options()) {
    const auto said = values_->find(option);
    if (said == values_->end() || option->results().empty()) continue;
    const Option::Value& value = said->second;
    if (value.takes == Takes::kText || value.takes == Takes::kStudy) continue;
    const auto add = [&](const std::string& path) {
      const bool word = std::find(value.words.begin(), value.words.end(), path) !=
                        value.words.end();  // "--calibration own"
      if (word) return;
      paths.push_back({option->get_name(), path, value.takes, value.content});
    };
    if (value.one != nullptr) add(*value.one);
    if (value.several == nullptr) continue;
    for (const std::string& path : *value.several) add(path);
  }
  return paths;
}

Arguments Arguments::sibling(const std::string& command) const {
  return {*app_->get_parent()->get_subcommand(command), *values_};
}

}  // namespace ram::cli
