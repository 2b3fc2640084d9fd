// The front matter of a model card: the few fields of it that the finished folder's card keeps.
#pragma once

#include <string_view>

#include "ram/checkpoint.h"

namespace ram {

/// Reads the block of YAML between the first two lines of "---". Understood are top-level keys with
/// a scalar, a list in brackets or a list of "- " lines; all else is passed over, as damage is.
/// @cost O(text); at most kMaxCardValues values of a list are kept.
ModelCard parse_card(std::string_view text);

/// Of `folder`/README.md; an empty card where that is missing or cannot be read.
ModelCard read_card(const std::filesystem::path& folder);

inline constexpr size_t kMaxCardValues = 64;
/// Longer values are no licence, language or tag.
inline constexpr size_t kMaxCardValueBytes = 300;

}  // namespace ram
