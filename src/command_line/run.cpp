// From the command line to an exit status: the CLI11 tree, and every failure as one line.
#include <algorithm>
#include <cctype>
#include <charconv>
#include <exception>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "ram/command_line.h"
#include "ram/error.h"
#include "ram/json_text.h"
#include "ram/outputs.h"
#include "ram/size.h"
#include "ram/study_place.h"
#include "ram/suggest.h"
#include "ram/text.h"

namespace ram::cli {
namespace {

constexpr int kMostThreads = 1024;

std::string check_threads(const std::string& text) {
  int threads = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, threads);
  if (text.size() <= 4 && error == std::errc{} && stop == end && threads >= 1 &&
      threads <= kMostThreads)
    return {};
  return fmt::format("{}: use a number from 1 to {}", text, kMostThreads);
}

void add_common_options(CLI::App& parser, Arguments::Values& values, Common& common) {
  parser.set_help_flag("-h,--help", "print this help");
  parser.set_version_flag("-v,--version", "ram " RAM_VERSION, "print the version");
  Arguments app(parser, values);
  const char* group = "Common options";
  app.add_option(
         "--study", common.study,
         "the study, an SQLite file (default: RAM_STUDY, an existing ./ram.db, or the user's)")
      .type_name("FILE")
      .takes(Takes::kStudy)
      .group(group);
  app.add_option("--threads", common.thread_count, "default: all processors")
      .type_name("N")
      .check(check_threads)
      .group(group);
  app.add_option("--memory", common.memory, "limit for working memory, such as 1GiB")
      .type_name("SIZE")
      .group(group);
  app.add_option("--seed", common.seed, "seed of everything drawn at random (default 42)")
      .type_name("N")
      .group(group);
  app.add_flag("--quiet", common.quiet, "no progress and no notes on stderr").group(group);
  app.add_flag("--json", common.json, "the result as one JSON document").group(group);
}

std::vector<std::string> command_names(const Program& program) {
  std::vector<std::string> names;
  for (const Command& command : program.commands) names.emplace_back(command.name);
  return names;
}

// Refuses arguments that no option takes. An unknown option is reported before an unexpected
// argument, which may be its value.
void check_extras(const Program& program, CLI::App& app, Arguments::Values& values,
                  const std::string& command) {
  std::vector<std::string> extras = app.remaining(false);
  if (extras.empty()) return;
  const auto is_option = [](const std::string& s) { return s.size() > 1 && s.front() == '-'; };
  if (!command.empty()) std::stable_partition(extras.begin(), extras.end(), is_option);
  const std::string& first = extras.front();
  if (is_option(first)) {
    const std::string name = first.substr(0, first.find('='));
    std::vector<std::string> known;
    for (const OptionInfo& option : Arguments(app, values).options()) {
      if (!option.positional) known.insert(known.end(), option.names.begin(), option.names.end());
    }
    fail(Code::kUsage, "unknown option {}{} (ram{} --help lists them)", name,
         did_you_mean(name, known), command);
  }
  if (command.empty()) {
    fail(Code::kUsage, "unknown command '{}'{} (ram --help lists them)", first,
         did_you_mean(first, command_names(program)));
  }
  fail(Code::kUsage, "unexpected argument '{}' (ram{} --help says what goes where)", first,
       command);
}

std::string one_line(std::string text) {
  for (char& c : text) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  text.erase(text.find_last_not_of(' ') + 1);
  return printable(text, std::string::npos);
}

struct Tree {
  Arguments::Values values;
  CLI::App app{"", "ram"};
  std::vector<std::pair<CLI::App*, Action>> actions;
};

void grow(const Program& program, Tree& tree, Common& common) {
  std::string summary = std::string(program.summary) + ".";
  summary[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(summary[0])));
  tree.app.description(summary);
  add_common_options(tree.app, tree.values, common);
  tree.app.require_subcommand(0, 1);
  tree.app.allow_extras();
  tree.app.get_formatter()->column_width(36);
  tree.app.get_formatter()->label("REQUIRED", "(required)");
  tree.app.get_formatter()->label("Positionals", "Arguments");
  tree.app.get_formatter()->label("SUBCOMMAND", "COMMAND");
  tree.app.footer(std::string("Example: ") + program.example +
                  "\nram COMMAND --help explains each command, with an example.");
  for (const Command& command : program.commands) {
    CLI::App* sub = tree.app.add_subcommand(command.name, command.help);
    sub->allow_extras();
    sub->footer(std::string("Example: ") + command.example);
    tree.actions.emplace_back(sub, command.setup(Arguments(*sub, tree.values), common));
    add_common_options(*sub, tree.values, common);
  }
}

// Rewrites what the parser does not understand: "help fit" means "fit --help"; "-o=x" gives a
// value, and "--csv=" an empty one.
std::vector<std::string> typed(int argc, const char* const* argv) {
  std::vector<std::string> words;
  bool options = true;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    options = options && word != "--";
    const size_t equals = word.find('=');
    const bool short_option = word.size() > 2 && word[0] == '-' && word[1] != '-' && equals == 2;
    const bool empty_value = word.starts_with("--") && equals + 1 == word.size();
    if (options && (short_option || empty_value)) {
      words.push_back(word.substr(0, equals));
      words.push_back(word.substr(equals + 1));
    } else {
      words.push_back(word);
    }
  }
  if (!words.empty() && words.front() == "help") {
    words.erase(words.begin());
    words.resize(std::min<size_t>(words.size(), 1));
    words.emplace_back("--help");
  }
  return words;
}

bool wants_json(int argc, const char* const* argv) {
  for (int i = 1; i < argc && std::string_view(argv[i]) != "--"; ++i) {
    if (std::string_view(argv[i]) == "--json") return true;
  }
  return false;
}

// Rewrites the parser's messages, which name its parts and not what to type.
std::string own_words(const CLI::ParseError& error, const std::string& missing) {
  std::string text = one_line(error.what());
  const std::string name = text.substr(0, text.find(':'));
  const std::string kind = error.get_name();
  if (kind == "RequiredError" || kind == "ArgumentMismatch") {
    if (!missing.empty()) return missing;
    if (text.find("At Most") != std::string::npos || text.find("At most") != std::string::npos) {
      return name + " is given more than once";
    }
    if (name.starts_with('-')) return name + " needs a value";
  }
  if (kind == "ConversionError" || kind == "InvalidError") {
    const size_t dash = text.find("--");
    if (dash != std::string::npos) {
      return text.substr(dash, text.find_first_of(" =", dash) - dash) + " takes no value";
    }
  }
  return text;
}

int print_text(const Common& common, const char* key, const std::string& text) {
  const nlohmann::ordered_json document = {{key, text}};
  print_result(common, common.json ? document.dump(2) + "\n" : text + "\n");
  return kDone;
}

int dispatch(const Program& program, int argc, const char* const* argv, Common& common) {
  Tree tree;
  grow(program, tree, common);
  const auto chosen = [&]() -> std::pair<CLI::App*, Action*> {
    for (auto& [sub, action] : tree.actions) {
      if (sub->parsed()) return {sub, &action};
    }
    return {nullptr, nullptr};
  };
  const auto check_all = [&] {
    check_extras(program, tree.app, tree.values, "");
    if (CLI::App* sub = chosen().first)
      check_extras(program, *sub, tree.values, " " + sub->get_name());
  };
  try {
    std::vector<std::string> words = typed(argc, argv);
    std::reverse(words.begin(), words.end());  // the order that the parser expects
    tree.app.parse(std::move(words));
  } catch (const CLI::CallForHelp&) {
    const auto [sub, action] = chosen();
    if (sub == nullptr) check_extras(program, tree.app, tree.values, "");
    return print_text(common, "help", sub != nullptr ? sub->help("ram") : tree.app.help());
  } catch (const CLI::CallForVersion&) {
    return print_text(common, "version", common.json ? RAM_VERSION : "ram " RAM_VERSION);
  } catch (const CLI::ParseError& error) {
    check_all();
    CLI::App* sub = chosen().first;
    const std::string missing = sub != nullptr ? Arguments(*sub, tree.values).missing() : "";
    fail(Code::kUsage, "{} (ram{} --help)", own_words(error, missing),
         sub != nullptr ? " " + sub->get_name() : "");
  }
  check_all();
  const auto [sub, action] = chosen();
  if (sub == nullptr) {
    say(common, tree.app.help() + "\n");
    fail(Code::kUsage, "no command given (ram --help)");
  }
  Arguments arguments(*sub, tree.values);
  arguments.expand_home();
  const bool named = tree.app["--study"]->count() + (*sub)["--study"]->count() > 0;
  common.place = find_study(named ? std::optional(common.study) : std::nullopt);
  common.study = common.place.path;
  // An invalid --memory is refused even if the command does not use it.
  if (!common.memory.empty()) parse_size(common.memory);
  check_outputs(common, arguments.paths());
  return (*action)();
}

int report(const Common& common, int status, const std::string& message,
           const char* kind = "error: ") {
  say(common, fmt::format("ram: {}{}\n", kind, one_line(message)));
  if (!common.json || common.result_begun) return status;
  try {
    print_result(common, error_document(status, one_line(message)));
  } catch (const Error&) {
    // stdout cannot be written: the status and the line on stderr remain.
  }
  return status;
}

}  // namespace

int run(const Program& program, int argc, const char* const* argv, Io io) {
  Common common;
  common.io = io;
  common.json = wants_json(argc, argv);  // also if the command line is invalid
  if (argc > 0) common.program = argv[0];
  try {
    return dispatch(program, argc, argv, common);
  } catch (const std::exception& exception) {
    const Error error = as_error(exception);
    const auto status = static_cast<int>(error.code());
    if (error.code() != Code::kInterrupted) return report(common, status, error.what());
    return report(common, io.interrupted != nullptr ? io.interrupted() : status,
                  "interrupted; finished work is kept, run the same command again to continue", "");
  }
}

}  // namespace ram::cli
