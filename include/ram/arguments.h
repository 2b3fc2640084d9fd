// What a subcommand adds to the command line. Part of the module `command_line`. The parser (CLI11)
// stays behind this header: a source that includes CLI11's headers takes six seconds longer to
// compile.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace CLI {  // NOLINT(readability-identifier-naming): CLI11's name
class App;
class Option;
}  // namespace CLI

namespace ram::cli {

/// The kind of value that an option takes: decides what completion offers, and which files must not
/// be overwritten.
enum class Takes : uint8_t {
  kText,           ///< a number, a name, one of `words`
  kModel,          ///< a model's folder, or an id in the local cache; read
  kFolder,         ///< a folder that is read
  kFile,           ///< a file that is read, or a folder of such files
  kPlan,           ///< plan.json or a folder with one; read before anything is written
  kStudy,          ///< the study, written to
  kOutputFile,     ///< a file that is written, "-" for stdout
  kOutputFolder,   ///< a folder that is written, whole
  kOutputFolders,  ///< a folder in which folders are written
};

/// What an output file contains: it does not replace a file that ram wrote with other contents.
enum class Content : uint8_t { kCurves, kPlan, kPage, kLogits, kPrompts };

/// An option that was just added, for setting its properties: app.add_option(...).type_name("N").
class Option {
 public:
  struct Value;
  Option(CLI::Option* option, Value* value) : option_(option), value_(value) {}

  /// What help shows in place of the value. "a|b" lists the possible values; FILE, FOLDER, MODEL
  /// and PLAN say what the option takes; N or X mean a number.
  Option& type_name(const std::string& name);
  /// The heading under which help lists it.
  Option& group(const std::string& name);
  Option& required(bool yes = true);
  /// The least and the greatest number of values.
  Option& expected(int least, int most);
  /// Takes one value each time it is given, for options that may be repeated.
  Option& one_value_each();
  /// Numbers from `least` to `most`.
  Option& range(int64_t least, int64_t most);
  /// @param function returns what is wrong with the text; empty: nothing.
  Option& check(std::string (*function)(const std::string& text));
  /// What it takes, if the type's name does not say so.
  Option& takes(Takes takes);
  /// A file that is written.
  Option& writes(Content content);
  /// Values for completion, besides those that the type's name lists; with `list`, several
  /// separated by commas.
  Option& words(std::vector<std::string> words, bool list = false);

 private:
  CLI::Option* option_;
  Value* value_;
};

/// The properties of one option or positional argument.
struct Option::Value {
  Takes takes = Takes::kText;
  Content content = Content::kPage;  ///< of an output file
  std::vector<std::string> words;
  bool list = false;           ///< several words, separated by commas
  std::string* one = nullptr;  ///< where the value is stored, if it is text
  std::vector<std::string>* several = nullptr;
  CLI::Option* option = nullptr;
  std::string type;  ///< as given to type_name
};

struct OptionInfo {
  std::vector<std::string> names;  ///< "--study", "-o"
  std::string help;
  bool takes_value = false;
  bool positional = false;  ///< names holds one name, without dashes
  Takes takes = Takes::kText;
  std::vector<std::string> words;  ///< possible values, for completion
  bool list = false;               ///< several of them, separated by commas
  std::string group;
  std::string type;  ///< what help shows in place of the value
};

/// A path on the command line, and what the command does with it.
struct PathArgument {
  std::string option;  ///< "--csv", or the name of a positional argument
  std::string path;
  Takes takes = Takes::kFile;
  Content content = Content::kPage;
};

/// The options and positional arguments of one (sub)command. A view: copies refer to the same
/// command.
class Arguments {
 public:
  /// The properties of all options of a program, by the parser's options.
  using Values = std::map<const CLI::Option*, Option::Value>;

  Arguments(CLI::App& app, Values& values) : app_(&app), values_(&values) {}

  /// @param names "-o,--output", or the name of a positional argument.
  /// @param value where the value is stored when the command line is read; must still exist then.
  ///              Of type std::string, int, int64_t, uint64_t, double, std::optional<double>,
  ///              std::optional<int64_t>, std::optional<uint64_t> or std::vector<std::string>.
  template <typename T>
  Option add_option(const std::string& names, T& value, const std::string& help);
  Option add_flag(const std::string& names, bool& value, const std::string& help);

  /// @return options and positional arguments, in the order of help.
  std::vector<OptionInfo> options() const;
  /// @return which required arguments are missing, in words; empty: none.
  std::string missing() const;
  /// Replaces "~/" at the start of a path by the home folder where the shell did not ("--csv=~/x",
  /// or in quotes). Called after the command line was read.
  void expand_home();
  /// @return the paths that were given.
  std::vector<PathArgument> paths() const;
  /// @return the arguments of another command of the same program. @pre there is such a command.
  Arguments sibling(const std::string& command) const;

 private:
  CLI::App* app_;
  Values* values_;
};

}  // namespace ram::cli
