// PCRE2 behind Pattern: compiled once, by its JIT if available; the stack grows on demand, and
// where it ends, the interpreter takes over, which uses the heap.
#include "pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <algorithm>

#include <pcre2.h>

#include "ram/error.h"
#include "ram/utf8.h"

#include "regex_syntax.h"
#include "unicode.h"

namespace ram {
namespace {

constexpr size_t kJitStackStart = size_t{1} << 16;
constexpr size_t kJitStackMost = size_t{1} << 28;  ///< reserved, taken only as far as it is used
constexpr uint32_t kHeapKib = 1U << 20;
// Backtracking allowed for one match: no pattern of a known model needs more.
constexpr size_t kLeastMatchLimit = 1000000;
constexpr size_t kMostMatchLimit = 1000000000;
constexpr size_t kMatchLimitPerByte = 1000;

}  // namespace

struct MatchScratch::State {
  pcre2_match_data* data = nullptr;
  pcre2_match_context* context = nullptr;
  pcre2_jit_stack* stack = nullptr;
};

MatchScratch::MatchScratch(Growth allowed) : growth(allowed), state_(std::make_unique<State>()) {}

MatchScratch::~MatchScratch() {
  pcre2_match_data_free(state_->data);
  pcre2_match_context_free(state_->context);
  pcre2_jit_stack_free(state_->stack);
}

struct Pattern::Regex {
  std::string where;
  pcre2_code* code = nullptr;
  bool jit = false;
  std::vector<std::pair<char32_t, char32_t>> named;

  Regex() = default;
  Regex(const Regex&) = delete;
  Regex& operator=(const Regex&) = delete;
  ~Regex() { pcre2_code_free(code); }
};

Pattern Pattern::literal(std::string text) {
  Pattern pattern;
  pattern.literal_ = std::move(text);
  return pattern;
}

Pattern Pattern::characters(bool (*predicate)(char32_t)) {
  Pattern pattern;
  pattern.predicate_ = predicate;
  return pattern;
}

Pattern Pattern::character(char32_t c) {
  Pattern pattern;
  pattern.is_character_ = true;
  pattern.character_ = c;
  return pattern;
}

Pattern Pattern::regex(std::string_view text, const std::string& where) {
  Pcre2Pattern translated = to_pcre2(text, where);
  auto regex = std::make_shared<Regex>();
  regex->where = where;
  regex->named = std::move(translated.named);
  int error = 0;
  PCRE2_SIZE offset = 0;
  regex->code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.text.data()), translated.text.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &error, &offset, nullptr);
  if (regex->code == nullptr) {
    char message[120] = "";
    pcre2_get_error_message(error, reinterpret_cast<PCRE2_UCHAR*>(message), sizeof message);
    fail(Code::kUnsupported, "a pattern that PCRE2 does not accept: {} ({})", message, where);
  }
  regex->jit = pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE) == 0;
  Pattern pattern;
  pattern.regex_ = std::move(regex);
  return pattern;
}

void Pattern::segments(std::string_view text, MatchScratch& scratch, const SegmentFn& visit) const {
  if (text.empty()) return;
  if (regex_ != nullptr) return regex_segments(text, scratch, visit);
  if (!is_character_ && predicate_ == nullptr) return literal_segments(text, visit);
  size_t seen = 0;
  for_each_character(text, [&](char32_t c, size_t start, size_t end) {
    if (is_character_ ? c != character_ : !predicate_(c)) return;
    if (seen < start) visit({seen, start, false});
    visit({start, end, true});
    seen = end;
  });
  if (seen < text.size()) visit({seen, text.size(), false});
}

void Pattern::literal_segments(std::string_view text, const SegmentFn& visit) const {
  size_t seen = 0;
  for (size_t from = 0; from <= text.size();) {
    const size_t at = text.find(literal_, from);
    if (at == std::string_view::npos) break;
    if (seen < at) visit({seen, at, false});
    seen = at + literal_.size();
    visit({at, seen, true});
    from = seen;
    // The empty literal matches between all characters.
    if (literal_.empty()) from += from < text.size() ? utf8_length(text[from]) : 1;
  }
  if (seen < text.size()) visit({seen, text.size(), false});
}

void Pattern::regex_segments(std::string_view text, MatchScratch& scratch,
                             const SegmentFn& visit) const {
  MatchScratch::State& state = *scratch.state_;
  if (state.data == nullptr) {
    state.data = pcre2_match_data_create(1, nullptr);
    state.context = pcre2_match_context_create(nullptr);
    if (state.data == nullptr || state.context == nullptr) throw std::bad_alloc();
    pcre2_set_heap_limit(state.context, kHeapKib);
  }
  const auto limit = static_cast<uint32_t>(
      std::min(kMostMatchLimit, kLeastMatchLimit + kMatchLimitPerByte * text.size()));
  pcre2_set_match_limit(state.context, limit);
  pcre2_set_depth_limit(state.context, limit);
  std::string storage;
  const std::string_view subject = with_stand_ins(text, regex_->named, storage);
  const auto* bytes = reinterpret_cast<PCRE2_SPTR>(subject.data());
  const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(state.data);
  const auto match = [&](size_t from) {
    int found = PCRE2_ERROR_JIT_STACKLIMIT;
    if (regex_->jit) {
      found = pcre2_jit_match(regex_->code, bytes, subject.size(), from, PCRE2_NO_UTF_CHECK,
                              state.data, state.context);
      if (found == PCRE2_ERROR_JIT_STACKLIMIT && state.stack == nullptr) {
        state.stack = pcre2_jit_stack_create(kJitStackStart, kJitStackMost, nullptr);
        pcre2_jit_stack_assign(state.context, nullptr, state.stack);
        found = pcre2_jit_match(regex_->code, bytes, subject.size(), from, PCRE2_NO_UTF_CHECK,
                                state.data, state.context);
      }
    }
    if (found == PCRE2_ERROR_JIT_STACKLIMIT) {
      found = pcre2_match(regex_->code, bytes, subject.size(), from,
                          PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, state.data, state.context);
    }
    if (found < 0 && found != PCRE2_ERROR_NOMATCH) {
      fail(Code::kUnsupported, "a pattern that backtracks without bound on this text ({})",
           regex_->where);
    }
    return found >= 0;
  };
  size_t seen = 0;
  bool any = false;
  for (size_t from = 0; from <= text.size() && match(from);) {
    const size_t start = ends[0];
    const size_t end = ends[1];
    if (start > end) break;  // \K in a lookahead; to_pcre2 rejects it
    if (start == end && any && seen == end) {
      // An empty match right after the previous match does not count.
      from += from < text.size() ? utf8_length(text[from]) : 1;
      continue;
    }
    if (seen < start) visit({seen, start, false});
    visit({start, end, true});
    any = true;
    seen = from = end;
  }
  if (seen < text.size()) visit({seen, text.size(), false});
}

void split(std::string_view text, const Pattern& pattern, bool invert, SplitBehavior behavior,
           MatchScratch& scratch, const std::function<void(size_t, size_t)>& visit) {
  bool have = false;  // a piece that may still grow
  Segment piece = {};
  bool previous = false;
  const auto flush = [&] {
    if (have && piece.start < piece.end) visit(piece.start, piece.end);
    have = false;
  };
  pattern.segments(text, scratch, [&](Segment segment) {
    segment.match = segment.match != invert;
    switch (behavior) {
      case SplitBehavior::kRemoved:
        if (!segment.match && segment.start < segment.end) visit(segment.start, segment.end);
        return;
      case SplitBehavior::kIsolated:
        if (segment.start < segment.end) visit(segment.start, segment.end);
        return;
      case SplitBehavior::kContiguous:
        if (have && segment.match == previous) {
          piece.end = segment.end;
        } else {
          flush();
          piece = segment;
        }
        break;
      case SplitBehavior::kMergedWithPrevious:
        if (have && segment.match && !previous) {
          piece.end = segment.end;
        } else {
          flush();
          piece = segment;
        }
        break;
      case SplitBehavior::kMergedWithNext:
        if (have && previous && !segment.match) {
          piece.end = segment.end;
        } else {
          flush();
          piece = segment;
        }
        break;
    }
    have = true;
    previous = segment.match;
  });
  flush();
}

}  // namespace ram
