// The file's "decoder": tokens to text.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "json.h"
#include "pattern.h"

namespace ram {

class TokenDecoder {
 public:
  /// @throws Error{kCorrupt}; {kUnsupported} a decoder that is not supported.
  static TokenDecoder parse(const Node& node);

  /// @param tokens spelled as in the file.
  std::string text(std::vector<std::string> tokens) const;

 private:
  using Step = std::function<void(std::vector<std::string>& tokens, MatchScratch& scratch)>;
  void add(Node node);

  std::vector<Step> steps_;  ///< sequences flattened
};

}  // namespace ram
