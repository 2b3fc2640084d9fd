#include "manual.h"

#include <array>
#include <utility>

#include <fmt/format.h>

#include "commands.h"

namespace ram::cli {
namespace {

constexpr std::array<std::pair<int, const char*>, 12> kStatuses = {{
    {0, "done; also: what was asked for is there already"},
    {1, "the check that was asked for failed"},
    {2, "the command line is wrong, or asks for what cannot be"},
    {3, "an input is missing or unreadable"},
    {4, "an input is corrupt"},
    {5, "unsupported"},
    {6, "the budget cannot be met"},
    {7, "the disk is full, or a write failed"},
    {70, "a defect in ram"},
    {130, "interrupted; what is done is kept"},
    {143, "the same by SIGTERM"},
    {129, "the same by SIGHUP, a terminal that is closed"},
}};

constexpr std::array<std::pair<const char*, const char*>, 5> kEnvironment = {{
    {"RAM_STUDY", "the study, where --study does not name it"},
    {"XDG_DATA_HOME",
     "where the study is, in ram/ram.db, without either (Linux; default "
     "~/.local/share)"},
    {"HF_HUB_CACHE, HF_HOME", "the local Hugging Face cache, in which ids of models are looked up"},
    {"RAM_DEMO_MODEL", "the model of ram demo"},
    {"HOME", "the user's folder"},
}};

// A backslash, and a dot or quote at the start of a line, mean something else to roff; a plain "-"
// is set as a hyphen that cannot be copied.
std::string roff(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if ((c == '.' || c == '\'') && (out.empty() || out.back() == '\n')) out += "\\&";
    if (c == '-') {
      out += "\\-";
    } else if (c == '\\') {
      out += "\\e";
    } else {
      out += c;
    }
  }
  return out;
}

std::string entry(const std::string& term, const std::string& text) {
  return fmt::format(".TP\n{}\n{}\n", term, roff(text));
}

std::string bold(const std::string& text) {
  return "\\fB" + roff(text) + "\\fR";
}

std::string option_entry(const OptionInfo& option) {
  std::string term;
  for (const std::string& name : option.names) term += (term.empty() ? "" : ", ") + bold(name);
  if (option.takes_value && !option.type.empty()) term += " \\fI" + roff(option.type) + "\\fR";
  return entry(term, option.help);
}

bool is_common(const OptionInfo& option) {
  return option.group == "Common options" || option.names.front() == "--help" ||
         option.names.front() == "--version";
}

std::string command_section(const Command& command, const std::vector<OptionInfo>& options) {
  std::string synopsis = bold(std::string("ram ") + command.name);
  std::string entries;
  for (const OptionInfo& option : options) {
    if (option.positional) {
      synopsis += " \\fI" + roff(option.type.empty() ? option.names.front() : option.type) + "\\fR";
    }
    if (!is_common(option)) entries += option_entry(option);
  }
  return fmt::format(".SS {}\n{}\n.PP\n{} [options]\n.PP\nExample: {}\n{}", command.name,
                     roff(command.help), synopsis, bold(command.example), entries);
}

}  // namespace

std::string manual_page(const Arguments& any) {
  std::string page = ".\\\" printed by: ram completion man\n";
  page += ".TH RAM 1 \"\" \"ram " RAM_VERSION "\" \"User Commands\"\n";
  page +=
      ".SH NAME\nram \\- fits open\\-weight language models into a byte budget, in the MLX "
      "format\n";
  page += ".SH SYNOPSIS\n" + bold("ram") + " \\fICOMMAND\\fR [options]\n";
  page += ".SH COMMANDS\n";
  std::string shared;
  for (const Command& command : commands()) {
    const std::vector<OptionInfo> options = any.sibling(command.name).options();
    page += command_section(command, options);
    if (!shared.empty()) continue;
    for (const OptionInfo& option : options) {
      if (is_common(option)) shared += option_entry(option);
    }
  }
  page += ".SH OPTIONS OF EVERY COMMAND\n" + shared;
  page += ".SH EXIT STATUS\n";
  for (const auto& [status, meaning] : kStatuses)
    page += entry(bold(std::to_string(status)), meaning);
  page += ".SH ENVIRONMENT\n";
  for (const auto& [name, meaning] : kEnvironment) page += entry(bold(name), meaning);
  return page;
}

}  // namespace ram::cli
