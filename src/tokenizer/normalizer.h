// The file's "normalizer": text to text, before the split into pieces.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "json.h"
#include "pattern.h"

namespace ram {

class Normalizer {
 public:
  /// @throws Error{kCorrupt}; {kUnsupported} a normalizer that is not supported.
  static Normalizer parse(const Node& node);

  bool empty() const { return steps_.empty(); }
  /// @param at_start the text begins where the whole input begins; cleared if its first character
  /// is removed.
  void apply(std::string& text, MatchScratch& scratch, bool& at_start) const;

 private:
  using Step = std::function<void(std::string& text, MatchScratch& scratch, bool& at_start)>;
  void add(Node node);

  std::vector<Step> steps_;  ///< sequences flattened
};

/// A pattern of Split or Replace: {"String": ...} or {"Regex": ...}.
Pattern parse_pattern(const Node& node);

}  // namespace ram
