// What splits and replaces: a literal, a regular expression or a predicate over characters; and the
// five ways in which a split treats its matches.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "growth.h"

namespace ram {

/// What one thread needs to run steps; one per call of encode or decode.
class MatchScratch {
 public:
  explicit MatchScratch(Growth allowed);
  ~MatchScratch();
  MatchScratch(const MatchScratch&) = delete;
  MatchScratch& operator=(const MatchScratch&) = delete;

  Growth growth;

 private:
  friend class Pattern;
  struct State;
  std::unique_ptr<State> state_;
};

struct Segment {
  size_t start;
  size_t end;
  bool match;
};
using SegmentFn = std::function<void(Segment)>;

/// Read-only once made.
class Pattern {
 public:
  static Pattern literal(std::string text);
  /// @throws Error{kUnsupported, kCorrupt} as to_pcre2, or PCRE2 does not accept it.
  static Pattern regex(std::string_view text, const std::string& where);
  static Pattern characters(bool (*predicate)(char32_t));
  static Pattern character(char32_t c);

  /// Splits text into matches and the stretches between them, in order; empty matches included.
  /// @throws Error{kUnsupported} the pattern backtracks beyond the limit.
  void segments(std::string_view text, MatchScratch& scratch, const SegmentFn& visit) const;

 private:
  struct Regex;
  Pattern() = default;
  void regex_segments(std::string_view text, MatchScratch& scratch, const SegmentFn& visit) const;
  void literal_segments(std::string_view text, const SegmentFn& visit) const;

  std::string literal_;
  bool (*predicate_)(char32_t) = nullptr;
  char32_t character_ = 0;
  bool is_character_ = false;
  std::shared_ptr<const Regex> regex_;
};

enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

/// Calls visit(start, end) for each piece that is not empty.
void split(std::string_view text, const Pattern& pattern, bool invert, SplitBehavior behavior,
           MatchScratch& scratch, const std::function<void(size_t, size_t)>& visit);

}  // namespace ram
