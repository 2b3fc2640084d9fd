// The file's "pre_tokenizer": splits normalized text into pieces; merges stay within a piece.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "json.h"
#include "pattern.h"

namespace ram {

class PreTokenizer {
 public:
  using PieceFn = std::function<void(std::string_view piece)>;

  /// @throws Error{kCorrupt}; {kUnsupported} a pre-tokenizer that is not supported.
  static PreTokenizer parse(const Node& node);

  /// Calls visit for each piece, in order. Each piece goes through all steps before the next one,
  /// so no list of them is kept.
  /// @param at_start the text begins where the whole input begins.
  void pieces(std::string_view text, bool at_start, MatchScratch& scratch,
              const PieceFn& visit) const;

 private:
  using NextFn = std::function<void(std::string_view piece, bool at_start)>;
  using Step = std::function<void(std::string_view text, bool at_start, MatchScratch& scratch,
                                  const NextFn& next)>;
  void add(Node node);
  void add_byte_level(const Node& node);
  void add_metaspace(const Node& node);
  void run(size_t step, std::string_view text, bool at_start, MatchScratch& scratch,
           const PieceFn& visit) const;

  std::vector<Step> steps_;  ///< sequences flattened; each is a level of run's recursion
};

}  // namespace ram
