// Token ids that people and other programs give: as JSON in a file, as words on stdin. Part of the
// module `tokenizer`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ram/tokenizer.h"

namespace ram {

inline constexpr int64_t kMostIdBytes = int64_t{1} << 30;  ///< of a file of ids

/// @param json a list of lists of ids, all of one length.
/// @param file named in messages.
/// @return at least one row, none empty; ids are 0 to 2^31 - 1.
/// @throws Error{kCorrupt} anything else.
std::vector<std::vector<TokenId>> parse_id_rows(std::string_view json, const std::string& file);

/// @param text ids between spaces, line ends or commas, brackets allowed: a line of ids, or a JSON
///        list.
/// @throws Error{kCorrupt} a word that is no id of the tokenizer.
std::vector<TokenId> parse_id_words(std::string_view text, const Tokenizer& tokenizer);

/// Takes away what encoding with Specials::kAdd puts around a text, if it is there.
void drop_template(const Tokenizer& tokenizer, std::vector<TokenId>& ids);

}  // namespace ram
