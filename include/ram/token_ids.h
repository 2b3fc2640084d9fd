// Parses token ids from other sources: JSON in a file, or words on stdin. Part of the module
// `tokenizer`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ram/tokenizer.h"

namespace ram {

inline constexpr int64_t kMostIdBytes = int64_t{1} << 30;  ///< of a file of ids

/// @param json a list of lists of ids, all of the same length.
/// @param file named in messages.
/// @return at least one row, none empty; ids are 0 to 2^31 - 1.
/// @throws Error{kCorrupt} anything else.
std::vector<std::vector<TokenId>> parse_id_rows(std::string_view json, const std::string& file);

/// @param text ids separated by spaces, line ends or commas, brackets allowed: a line of ids, or a
///         JSON list.
/// @throws Error{kCorrupt} a word that is not an id of the tokenizer.
std::vector<TokenId> parse_id_words(std::string_view text, const Tokenizer& tokenizer);

/// Removes the ids that encoding with Specials::kAdd puts around a text, if present.
void drop_template(const Tokenizer& tokenizer, std::vector<TokenId>& ids);

}  // namespace ram
