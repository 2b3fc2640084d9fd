// nlohmann's JSON, compiled once, and the one way to read it: with bounds.
//
// Instantiated in every source that uses it, it took two seconds more of each; only its templates
// by input and by value are still.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

extern template class nlohmann::basic_json<>;
extern template class nlohmann::basic_json<nlohmann::ordered_map>;

namespace ram {

/// What parse_json accepts. The library copies, compares and prints a tree by recursion, so that
/// a bound on depth is a bound on the stack.
struct JsonLimits {
  int64_t bytes = int64_t{256} << 20;  ///< of text
  int depth = 64;                      ///< of nesting; real files stay below 12
  /// Of numbers, texts, lists, objects, names: each takes 16 bytes of memory and more.
  int64_t values = int64_t{1} << 24;
  /// NaN, Infinity and -Infinity are read as Python's json reads them, and so is 1e999.
  bool non_finite = false;
};

/// The only reader of JSON texts: every text that comes from a file goes through it.
///
/// Of two equal names in an object the last counts, as in Python. An integer beyond 64 bits is
/// kept digit by digit as a binary value: is_number() is false of it, and no digit is lost.
/// @param name of the text, as "config.json": messages name it.
/// @throws Error{kCorrupt} not JSON (with the byte), or beyond a limit (with the limit).
/// @cost one pass; never recursive.
nlohmann::json parse_json(std::string_view text, const std::string& name,
                          const JsonLimits& limits = {});

/// @return a value as a message shows it: one line of JSON, cut to 60 bytes and "...".
std::string json_shown(const nlohmann::json& value);

}  // namespace ram
