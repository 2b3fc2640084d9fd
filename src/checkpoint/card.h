// The front matter of a model card: the few fields that the finished folder's card keeps.
#pragma once

#include <string_view>

#include "ram/checkpoint.h"

namespace ram {

/// Reads the YAML block between the first two lines of "---". It understands top-level keys with a
/// scalar, a list in brackets or a list of "- " lines; anything else, damage included, is skipped.
/// @cost O(text); at most kMaxCardValues values of a list are kept.
ModelCard parse_card(std::string_view text);

/// The card in `folder`/README.md; empty if that is missing or cannot be read.
ModelCard read_card(const std::filesystem::path& folder);

inline constexpr size_t kMaxCardValues = 64;
/// A longer value is not a licence, language or tag.
inline constexpr size_t kMaxCardValueBytes = 300;

}  // namespace ram
