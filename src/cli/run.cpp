// From the command line to an exit status: the CLI11 tree, and every failure as one line.
#include <algorithm>
#include <exception>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "ram/error.h"
#include "ram/suggest.h"
#include "ram/text.h"

#include "commands.h"


namespace ram::cli {
namespace {

constexpr int kMostThreads = 1024;

std::string check_threads(const std::string& text) {
  const bool digits = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
  if (digits && text.size() <= 4 && std::stoi(text) >= 1 && std::stoi(text) <= kMostThreads) {
    return {};
  }
  return fmt::format("{}: use a number from 1 to {}", text, kMostThreads);
}

void add_common_options(CLI::App& parser, Common& common) {
  parser.set_help_flag("-h,--help", "print this help");
  parser.set_version_flag("--version", "ram " RAM_VERSION, "print the version");
  Arguments app(parser);
  const char* group = "Common options";
  app.add_option("--study", common.study, "the study, an SQLite file (default ./ram.db)")
      .type_name("FILE")
      .group(group);
  app.add_option("--threads", common.thread_count, "default: all processors")
      .type_name("N")
      .check(check_threads)
      .group(group);
  app.add_option("--memory", common.memory, "working memory that may be taken, as 1GiB")
      .type_name("SIZE")
      .group(group);
  app.add_option("--seed", common.seed, "of whatever is drawn at random (default 42)")
      .type_name("N")
      .group(group);
  app.add_flag("--quiet", common.quiet, "no progress and no notes on stderr").group(group);
  app.add_flag("--json", common.json, "the result as one JSON document").group(group);
}

std::vector<std::string> command_names() {
  std::vector<std::string> names;
  for (const Command& command : commands()) names.emplace_back(command.name);
  return names;
}

std::vector<std::string> option_names(CLI::App& app) {
  std::vector<std::string> names;
  for (const OptionInfo& option : Arguments(app).options()) {
    names.insert(names.end(), option.names.begin(), option.names.end());
  }
  return names;
}

// What was typed and has no place. A command's unknown option comes before an unexpected argument,
// which may be its value.
void check_extras(CLI::App& app, const std::string& command) {
  std::vector<std::string> extras = app.remaining(false);
  if (extras.empty()) return;
  const auto is_option = [](const std::string& s) { return s.size() > 1 && s.front() == '-'; };
  if (!command.empty()) std::stable_partition(extras.begin(), extras.end(), is_option);
  const std::string& first = extras.front();
  if (is_option(first)) {
    const std::string name = first.substr(0, first.find('='));
    fail(Code::kUsage, "unknown option {}{} (ram{} --help lists them)", name,
         did_you_mean(name, option_names(app)), command);
  }
  if (command.empty()) {
    fail(Code::kUsage, "unknown command '{}'{} (ram --help lists them)", first,
         did_you_mean(first, command_names()));
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
  CLI::App app{"Fits open-weight language models into a byte budget, in the MLX format.", "ram"};
  std::vector<std::pair<CLI::App*, Action>> actions;
};

void grow(Tree& tree, Common& common) {
  add_common_options(tree.app, common);
  tree.app.require_subcommand(0, 1);
  tree.app.allow_extras();
  tree.app.get_formatter()->column_width(36);
  tree.app.footer(
      "Example: ram fit Qwen/Qwen3-30B-A3B --budget 19GB -o Qwen3-30B-19GB\n"
      "ram COMMAND --help explains each, with an example.");
  for (const Command& command : commands()) {
    CLI::App* sub = tree.app.add_subcommand(command.name, command.help);
    sub->allow_extras();
    sub->footer(std::string("Example: ") + command.example);
    tree.actions.emplace_back(sub, command.setup(Arguments(*sub), common));
    add_common_options(*sub, common);
  }
}

int dispatch(int argc, const char* const* argv, Common& common) {
  Tree tree;
  grow(tree, common);
  const auto chosen = [&]() -> std::pair<CLI::App*, Action*> {
    for (auto& [sub, action] : tree.actions) {
      if (sub->parsed()) return {sub, &action};
    }
    return {nullptr, nullptr};
  };
  const auto check_all = [&] {
    check_extras(tree.app, "");
    if (CLI::App* sub = chosen().first) check_extras(*sub, " " + sub->get_name());
  };
  try {
    tree.app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    const auto [sub, action] = chosen();
    print_result(common, (sub != nullptr ? sub->help("ram") : tree.app.help()) + "\n");
    return kDone;
  } catch (const CLI::CallForVersion&) {
    print_result(common, "ram " RAM_VERSION "\n");
    return kDone;
  } catch (const CLI::ParseError& error) {
    check_all();
    const CLI::App* sub = chosen().first;
    fail(Code::kUsage, "{} (ram{} --help)", one_line(error.what()),
         sub != nullptr ? " " + sub->get_name() : "");
  }
  check_all();
  const auto [sub, action] = chosen();
  if (sub == nullptr) {
    say(common, tree.app.help() + "\n");
    fail(Code::kUsage, "no command given (ram --help)");
  }
  return (*action)();
}

int report(const Common& common, int status, const std::string& message) {
  say(common, fmt::format("ram: error: {}\n", one_line(message)));
  return status;
}

}  // namespace

int run(int argc, const char* const* argv, Io io) {
  Common common;
  common.io = io;
  if (argc > 0) common.program = argv[0];
  try {
    return dispatch(argc, argv, common);
  } catch (const std::exception& exception) {
    const Error error = as_error(exception);
    const auto status = static_cast<int>(error.code());
    if (error.code() != Code::kInterrupted) return report(common, status, error.what());
    say(common, "ram: interrupted; what is done is kept, run the same command again to go on\n");
    return status;
  }
}

}  // namespace ram::cli
