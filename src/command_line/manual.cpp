// The manual page, from the same tables as --help.

#include <fmt/format.h>

#include "ram/command_line.h"

namespace ram::cli {
namespace {

// A backslash, and a dot or quote at the start of a line, have a special meaning in roff; a plain
// "-" is set as a hyphen, which cannot be copied as a minus.
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

std::string manual_page(const Program& program, const Arguments& any) {
  std::string page = ".\\\" printed by: ram completion man\n";
  page += ".TH RAM 1 \"\" \"ram " RAM_VERSION "\" \"User Commands\"\n";
  page += ".SH NAME\nram \\- " + roff(program.summary) + "\n";
  page += ".SH SYNOPSIS\n" + bold("ram") + " \\fICOMMAND\\fR [options]\n";
  page += ".SH COMMANDS\n";
  std::string shared;
  for (const Command& command : program.commands) {
    const std::vector<OptionInfo> options = any.sibling(command.name).options();
    page += command_section(command, options);
    if (!shared.empty()) continue;
    for (const OptionInfo& option : options) {
      if (is_common(option)) shared += option_entry(option);
    }
  }
  page += ".SH OPTIONS OF EVERY COMMAND\n" + shared;
  page += ".SH EXIT STATUS\n";
  for (const auto& [status, meaning] : program.statuses) {
    page += entry(bold(std::to_string(status)), meaning);
  }
  page += ".SH ENVIRONMENT\n";
  for (const auto& [name, meaning] : program.environment) page += entry(bold(name), meaning);
  return page;
}

}  // namespace ram::cli
