// nlohmann's JSON library, compiled once, and the only way to parse JSON: with limits.
//
// Instantiated in every source that uses it, it cost two more seconds of each; now only the
// templates by input and by value are.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

extern template class nlohmann::basic_json<>;
extern template class nlohmann::basic_json<nlohmann::ordered_map>;

namespace ram {

/// What parse_json accepts. The library copies, compares and prints a tree by recursion, so the
/// limit on depth also limits the stack.
struct JsonLimits {
  int64_t bytes = int64_t{256} << 20;  ///< of text
  int depth = 64;                      ///< of nesting; real files stay below 12
  /// Count of numbers, texts, lists, objects and names: each takes at least 16 bytes of memory.
  int64_t values = int64_t{1} << 24;
  /// NaN, Infinity and -Infinity are read as Python's json reads them, and so is 1e999.
  bool non_finite = false;
};

/// The only reader of JSON texts: every text that comes from a file goes through it.
///
/// Of two equal names in an object the last counts, as in Python. An integer beyond 64 bits is kept
/// as a binary value with all its digits; is_number() is false for it.
/// @param name of the text ("config.json"), for messages.
/// @throws Error{kCorrupt} not JSON (with the byte), or beyond a limit (with the limit).
/// @cost one pass; never recursive.
nlohmann::json parse_json(std::string_view text, const std::string& name,
                          const JsonLimits& limits = {});

/// @return a value for a message: one line of JSON, truncated to 60 bytes and "...".
std::string json_shown(const nlohmann::json& value);

}  // namespace ram
