// Unicode meaning of Oniguruma's sets, spelled so that none depends on PCRE2's own \s and \w.
#include "regex_class.h"

#include <array>

#include <fmt/format.h>

#include "ram/error.h"

namespace ram {
namespace {

constexpr std::string_view kSpace =
    R"(\t-\r \x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kWord = R"(\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\x{24b6}-\x{24e9})"
                                   R"(\x{1f130}-\x{1f149}\x{1f150}-\x{1f169}\x{1f170}-\x{1f189})";
// Outside of brackets \w matches these too: Oniguruma has a separate table for Latin-1 there.
constexpr std::string_view kWordLatin1 = R"(\x{b2}\x{b3}\x{b9}\x{bc}-\x{be})";
constexpr std::string_view kHex = "0-9a-fA-F";

struct Name {
  std::string_view name;
  std::string_view items;
};

constexpr std::array kNames = {
    Name{"letter", R"(\p{L})"},
    Name{"mark", R"(\p{M})"},
    Name{"combiningmark", R"(\p{M})"},
    Name{"number", R"(\p{N})"},
    Name{"punctuation", R"(\p{P})"},
    Name{"symbol", R"(\p{S})"},
    Name{"separator", R"(\p{Z})"},
    Name{"other", R"(\p{C})"},
    Name{"uppercaseletter", R"(\p{Lu})"},
    Name{"lowercaseletter", R"(\p{Ll})"},
    Name{"titlecaseletter", R"(\p{Lt})"},
    Name{"modifierletter", R"(\p{Lm})"},
    Name{"otherletter", R"(\p{Lo})"},
    Name{"casedletter", R"(\p{Lu}\p{Ll}\p{Lt})"},
    Name{"lc", R"(\p{Lu}\p{Ll}\p{Lt})"},
    Name{"nonspacingmark", R"(\p{Mn})"},
    Name{"spacingmark", R"(\p{Mc})"},
    Name{"enclosingmark", R"(\p{Me})"},
    Name{"decimalnumber", R"(\p{Nd})"},
    Name{"letternumber", R"(\p{Nl})"},
    Name{"othernumber", R"(\p{No})"},
    Name{"connectorpunctuation", R"(\p{Pc})"},
    Name{"dashpunctuation", R"(\p{Pd})"},
    Name{"openpunctuation", R"(\p{Ps})"},
    Name{"closepunctuation", R"(\p{Pe})"},
    Name{"initialpunctuation", R"(\p{Pi})"},
    Name{"finalpunctuation", R"(\p{Pf})"},
    Name{"otherpunctuation", R"(\p{Po})"},
    Name{"mathsymbol", R"(\p{Sm})"},
    Name{"currencysymbol", R"(\p{Sc})"},
    Name{"modifiersymbol", R"(\p{Sk})"},
    Name{"othersymbol", R"(\p{So})"},
    Name{"spaceseparator", R"(\p{Zs})"},
    Name{"lineseparator", R"(\p{Zl})"},
    Name{"paragraphseparator", R"(\p{Zp})"},
    Name{"control", R"(\p{Cc})"},
    Name{"cntrl", R"(\p{Cc})"},
    Name{"format", R"(\p{Cf})"},
    Name{"privateuse", R"(\p{Co})"},
    Name{"unassigned", R"(\p{Cn})"},
    Name{"assigned", R"(\P{Cn})"},
    Name{"any", R"(\x{0}-\x{10ffff})"},
    Name{"ascii", R"(\x{0}-\x{7f})"},
    Name{"space", kSpace},
    Name{"whitespace", kSpace},
    Name{"word", kWord},
    Name{"digit", R"(\p{Nd})"},
    Name{"xdigit", kHex},
    Name{"blank", R"(\p{Zs}\t)"},
    Name{"alpha", R"(\p{Alphabetic})"},
    Name{"alphabetic", R"(\p{Alphabetic})"},
    Name{"alnum", R"(\p{Alphabetic}\p{Nd})"},
    Name{"upper", R"(\p{Uppercase})"},
    Name{"uppercase", R"(\p{Uppercase})"},
    Name{"lower", R"(\p{Lowercase})"},
    Name{"lowercase", R"(\p{Lowercase})"},
    Name{"punct", R"(\p{P})"},  // between [: and :] also symbols
    Name{"emoji", R"(\p{Emoji})"},
    Name{"extendedpictographic", R"(\p{Extended_Pictographic})"},
};

constexpr std::string_view kCategories =
    " l lu ll lt lm lo m mn mc me n nd nl no p pc pd ps pe pi pf po s sm sc sk so z zs zl zp c cc "
    "cf "
    "cn co ";

}  // namespace

void CharacterSet::add(const CharacterSet& set) {
  items += set.items;
  others.insert(others.end(), set.others.begin(), set.others.end());
}

std::string CharacterSet::text() const {
  if (others.empty()) return items.empty() ? "(?!)" : "[" + items + "]";
  if (others.size() == 1 && items.empty()) return others.front();
  std::string out = "(?:";
  if (!items.empty()) out += "[" + items + "]|";
  for (const std::string& other : others) out += other + "|";
  out.back() = ')';
  return out;
}

CharacterSet CharacterSet::complement() const {
  if (others.empty())
    return {.items = items.empty() ? R"(\x{0}-\x{10ffff})" : "",
            .others = items.empty() ? std::vector<std::string>() : std::vector{"[^" + items + "]"}};
  return {.items = "", .others = {"(?:(?!" + text() + ")(?s:.))"}};
}

CharacterSet CharacterSet::intersection(const CharacterSet& other) const {
  return {.items = "", .others = {"(?:(?=" + text() + ")" + other.text() + ")"}};
}

std::optional<CharacterSet> escape_set(char letter, Place place) {
  const bool complement = letter >= 'A' && letter <= 'Z';
  CharacterSet set;
  switch (letter | 0x20) {
    case 'd':
      set.items = R"(\p{Nd})";
      break;
    case 's':
      set.items = kSpace;
      break;
    case 'w':
      set.items = kWord;
      if (place == Place::kOutside) set.items += kWordLatin1;
      break;
    case 'h':
      set.items = kHex;
      break;
    default:
      return std::nullopt;
  }
  return complement ? set.complement() : set;
}

CharacterSet property_set(std::string_view name, Place place, const std::string& where) {
  std::string plain;  // letters and digits in lower case
  std::string script;
  const bool negated = !name.empty() && name.front() == '^';
  for (const char c : name.substr(negated ? 1 : 0)) {
    const bool upper = c >= 'A' && c <= 'Z';
    if (upper || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) {
      plain += upper ? static_cast<char>(c + 32) : c;
    } else if (c != ' ' && c != '_' && c != '-') {
      plain.clear();
      break;
    }
    script += c;
  }
  if (plain.empty() || plain.size() > 40) {
    fail(Code::kUnsupported, "\\p{{...}}: use the name of a category or script ({})", where);
  }
  CharacterSet set;
  for (const Name& known : kNames) {
    if (known.name == plain) set.items = known.items;
  }
  if (plain == "word" && place == Place::kOutside) set.items += kWordLatin1;
  if (plain == "punct" && place == Place::kPosix) set.items += R"(\p{S})";
  if (set.items.empty()) {
    const bool category =
        plain.size() <= 2 && kCategories.find(" " + plain + " ") != std::string_view::npos;
    if (category) {
      plain[0] = static_cast<char>(plain[0] - 32);
      set.items = "\\p{" + plain + "}";
    } else {
      set.items = "\\p{sc:" + script + "}";  // PCRE2 rejects a script that it does not know
    }
  }
  return negated ? set.complement() : set;
}

std::string code_text(char32_t code) {
  return fmt::format("\\x{{{:x}}}", static_cast<uint32_t>(code));
}

}  // namespace ram
