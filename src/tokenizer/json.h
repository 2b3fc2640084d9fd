// Fields of tokenizer.json, with errors that say where they are.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "ram/json.h"

namespace ram {

using Json = nlohmann::json;

/// A part of the file: its value, and how messages name it ("pre_tokenizer Split, tokenizer.json").
/// Every reader throws Error{kCorrupt} where the field is not of its type.
class Node {
 public:
  Node(const Json& value, std::string where) : value_(&value), where_(std::move(where)) {}

  const Json& value() const { return *value_; }
  const std::string& where() const { return where_; }

  /// "type" of a component; later messages name it. @throws Error{kCorrupt} not an object.
  std::string type(std::string_view kind);

  bool has(const char* name) const;          ///< present and not null
  Node at(const char* name) const;           ///< @throws Error{kCorrupt} missing
  std::string text(const char* name) const;  ///< well-formed UTF-8
  std::optional<std::string> optional_text(const char* name) const;  ///< nothing: missing or null
  bool flag(const char* name) const;
  bool flag(const char* name, bool otherwise) const;
  int64_t whole(const char* name, int64_t most) const;  ///< 0 to most
  char32_t character(const char* name) const;           ///< a string of one character
  const Json& list(const char* name) const;

  [[noreturn]] void corrupt(std::string_view what) const;
  /// @param handled what is supported instead.
  [[noreturn]] void unsupported(std::string_view what, std::string_view handled) const;

 private:
  const Json* value_;
  std::string where_;
};

/// @throws Error{kUnsupported} the sequence already has kMostSteps components.
void check_steps(const Node& node, size_t steps);

/// @return text truncated to what fits into a message, on one line.
std::string shown(std::string_view text);

}  // namespace ram
