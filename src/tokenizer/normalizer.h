// The file's "normalizer": text to text, before it is cut.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "json.h"
#include "pattern.h"

namespace ram {

class Normalizer {
 public:
  /// @throws Error{kCorrupt}; {kUnsupported} a normalizer that is not handled.
  static Normalizer parse(const Node& node);

  bool empty() const { return steps_.empty(); }
  /// @param at_start the text begins where the whole input does; cleared if its first character is
  ///                 dropped.
  void apply(std::string& text, MatchScratch& scratch, bool& at_start) const;

 private:
  using Step = std::function<void(std::string& text, MatchScratch& scratch, bool& at_start)>;
  void add(Node node);

  std::vector<Step> steps_;  ///< sequences unrolled
};

/// A pattern as Split and Replace have it: {"String": ...} or {"Regex": ...}.
Pattern parse_pattern(const Node& node);

}  // namespace ram
