// Builds the tree from events, so that every limit is checked before memory grows.
#include "ram/json.h"

#include <cmath>
#include <limits>
#include <vector>

#include "ram/error.h"
#include "ram/json_tree.h"
#include "ram/text.h"

namespace ram {
namespace {

using Json = nlohmann::json;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// A text in which values that only Python accepts were replaced by null.
struct Translated {
  struct Replaced {
    size_t null;     ///< which null of the new text
    double value;    ///< the original value
    size_t end;      ///< of the null, in the new text
    int64_t longer;  ///< how much longer the old text is up to here
  };
  std::string text;
  std::vector<Replaced> replaced;
};

/// @return the length of the number at the start of text.
size_t number_length(std::string_view text) {
  return std::min(text.find_first_not_of("+-.0123456789eE"), text.size());
}

/// Whether a number is valid in JSON's grammar but too large for a double.
bool overflows(std::string_view number) {
  const size_t exponent = number.find_first_of("eE");
  if (exponent == std::string_view::npos || Json::accept(number)) return false;
  // Valid if it is valid with an exponent that a double can represent.
  std::string small(number.substr(0, exponent + 1));
  std::string_view rest = number.substr(exponent + 1);
  if (!rest.empty() && (rest.front() == '+' || rest.front() == '-')) rest.remove_prefix(1);
  const bool digits = !rest.empty() && rest.find_first_not_of("0123456789") == rest.npos;
  return digits && Json::accept(small + "0");
}

/// A null is valid where NaN was, if a value is expected there; all other errors in the text
/// remain.
Translated translate(std::string_view text) {
  struct Word {
    std::string_view spelled;
    double value;
  };
  static constexpr Word kWords[] = {
      {"NaN", kNaN}, {"Infinity", kInfinity}, {"-Infinity", -kInfinity}};
  Translated out;
  size_t nulls = 0;
  const auto replace = [&](size_t begin, size_t length, double value) {
    out.text += "null";
    out.replaced.push_back(
        {.null = nulls++,
         .value = value,
         .end = out.text.size(),
         .longer = static_cast<int64_t>(begin + length) - static_cast<int64_t>(out.text.size())});
    return begin + length;
  };
  bool quoted = false;
  for (size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (c == '"') quoted = !quoted;
    if (quoted) {
      const size_t length = c == '\\' ? std::min<size_t>(2, text.size() - i) : 1;
      out.text += text.substr(i, length);
      i += length;
      continue;
    }
    const Word* word = nullptr;
    for (const Word& known : kWords) {
      if (text.substr(i).starts_with(known.spelled)) word = &known;
    }
    if (word != nullptr) {
      i = replace(i, word->spelled.size(), word->value);
      continue;
    }
    const bool number = c == '-' || (c >= '0' && c <= '9');
    const size_t length = number ? number_length(text.substr(i)) : 1;
    if (number && overflows(text.substr(i, length))) {
      i = replace(i, length, c == '-' ? -kInfinity : kInfinity);
      continue;
    }
    if (c == 'n') ++nulls;  // outside of quotes valid JSON has no other n
    out.text += text.substr(i, length);
    i += length;
  }
  return out;
}

class TreeEvents {
 public:
  TreeEvents(Json& root, const std::string& name, const JsonLimits& limits,
             const Translated& translated)
      : root_(root), name_(name), limits_(limits), translated_(translated) {}

  bool null() {
    const auto& replaced = translated_.replaced;
    if (next_ < replaced.size() && replaced[next_].null == nulls_++) {
      return put(replaced[next_++].value);
    }
    return put(nullptr);
  }
  bool boolean(bool value) { return put(value); }
  bool number_integer(int64_t value) { return put(value); }
  bool number_unsigned(uint64_t value) { return put(value); }
  bool string(std::string& value) { return put(std::move(value)); }
  bool binary(Json::binary_t& /*value*/) { return false; }

  bool number_float(double value, const std::string& text) {
    // Integers beyond 64 bits arrive here; as doubles they would lose digits.
    if (text.find_first_of(".eE") == std::string::npos) {
      return put(Json::binary(std::vector<uint8_t>(text.begin(), text.end())));
    }
    return put(value);
  }

  bool start_object(size_t /*elements*/) { return open(Json::object()); }
  bool start_array(size_t /*elements*/) { return open(Json::array()); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }

  bool key(std::string& name) {
    count();
    slot_ = &(*open_.back())[name];  // the last of two equal names counts, as in Python
    return true;
  }

  bool parse_error(size_t position, const std::string& /*token*/,
                   const nlohmann::detail::exception& error) {
    constexpr int kOutOfRange = 406;
    int64_t longer = 0;
    for (const auto& replaced : translated_.replaced) {
      if (replaced.end <= position) longer = replaced.longer;
    }
    fail(Code::kCorrupt, "not valid JSON at byte {}{} ({})",
         static_cast<int64_t>(position) + longer,
         error.id == kOutOfRange ? ": a number out of range" : "", name_);
  }

 private:
  void count() {
    if (++values_ > limits_.values) {
      fail(Code::kCorrupt, "JSON of more than {} values ({})", limits_.values, name_);
    }
  }

  Json* place() {
    if (open_.empty()) return &root_;
    if (open_.back()->is_object()) return slot_;
    open_.back()->push_back(nullptr);
    return &open_.back()->back();
  }

  template <typename Value>
  bool put(Value&& value) {
    count();
    *place() = std::forward<Value>(value);
    return true;
  }

  bool open(Json empty) {
    count();
    if (std::ssize(open_) == limits_.depth) {
      fail(Code::kCorrupt, "JSON nested deeper than {} levels ({})", limits_.depth, name_);
    }
    Json* at = place();
    *at = std::move(empty);
    open_.push_back(at);
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  Json& root_;
  const std::string& name_;
  const JsonLimits& limits_;
  const Translated& translated_;
  // Pointers to parents stay valid while a child grows: only the innermost is appended to.
  std::vector<Json*> open_;
  Json* slot_ = nullptr;
  int64_t values_ = 0;
  size_t nulls_ = 0;
  size_t next_ = 0;
};

}  // namespace

nlohmann::json parse_json(std::string_view text, const std::string& name,
                          const JsonLimits& limits) {
  if (std::ssize(text) > limits.bytes) {
    fail(Code::kCorrupt, "{} bytes of JSON, expected at most {} ({})", text.size(), limits.bytes,
         name);
  }
  const size_t zero = text.find('\0');
  const Translated translated = limits.non_finite ? translate(text) : Translated{};
  if (limits.non_finite) text = translated.text;
  Json root;
  TreeEvents events(root, name, limits, translated);
  try {
    Json::sax_parse(text.begin(), text.end(), &events);
    // The library takes a zero byte for the end of the text.
    if (zero != std::string_view::npos) {
      fail(Code::kCorrupt, "not valid JSON at byte {}: a zero byte ({})", zero + 1, name);
    }
  } catch (...) {  // including out of memory
    clear_json(root);
    throw;
  }
  return root;
}

void clear_json(nlohmann::json& tree) noexcept {
  // The library then destroys an empty tree, for which it allocates no vector.
  if (auto* list = tree.get_ptr<Json::array_t*>()) {
    for (Json& inner : *list) clear_json(inner);
    list->clear();
  } else if (auto* object = tree.get_ptr<Json::object_t*>()) {
    for (auto& [name, inner] : *object) clear_json(inner);
    object->clear();
  }
}

std::string json_shown(const nlohmann::json& value) {
  constexpr size_t kMost = 60;
  std::string text;
  if (value.is_binary()) {
    text.assign(value.get_binary().begin(), value.get_binary().end());
  } else {
    text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  }
  return printable(text, kMost);
}

}  // namespace ram
