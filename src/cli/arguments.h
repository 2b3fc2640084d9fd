// What a subcommand adds to the command line. The parser (CLI11) stays behind this header: each
// source that included its headers took six seconds more to compile.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace CLI {  // NOLINT(readability-identifier-naming): theirs
class App;
class Option;
}  // namespace CLI

namespace ram::cli {

/// An option that was just added, to say more about it: app.add_option(...).type_name("N").
class Option {
 public:
  explicit Option(CLI::Option* option) : option_(option) {}

  /// What help shows in place of the value. "a|b" lists the values there are.
  Option& type_name(const std::string& name);
  /// The heading under which help lists it.
  Option& group(const std::string& name);
  Option& required(bool yes = true);
  /// How many values it takes, at least and at most.
  Option& expected(int least, int most);
  /// One value each time it is given, for options that are given again and again.
  Option& one_value_each();
  /// Numbers from `least` to `most`.
  Option& range(int64_t least, int64_t most);
  /// @param function from the text to what is wrong with it; empty: nothing.
  Option& check(std::string (*function)(const std::string& text));

 private:
  CLI::Option* option_;
};

struct OptionInfo {
  std::vector<std::string> names;  ///< "--study", "-o"
  std::string help;
  bool takes_value = false;
  std::string type_name;
};

/// The options and positional arguments of one (sub)command. A view: copies add to the same one.
class Arguments {
 public:
  explicit Arguments(CLI::App& app) : app_(&app) {}

  /// @param names "-o,--output", or the name of a positional argument.
  /// @param value where the value goes when the command line is read; it outlives that. Of type
  ///              std::string, int, int64_t, uint64_t, double, std::optional<double>,
  ///              std::optional<uint64_t> or std::vector<std::string>.
  template <typename T>
  Option add_option(const std::string& names, T& value, const std::string& help);
  Option add_flag(const std::string& names, bool& value, const std::string& help);

  /// @return the options, without positional arguments.
  std::vector<OptionInfo> options() const;
  /// @return the arguments of another command of the same program. @pre there is such a command.
  Arguments sibling(const std::string& command) const;

 private:
  CLI::App* app_;
};

}  // namespace ram::cli
