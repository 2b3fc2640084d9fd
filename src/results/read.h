// Shared by the readers of this module.
#pragma once

#include <string>
#include <utility>

#include "ram/error.h"
#include "ram/json.h"
#include "ram/json_tree.h"

namespace ram {

/// Reads a record from a document's JSON.
/// @param take from the tree to the record; may throw what the library throws.
/// @throws Error{kCorrupt} with the message of the JSON reader or of `take`.
template <typename Take>
auto take_json(const std::string& text, const Take& take) {
  try {
    const JsonTree tree(parse_json(text, "JSON"));
    return take(*tree);
  } catch (const nlohmann::json::exception& error) {
    fail(Code::kCorrupt, "{}", error.what());
  }
}

/// @return the parts of a two-word key before and after the space.
inline std::pair<std::string, std::string> two_words(const std::string& key) {
  const size_t space = key.find(' ');
  return {key.substr(0, space), key.substr(space + 1)};
}

}  // namespace ram
