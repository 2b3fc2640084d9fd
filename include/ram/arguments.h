// What a subcommand adds to the command line. Part of the module `command_line`. The parser (CLI11)
// stays behind this header: each source that included its headers took six seconds more to compile.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace CLI {  // NOLINT(readability-identifier-naming): theirs
class App;
class Option;
}  // namespace CLI

namespace ram::cli {

/// @return the parts of a text between separators: at least one, empty ones too.
std::vector<std::string> split(std::string_view text, char separator);

/// What the value of an option is: what completion offers for it, and what may not be written over.
enum class Takes : uint8_t {
  kText,           ///< a number, a name, one of `words`
  kModel,          ///< a model's folder or an id of the local cache; read
  kFolder,         ///< a folder that is read
  kFile,           ///< a file that is read, or a folder of such
  kPlan,           ///< plan.json or a folder with one; read before anything is written
  kStudy,          ///< the study, written to
  kOutputFile,     ///< a file that is written, "-" for stdout
  kOutputFolder,   ///< a folder that is written, whole
  kOutputFolders,  ///< a folder in which folders are written
};

/// What an output file holds: it does not replace a file that ram wrote for something else.
enum class Content : uint8_t { kCurves, kPlan, kPage, kLogits, kPrompts };

/// An option that was just added, to say more about it: app.add_option(...).type_name("N").
class Option {
 public:
  struct Value;
  Option(CLI::Option* option, Value* value) : option_(option), value_(value) {}

  /// What help shows in place of the value. "a|b" lists the values there are; FILE, FOLDER, MODEL
  /// and PLAN say what it takes, and N or X that it is a number.
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
  /// What it takes, where the type's name does not say so.
  Option& takes(Takes takes);
  /// A file that is written.
  Option& writes(Content content);
  /// Values for completion, beside those that the type's name lists; with `list`, several by
  /// commas.
  Option& words(std::vector<std::string> words, bool list = false);

 private:
  CLI::Option* option_;
  Value* value_;
};

/// What was said of one option or positional argument.
struct Option::Value {
  Takes takes = Takes::kText;
  Content content = Content::kPage;  ///< of an output file
  std::vector<std::string> words;
  bool list = false;           ///< several words, by commas
  std::string* one = nullptr;  ///< where the value goes, if it is text
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
  std::vector<std::string> words;  ///< values there are, for completion
  bool list = false;               ///< several of them, by commas
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

/// The options and positional arguments of one (sub)command. A view: copies add to the same one.
class Arguments {
 public:
  /// What was said of the options of a whole program, by the parser's options.
  using Values = std::map<const CLI::Option*, Option::Value>;

  Arguments(CLI::App& app, Values& values) : app_(&app), values_(&values) {}

  /// @param names "-o,--output", or the name of a positional argument.
  /// @param value where the value goes when the command line is read; it outlives that. Of type
  ///              std::string, int, int64_t, uint64_t, double, std::optional<double>,
  ///              std::optional<uint64_t> or std::vector<std::string>.
  template <typename T>
  Option add_option(const std::string& names, T& value, const std::string& help);
  Option add_flag(const std::string& names, bool& value, const std::string& help);

  /// @return options and positional arguments, in the order of help.
  std::vector<OptionInfo> options() const;
  /// @return what is missing of what is required, in words; empty: nothing.
  std::string missing() const;
  /// After the command line was read: "~/" at the start of a path becomes the home folder, as where
  /// the shell did not see it ("--csv=~/x", or in quotes).
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
