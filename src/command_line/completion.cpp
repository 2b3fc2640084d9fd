// Completion scripts, made from the parser's own tree of options, so that they cannot differ from
// it.
#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ram/command_line.h"

namespace ram::cli {
namespace {

struct CommandInfo {
  std::string name;
  std::string help;
  std::vector<OptionInfo> options;
  OptionInfo place;  ///< its first positional argument, if it has one
};

std::vector<CommandInfo> describe(const Program& program, const Arguments& any) {
  std::vector<CommandInfo> out;
  for (const Command& command : program.commands) {
    CommandInfo info = {.name = command.name, .help = command.help, .options = {}, .place = {}};
    for (OptionInfo& option : any.sibling(command.name).options()) {
      if (!option.positional) {
        info.options.push_back(std::move(option));
      } else if (info.place.names.empty()) {
        info.place = std::move(option);
      }
    }
    out.push_back(std::move(info));
  }
  return out;
}

// What a shell offers for a value.
enum class Offer { kNothing, kWords, kList, kFiles, kFolders, kModels };

Offer offer_of(const OptionInfo& option) {
  switch (option.takes) {
    case Takes::kModel:
      return Offer::kModels;
    case Takes::kFolder:
    case Takes::kOutputFolder:
    case Takes::kOutputFolders:
      return Offer::kFolders;
    case Takes::kFile:
    case Takes::kPlan:
    case Takes::kStudy:
    case Takes::kOutputFile:
      return Offer::kFiles;
    case Takes::kText:
      break;
  }
  if (option.words.empty()) return Offer::kNothing;
  return option.list ? Offer::kList : Offer::kWords;
}

constexpr const char* kOfferNames[] = {"nothing", "words", "list", "files", "folders", "models"};

const char* offer_name(const OptionInfo& option) {
  return kOfferNames[static_cast<size_t>(offer_of(option))];
}

// In a bash "case": sets what is offered.
std::string bash_offer(const OptionInfo& option) {
  std::string text = fmt::format("offer={}", offer_name(option));
  if (!option.words.empty()) text += fmt::format(" words='{}'", fmt::join(option.words, " "));
  return text + " ;;\n";
}

constexpr const char* kBashFunction = R"sh(
# Lines as they are: not split at spaces, and no pattern.
_ram_add() {
  local line
  while IFS= read -r line; do COMPREPLY+=("$line"); done
}
_ram() {
  local line="${COMP_LINE:0:COMP_POINT}" command="" before value="" prefix="" offer="" words="" word
  local char quote="" begun="" i
  local -a typed
  typed=()
  # As the shell splits it: a backslash or quotes keep a space within a word.
  for ((i = 0; i < ${#line}; ++i)); do
    char="${line:i:1}"
    if [[ -n $quote && $char == "$quote" ]]; then
      quote=""
    elif [[ $char == \\ && $quote != "'" ]]; then
      ((++i))
      value+="${line:i:1}" begun=1
    elif [[ -n $quote ]]; then
      value+="$char"
    elif [[ $char == "'" || $char == '"' ]]; then
      quote="$char" begun=1
    elif [[ $char == [[:space:]] ]]; then
      [[ -n $begun ]] && typed+=("$value")
      value="" begun=""
    else
      value+="$char" begun=1
    fi
  done
  for word in "${typed[@]:1}"; do
    [[ $_ram_names == *" $word "* ]] && { command=$word; break; }
  done
  before="${typed[${#typed[@]}-1]}"
  if [[ $value == --*=* ]]; then before="${value%%=*}" value="${value#*=}"; fi
  COMPREPLY=()
  if [[ -z $command ]]; then
    _ram_add < <(compgen -W "$_ram_names --help --version" -- "$value")
    return
  fi
  _ram_value "$command" "$before"
  if [[ -z $offer && $value == -* ]]; then
    _ram_add < <(compgen -W "$(_ram_options "$command")" -- "$value")
    return
  fi
  [[ -z $offer ]] && _ram_place "$command"
  if [[ $offer == list ]]; then prefix="${value%"${value##*,}"}"; fi
  _ram_add < <(compgen -P "$prefix" -W "$words" -- "${value#"$prefix"}")
  if [[ $offer == models ]]; then
    # Not by compgen -W, which would run what a name says.
    while IFS= read -r word; do
      [[ $word == "$value"* ]] && COMPREPLY+=("$word")
    done < <("${typed[0]}" completion models 2>/dev/null)
  fi
  case $offer in
    files) _ram_add < <(compgen -f -- "$value") ;;
    folders | models) _ram_add < <(compgen -d -- "$value") ;;
  esac
  case $offer in
    files | folders | models) type compopt >/dev/null 2>&1 && compopt -o filenames 2>/dev/null ;;
  esac
  # bash replaces what follows the last colon or equals sign.
  prefix="${value%"${value##*[:=]}"}"
  [[ -n $prefix ]] && COMPREPLY=("${COMPREPLY[@]#"$prefix"}")
  return 0
}
complete -F _ram ram
)sh";

std::string bash_script(const std::vector<CommandInfo>& all) {
  std::string names;
  std::string values;
  std::string options;
  std::string places;
  for (const CommandInfo& command : all) {
    names += command.name + " ";
    std::string own;
    for (const OptionInfo& option : command.options) {
      std::string patterns;
      for (const std::string& name : option.names) {
        own += (own.empty() ? "" : " ") + name;
        patterns += fmt::format("{}{}:{}", patterns.empty() ? "" : " | ", command.name, name);
      }
      if (option.takes_value) values += fmt::format("    {}) {}", patterns, bash_offer(option));
    }
    options += fmt::format("    {}) echo '{}' ;;\n", command.name, own);
    places += fmt::format("    {}) {}", command.name, bash_offer(command.place));
  }
  return "# bash completion for ram, printed by: ram completion bash\n" +
         fmt::format("_ram_names=' {}'\n", names) + "_ram_value() {\n  case \"$1:$2\" in\n" +
         values + "  esac\n}\n_ram_options() {\n  case \"$1\" in\n" + options +
         "  esac\n}\n_ram_place() {\n  case \"$1\" in\n" + places + "  esac\n}" + kBashFunction;
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

// Words go into a table, because a colon in a spec would end it.
std::string zsh_action(const OptionInfo& option, const std::string& key, std::string& table) {
  if (!option.words.empty()) {
    table += fmt::format("  '{}' '{}'\n", key, fmt::join(option.words, " "));
  }
  switch (offer_of(option)) {
    case Offer::kWords:
      return fmt::format("{{_ram_words {}}}", key);
    case Offer::kList:
      return fmt::format("{{_ram_list {}}}", key);
    case Offer::kFiles:
      return option.words.empty() ? "_files" : fmt::format("{{_ram_words {}; _files}}", key);
    case Offer::kFolders:
      return "_files -/";
    case Offer::kModels:
      return "_ram_models";
    case Offer::kNothing:
      break;
  }
  return " ";
}

constexpr const char* kZshFunctions = R"sh(
_ram_words() { compadd -- ${(s: :)_ram_table[$1]} }
_ram_list() { compset -P '*,'; compadd -qS , -- ${(s: :)_ram_table[$1]} }
_ram_models() {
  local -a ids
  ids=(${(f)"$(ram completion models 2>/dev/null)"})
  compadd -a ids
  _files -/
}
)sh";

std::string zsh_script(const std::vector<CommandInfo>& all) {
  std::string names;
  std::string cases;
  std::string table;
  for (const CommandInfo& command : all) {
    names += fmt::format("    '{}:{}'\n", command.name, quoted(command.help, true));
    cases += fmt::format("    {})\n      _arguments", command.name);
    for (const OptionInfo& option : command.options) {
      const std::string key = command.name + option.names.front();
      const std::string action =
          option.takes_value ? ":value:" + zsh_action(option, key, table) : "";
      for (const std::string& name : option.names) {
        cases += fmt::format(" \\\n        '*{}[{}]{}'", name, quoted(option.help, true), action);
      }
    }
    if (!command.place.names.empty()) {
      cases += fmt::format(" \\\n        '*:{}:{}'", command.place.names.front(),
                           zsh_action(command.place, command.name, table));
    }
    cases += "\n      ;;\n";
  }
  return "#compdef ram\n# zsh completion for ram, printed by: ram completion zsh\n"
         "typeset -gA _ram_table=(\n" +
         table + ")" + kZshFunctions + "_ram() {\n  local -a names=(\n" + names +
         "  )\n"
         "  if (( CURRENT == 2 )); then\n    _describe command names\n    return\n  fi\n"
         "  local command=$words[2]\n  shift words\n  (( CURRENT-- ))\n"
         "  case $command in\n" +
         cases +
         "  esac\n}\n"
         "if [[ $funcstack[1] == _ram ]]; then\n  _ram \"$@\"\nelse\n  compdef _ram ram\nfi\n";
}

// Options of `complete` that define what is offered.
std::string fish_offer(const OptionInfo& option) {
  const std::string words = fmt::format("{}", fmt::join(option.words, " "));
  switch (offer_of(option)) {
    case Offer::kWords:
      return fmt::format(" -x -a '{}'", words);
    case Offer::kList:
      return fmt::format(" -x -a '(__ram_list {})'", words);
    case Offer::kFiles:
      return words.empty() ? " -r -F" : fmt::format(" -r -F -a '{}'", words);
    case Offer::kFolders:
      return " -x -a '(__fish_complete_directories)'";
    case Offer::kModels:
      return " -x -a '(ram completion models 2>/dev/null) (__fish_complete_directories)'";
    case Offer::kNothing:
      break;
  }
  return " -x";
}

constexpr const char* kFishFunction = R"sh(function __ram_list
  set -l prefix (string replace -r '[^,]*$' '' -- (commandline -ct))
  for word in $argv
    echo $prefix$word
  end
end
complete -c ram -f
)sh";

std::string fish_script(const std::vector<CommandInfo>& all) {
  std::string script = "# fish completion for ram, printed by: ram completion fish\n";
  script += kFishFunction;
  for (const CommandInfo& command : all) {
    script += fmt::format("complete -c ram -n __fish_use_subcommand -f -a {} -d '{}'\n",
                          command.name, quoted(command.help, false));
  }
  for (const CommandInfo& command : all) {
    const std::string start =
        fmt::format("complete -c ram -n '__fish_seen_subcommand_from {}'", command.name);
    for (const OptionInfo& option : command.options) {
      script += start;
      for (const std::string& name : option.names) {
        script += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
      }
      if (option.takes_value) script += fish_offer(option);
      script += fmt::format(" -d '{}'\n", quoted(option.help, false));
    }
    if (command.place.names.empty()) continue;
    std::string offer = fish_offer(command.place);
    if (offer == " -x") continue;
    if (offer.starts_with(" -x")) offer.replace(0, 3, " -f");
    if (offer.starts_with(" -r")) offer.erase(0, 3);
    script += start + offer + "\n";
  }
  return script;
}

}  // namespace

std::optional<std::string> completion_script(const Program& program, const Arguments& any,
                                             std::string_view shell) {
  if (shell == "bash") return bash_script(describe(program, any));
  if (shell == "zsh") return zsh_script(describe(program, any));
  if (shell == "fish") return fish_script(describe(program, any));
  return std::nullopt;
}

}  // namespace ram::cli
