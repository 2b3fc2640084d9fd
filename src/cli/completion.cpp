// ram completion: scripts for shells, made from the same tree of options that the parser has, so
// that they cannot differ from it.
#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ram/error.h"

#include "commands.h"

namespace ram::cli {
namespace {

struct CommandInfo {
  std::string name;
  std::string help;
  std::vector<OptionInfo> options;
};

// A type name "squared|ram" lists the values; otherwise it is a file, or anything.
std::vector<std::string> split_choices(const std::string& type) {
  std::vector<std::string> choices;
  if (type.find('|') == std::string::npos) return choices;
  size_t begin = 0;
  while (begin <= type.size()) {
    const size_t end = std::min(type.find('|', begin), type.size());
    choices.push_back(type.substr(begin, end - begin));
    begin = end + 1;
  }
  return choices;
}

std::vector<CommandInfo> describe(const Arguments& any) {
  std::vector<CommandInfo> out;
  for (const Command& command : commands()) {
    out.push_back({command.name, command.help, any.sibling(command.name).options()});
  }
  return out;
}

std::string bash_script(const std::vector<CommandInfo>& all) {
  std::string names;
  std::string cases;
  std::string values;
  for (const CommandInfo& command : all) {
    names += (names.empty() ? "" : " ") + command.name;
    std::string options;
    for (const OptionInfo& option : command.options) {
      for (const std::string& name : option.names) {
        options += (options.empty() ? "" : " ") + name;
        const std::vector<std::string> choices = split_choices(option.type_name);
        if (choices.empty()) continue;
        values += fmt::format("    {}:{}) words=\"{}\" ;;\n", command.name, name,
                              fmt::join(choices, " "));
      }
    }
    cases += fmt::format("    {}) options=\"{}\" ;;\n", command.name, options);
  }
  cases += "    completion) options=\"bash zsh fish\" ;;\n";
  std::string script = "# bash completion for ram, printed by: ram completion bash\n_ram() {\n";
  script +=
      "  local current=\"${COMP_WORDS[COMP_CWORD]}\" before=\"${COMP_WORDS[COMP_CWORD-1]}\"\n";
  script += "  local options=\"\" words=\"\"\n  COMPREPLY=()\n";
  script += fmt::format(
      "  if [[ $COMP_CWORD -eq 1 ]]; then\n"
      "    COMPREPLY=($(compgen -W \"{} --help --version\" -- \"$current\"))\n"
      "    return\n  fi\n",
      names);
  script += "  case \"${COMP_WORDS[1]}:$before\" in\n" + values + "  esac\n";
  script +=
      "  if [[ -n $words ]]; then\n"
      "    COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n    return\n  fi\n";
  script += "  case \"${COMP_WORDS[1]}\" in\n" + cases + "  esac\n";
  script +=
      "  if [[ $current == -* || ${COMP_WORDS[1]} == completion ]]; then\n"
      "    COMPREPLY=($(compgen -W \"$options\" -- \"$current\"))\n  else\n"
      "    COMPREPLY=($(compgen -f -- \"$current\"))\n  fi\n}\n";
  return script + "complete -o filenames -F _ram ram\n";
}

// Text inside '...' of a shell; in zsh's specs a bracket would also end the description.
std::string quoted(const std::string& text, bool zsh) {
  std::string out;
  for (const char c : text) {
    if (c == '\'') {
      out += "'\\''";
    } else if (zsh && (c == '[' || c == ']' || c == ':')) {
      out += '\\';
      out += c;
    } else {
      out += c;
    }
  }
  return out;
}

std::string zsh_script(const std::vector<CommandInfo>& all) {
  std::string names;
  std::string cases;
  for (const CommandInfo& command : all) {
    names += fmt::format("    '{}:{}'\n", command.name, quoted(command.help, true));
    cases += fmt::format("    {})\n      _arguments", command.name);
    for (const OptionInfo& option : command.options) {
      const std::vector<std::string> choices = split_choices(option.type_name);
      for (const std::string& name : option.names) {
        cases += fmt::format(" \\\n        '*{}[{}]", name, quoted(option.help, true));
        if (!choices.empty()) {
          cases += fmt::format(":value:({})", fmt::join(choices, " "));
        } else if (option.takes_value) {
          cases += ":value:_files";
        }
        cases += "'";
      }
    }
    cases += command.name == "completion" ? " \\\n        '1:shell:(bash zsh fish)'\n      ;;\n"
                                          : " \\\n        '*:file:_files'\n      ;;\n";
  }
  return "#compdef ram\n# zsh completion for ram, printed by: ram completion zsh\n_ram() {\n"
         "  local -a names=(\n" +
         names +
         "  )\n"
         "  if (( CURRENT == 2 )); then\n    _describe command names\n    return\n  fi\n"
         "  local command=$words[2]\n  shift words\n  (( CURRENT-- ))\n"
         "  case $command in\n" +
         cases +
         "  esac\n}\n"
         "if [[ $funcstack[1] == _ram ]]; then\n  _ram \"$@\"\nelse\n  compdef _ram ram\nfi\n";
}

std::string fish_script(const std::vector<CommandInfo>& all) {
  std::string script = "# fish completion for ram, printed by: ram completion fish\n";
  for (const CommandInfo& command : all) {
    script += fmt::format("complete -c ram -n __fish_use_subcommand -f -a {} -d '{}'\n",
                          command.name, quoted(command.help, false));
  }
  for (const CommandInfo& command : all) {
    for (const OptionInfo& option : command.options) {
      script += fmt::format("complete -c ram -n '__fish_seen_subcommand_from {}'", command.name);
      for (const std::string& name : option.names) {
        script += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
      }
      if (option.takes_value) script += " -r";
      const std::vector<std::string> choices = split_choices(option.type_name);
      if (!choices.empty()) {
        script += fmt::format(" -f -a '{}'", fmt::join(choices, " "));
      }
      script += fmt::format(" -d '{}'\n", quoted(option.help, false));
    }
  }
  return script +
         "complete -c ram -n '__fish_seen_subcommand_from completion' -f -a 'bash zsh fish'\n";
}

int completion(const Common& common, const Arguments& any, const std::string& shell) {
  if (common.json) fail(Code::kUsage, "ram completion prints a script: leave --json out");
  const std::vector<CommandInfo> all = describe(any);
  if (shell == "bash") {
    print_result(common, bash_script(all));
  } else if (shell == "zsh") {
    print_result(common, zsh_script(all));
  } else if (shell == "fish") {
    print_result(common, fish_script(all));
  } else {
    fail(Code::kUsage, "shell '{}': use bash, zsh or fish", shell);
  }
  return kDone;
}

}  // namespace

Action setup_completion(Arguments app, const Common& common) {
  auto shell = std::make_shared<std::string>();
  app.add_option("SHELL", *shell, "bash, zsh or fish").type_name("").required();
  return [shell, app, &common] { return completion(common, app, *shell); };
}

}  // namespace ram::cli
