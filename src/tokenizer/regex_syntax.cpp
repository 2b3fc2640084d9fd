// One pass over the pattern that writes PCRE2's spelling as it goes; only the last atom's position
// is remembered, for quantifiers that Ruby interprets differently.
#include "regex_syntax.h"

#include <algorithm>
#include <optional>

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/utf8.h"

#include "regex_class.h"

namespace ram {
namespace {

constexpr int kMostNesting = 100;
constexpr int kMostNumber = 100000;  ///< of repetitions, as in Oniguruma
constexpr size_t kNoAtom = std::string::npos;
constexpr char32_t kMostCode = 0x10FFFF;

class Translator {
 public:
  Translator(std::string_view in, const std::string& where) : in_(in), where_(where) {}

  Pcre2Pattern run() {
    alternatives(0);
    if (at_ < in_.size()) corrupt("a ')' without its '('");
    return {std::move(out_), std::move(named_)};
  }

 private:
  [[noreturn]] void corrupt(std::string_view what) const {
    fail(Code::kCorrupt, "a pattern with {} at its byte {} ({})", what, at_, where_);
  }
  [[noreturn]] void unsupported(std::string_view what) const {
    fail(Code::kUnsupported, "a pattern with {} at its byte {}: not supported ({})", what, at_,
         where_);
  }

  bool more() const { return at_ < in_.size(); }
  bool next_is(std::string_view text) const { return in_.substr(at_).starts_with(text); }
  bool take(std::string_view text) {
    if (!next_is(text)) return false;
    at_ += text.size();
    return true;
  }
  char32_t take_character() {
    if (!more()) corrupt("nothing after a '\\' or '['");
    const char32_t code = utf8_code_point(in_.data() + at_);
    at_ += utf8_length(in_[at_]);
    return code;
  }

  void name(char32_t first, char32_t last) {
    if (last > 0x7FF) named_.emplace_back(first, last);
  }

  /// Alternatives up to ')' or the end.
  void alternatives(int depth) {
    if (depth > kMostNesting) unsupported("groups nested this deep");
    size_t atom = kNoAtom;  // where in out_ the last atom begins
    int open = 0;           // groups opened here, for options that last to the end
    while (more() && !next_is(")")) {
      const size_t start = out_.size();
      if (take("|")) {
        out_ += '|';
        atom = kNoAtom;
      } else if (quantifier(atom)) {
        // A quantified atom may be quantified again.
      } else if (take("(")) {
        if (group(depth)) {
          ++open;
          atom = kNoAtom;
        } else {
          atom = start;
        }
      } else if (take("[")) {
        out_ += bracket(depth).text();
        atom = start;
      } else if (take("\\")) {
        escape();
        atom = start;
      } else {
        literal();
        atom = start;
      }
    }
    out_.append(static_cast<size_t>(open), ')');
  }

  void literal() {
    const char32_t code = take_character();
    name(code, code);
    if (code == '{' || code == '}' || code == ']') out_ += '\\';
    append_utf8(code, out_);
  }

  /// After '('. @return whether it was an option that lasts to the end of the enclosing group.
  bool group(int depth) {
    if (take("?#")) {
      const size_t end = in_.find(')', at_);
      if (end == std::string_view::npos) corrupt("a comment without end");
      at_ = end + 1;
      return false;
    }
    if (take("?")) {
      if (next_is("i") || next_is("m") || next_is("-")) return options(depth);
      group_kind();
    } else {
      out_ += '(';
    }
    alternatives(depth + 1);
    close();
    return false;
  }

  void close() {
    if (!take(")")) corrupt("a '(' without its ')'");
    out_ += ')';
  }

  void group_kind() {
    for (const std::string_view kind : {":", "=", "!", "<=", "<!", ">"}) {
      if (take(kind)) {
        out_ += "(?";
        out_ += kind;
        return;
      }
    }
    if (!take("<") && !take("'")) unsupported("this kind of group");
    const size_t end = in_.find_first_of(">'", at_);
    if (end == std::string_view::npos) corrupt("a group's name without end");
    out_ += "(?<";
    out_ += in_.substr(at_, end - at_);
    out_ += '>';
    at_ = end + 1;
  }

  /// "i", "m" (the dot matches newlines too, PCRE2's s) and their negation.
  bool options(int depth) {
    out_ += "(?";
    while (more() && !next_is(":") && !next_is(")")) {
      if (take("i")) {
        out_ += 'i';
      } else if (take("m")) {
        out_ += 's';
      } else if (take("-")) {
        out_ += '-';
      } else {
        unsupported("this option");
      }
    }
    out_ += ':';
    if (take(")")) return true;
    if (!take(":")) corrupt("options without end");
    alternatives(depth + 1);
    close();
    return false;
  }

  /// @return the next number, at most kMostNumber + 1; nothing if there is none.
  std::optional<int> number() {
    const size_t start = at_;
    int value = 0;
    while (more() && in_[at_] >= '0' && in_[at_] <= '9') {
      value = std::min(10 * value + (in_[at_++] - '0'), kMostNumber + 1);
    }
    if (at_ == start) return std::nullopt;
    return value;
  }

  /// @return whether there was a quantifier here; a '{' that begins none is a literal.
  bool quantifier(size_t atom) {
    const size_t back = at_;
    std::string text;
    bool interval = false;
    bool exact = false;
    if (take("?") || take("*") || take("+")) {
      text = in_[at_ - 1];
    } else if (take("{")) {
      const std::optional<int> least = number();
      const bool comma = take(",");
      const std::optional<int> most = comma ? number() : least;
      if ((!least && !most) || !take("}")) {
        at_ = back;
        return false;
      }
      if (std::max(least.value_or(0), most.value_or(0)) > kMostNumber) {
        corrupt(fmt::format("a repetition above {}", kMostNumber));
      }
      interval = true;
      exact = !comma;
      text = fmt::format("{{{},{}}}", least.value_or(0), most ? std::to_string(*most) : "");
    } else {
      return false;
    }
    if (atom == kNoAtom) corrupt("a quantifier of nothing");
    // Ruby: no possessive intervals, and {n}? means optional, not lazy.
    if (!exact && take("?")) {
      text += '?';
    } else if (!interval && take("+")) {
      text += '+';
    }
    out_ += text;
    if (next_is("?") || next_is("*") || next_is("+") || next_is("{")) {
      out_.insert(atom, "(?:");
      out_ += ')';
    }
    return true;
  }

  /// After '\' outside of brackets.
  void escape() {
    if (!more()) corrupt("a '\\' at the end");
    const char c = in_[at_];
    if (const std::optional<CharacterSet> set = set_escape(Place::kOutside)) {
      out_ += set->text();
      return;
    }
    const std::string word = escape_set('w', Place::kOutside)->text();
    if (take("b")) {
      out_ += "(?:(?<=" + word + ")(?!" + word + ")|(?<!" + word + ")(?=" + word + "))";
    } else if (take("B")) {
      out_ += "(?:(?<=" + word + ")(?=" + word + ")|(?<!" + word + ")(?!" + word + "))";
    } else if (take("A") || take("z") || take("Z") || take("R") || take("G")) {
      out_ += '\\';
      out_ += c;
    } else if (c >= '1' && c <= '9') {
      out_ += "\\g{" + std::to_string(*number()) + "}";
    } else if (take("k<")) {
      const size_t end = in_.find('>', at_);
      if (end == std::string_view::npos) corrupt("a name without end");
      out_ += "\\k<" + std::string(in_.substr(at_, end - at_)) + ">";
      at_ = end + 1;
    } else {
      const char32_t code = code_escape();
      name(code, code);
      out_ += code_text(code);
    }
  }

  /// After '\': \d and the like, \p{...}. Consumes nothing if it is something else.
  std::optional<CharacterSet> set_escape(Place place) {
    const char c = in_[at_];
    if (std::optional<CharacterSet> set = escape_set(c, place)) {
      ++at_;
      return set;
    }
    if ((c != 'p' && c != 'P') || in_.substr(at_ + 1, 1) != "{") return std::nullopt;
    const size_t end = in_.find('}', at_);
    if (end == std::string_view::npos) corrupt("\\p{ without }");
    CharacterSet set = property_set(in_.substr(at_ + 2, end - at_ - 2), place, where_);
    at_ = end + 1;
    return c == 'P' ? set.complement() : set;
  }

  char32_t hex(size_t most, bool all) {
    char32_t code = 0;
    size_t digits = 0;
    for (; more() && digits < most; ++digits, ++at_) {
      const char c = in_[at_];
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) break;
      code = code * 16 + static_cast<char32_t>(digit);
    }
    if (digits == 0 || (all && digits < most) || code > kMostCode) corrupt("a bad code point");
    if (code >= 0xD800 && code < 0xE000) corrupt("a surrogate");
    return code;
  }

  /// After '\': one character.
  char32_t code_escape() {
    if (take("x{")) {
      const char32_t code = hex(8, false);
      if (!take("}")) corrupt("\\x{ without }");
      return code;
    }
    if (take("x")) {
      const char32_t code = hex(2, false);
      if (code > 0x7F) unsupported("\\x of a single byte");
      return code;
    }
    if (take("u")) return hex(4, true);
    if (!more()) corrupt("a '\\' at the end");
    if (in_[at_] >= '0' && in_[at_] <= '7') {  // octal; back references were handled before
      char32_t code = 0;
      for (int i = 0; i < 3 && more() && in_[at_] >= '0' && in_[at_] <= '7'; ++i) {
        code = code * 8 + static_cast<char32_t>(in_[at_++] - '0');
      }
      if (code > 0x7F) unsupported("an octal number of a single byte");
      return code;
    }
    const char32_t c = take_character();
    switch (c) {
      case 't':
        return '\t';
      case 'n':
        return '\n';
      case 'r':
        return '\r';
      case 'f':
        return '\f';
      case 'v':
        return '\v';
      case 'a':
        return '\a';
      case 'e':
        return 0x1B;
      default:
        break;
    }
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (letter) unsupported("this escape");
    return c;
  }

  /// After '['.
  CharacterSet bracket(int depth) {
    if (depth > kMostNesting) unsupported("brackets nested this deep");
    const bool negated = take("^");
    std::optional<CharacterSet> left;  // of the last &&
    CharacterSet set;
    bool first = true;
    while (first || !next_is("]")) {
      if (!more()) corrupt("a '[' without its ']'");
      if (take("&&")) {
        left = left ? left->intersection(set) : set;
        set = {};
      } else {
        bracket_item(depth, set);
      }
      first = false;
    }
    at_ += 1;
    if (left) set = left->intersection(set);
    return negated ? set.complement() : set;
  }

  void bracket_item(int depth, CharacterSet& set) {
    if (take("[:")) {
      const size_t end = in_.find(":]", at_);
      if (end == std::string_view::npos) corrupt("[: without :]");
      set.add(property_set(in_.substr(at_, end - at_), Place::kPosix, where_));
      at_ = end + 2;
      return;
    }
    if (take("[")) {
      set.add(bracket(depth + 1));
      return;
    }
    char32_t first = 0;
    if (take("\\")) {
      if (!more()) corrupt("a '\\' at the end");
      if (const std::optional<CharacterSet> escaped = set_escape(Place::kBrackets)) {
        set.add(*escaped);
        return;
      }
      first = bracket_code();
    } else {
      first = take_character();
    }
    char32_t last = first;
    const bool range = next_is("-") && in_.substr(at_ + 1, 1) != "]" &&
                       in_.substr(at_ + 1, 1) != "[" && at_ + 1 < in_.size();
    if (range) {
      const size_t back = at_++;
      if (take("\\")) {
        if (!more()) corrupt("a '\\' at the end");
        if (set_escape(Place::kBrackets)) {
          at_ = back;  // as in [a-\d]: the '-' is itself
          last = first;
        } else {
          last = bracket_code();
        }
      } else {
        last = take_character();
      }
      if (last < first) corrupt("a range that ends before it begins");
    }
    name(first, last);
    set.items += code_text(first);
    if (last != first) set.items.append("-").append(code_text(last));
  }

  char32_t bracket_code() { return take("b") ? char32_t{'\b'} : code_escape(); }

  std::string_view in_;
  const std::string& where_;
  size_t at_ = 0;
  std::string out_;
  std::vector<std::pair<char32_t, char32_t>> named_;
};

}  // namespace

Pcre2Pattern to_pcre2(std::string_view pattern, const std::string& where) {
  return Translator(pattern, where).run();
}

}  // namespace ram
