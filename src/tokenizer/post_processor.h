// The file's "post_processor": the ids before and after a text.
#pragma once

#include <vector>

#include "ram/tokenizer.h"

#include "json.h"

namespace ram {

struct Surroundings {
  std::vector<TokenId> prefix;
  std::vector<TokenId> suffix;
};

/// @throws Error{kCorrupt}; {kUnsupported} an unknown post-processor, or a template that does not
/// have the text exactly once.
Surroundings parse_post_processor(const Node& node);

}  // namespace ram
