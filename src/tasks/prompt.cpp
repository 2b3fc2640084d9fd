// From a question's text to the scored tokens.
#include <algorithm>
#include <map>

#include "ram/error.h"
#include "ram/tasks.h"

#include "python_text.h"

namespace ram {
namespace {

TokenRow encode(const Tokenizer& tokenizer, std::string_view text) {
  TokenRow ids = tokenizer.prefix_ids();
  const TokenRow own = tokenizer.encode(text, Specials::kNone);
  ids.insert(ids.end(), own.begin(), own.end());
  return ids;
}

int64_t common_prefix(std::span<const int32_t> a, std::span<const int32_t> b) {
  return std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
}

}  // namespace

int64_t PromptTokens::naive_tokens() const {
  int64_t tokens = 0;
  for (const TokenRow& row : rows) tokens += std::ssize(row) - 1;
  return tokens;
}

// White space at the end of a context moves to the continuation. Both are tokenized together, and
// the length of the tokenized context is removed.
// @source lm-evaluation-harness 0.4.11, api/model.py, _encode_pair; models/huggingface.py,
//         tok_encode, _loglikelihood_tokens
PromptTokens tokenize_question(const TaskQuestion& question, const Tokenizer& tokenizer,
                               int64_t context) {
  PromptTokens prompt;
  std::string before;
  TokenRow before_ids;
  for (size_t c = 0; c < question.continuations.size(); ++c) {
    const std::string& own =
        question.contexts.size() > 1 ? question.contexts[c] : question.contexts.front();
    std::string text = question.shared + own;
    std::string stripped(python_rstrip(text));
    if (c == 0 || stripped != before) {
      before = std::move(stripped);
      before_ids = encode(tokenizer, before);
    }
    const TokenRow whole = encode(tokenizer, text + question.continuations[c]);
    TokenRow row = before_ids;
    if (whole.size() > row.size()) {
      row.insert(row.end(), whole.begin() + std::ssize(row), whole.end());
    }
    const int64_t scored = std::ssize(row) - std::ssize(before_ids);
    if (before_ids.empty() || scored < 1 || scored > context) {
      fail(Code::kUnsupported,
           "question {}: choice {} is {} tokens after {}: at least one before it and one in it "
           "are needed, and the model takes {}",
           question.id, c, scored, before_ids.size(), context);
    }
    const int64_t cut = std::max<int64_t>(0, std::ssize(row) - context - 1);
    row.erase(row.begin(), row.begin() + cut);
    prompt.cut = std::max(prompt.cut, cut);
    prompt.scored.push_back(scored);
    prompt.rows.push_back(std::move(row));
  }
  if (prompt.cut == 0 && !question.shared.empty()) {
    const TokenRow shared = encode(tokenizer, question.shared);
    prompt.shared = std::ssize(shared);
    for (const TokenRow& row : prompt.rows) {
      prompt.shared = std::min(prompt.shared, common_prefix(shared, row));
    }
  }
  return prompt;
}

ChoiceScorer::ChoiceScorer(LanguageModel& model)
    : model_(model), decoder_(model, model.checkpoint().config.max_positions) {}

// The shared tokens are always fed separately, so that an answer is bitwise the same whether the
// decoder already held them or not.
std::vector<double> ChoiceScorer::score(const TokenRow& prefix, int64_t shared,
                                        std::span<const Continuation> continuations) {
  const std::span<const int32_t> ids(prefix);
  shared = std::min(shared, std::ssize(prefix) - 1);
  const std::span<const int32_t> wanted = ids.first(static_cast<size_t>(shared));
  if (std::ranges::equal(wanted, held_)) {
    decoder_.truncate(shared);
  } else {
    held_.clear();
    decoder_.truncate(0);
    if (!wanted.empty()) decoder_.feed(wanted);
    held_.assign(wanted.begin(), wanted.end());
    tokens_ += shared;
  }
  tokens_ += std::ssize(prefix) - shared;
  for (const Continuation& continuation : continuations) {
    tokens_ += std::ssize(continuation.ids) - 1;
  }
  std::vector<double> scores;
  for (const ContinuationScore& score :
       decoder_.score(ids.subspan(static_cast<size_t>(shared)), continuations)) {
    scores.push_back(score.log_likelihood);
  }
  return scores;
}

std::vector<double> ChoiceScorer::log_likelihoods(const PromptTokens& prompt) {
  const TokenRow& first = prompt.rows.front();
  for (const TokenRow& row : prompt.rows) {
    if (std::ssize(row) <= longest_) continue;
    longest_ = std::ssize(row);
    (void)model_.rows_at_once(std::min(longest_, Decoder::kBlock));  // refuses too little memory
  }
  // The common beginning of all choices, within the context.
  int64_t common = std::ssize(first);
  for (size_t c = 0; c < prompt.rows.size(); ++c) {
    const TokenRow& row = prompt.rows[c];
    common = std::min({common, common_prefix(first, row), std::ssize(row) - prompt.scored[c]});
  }
  const auto continuation = [&](size_t c, int64_t from) {
    const TokenRow& row = prompt.rows[c];
    return Continuation{.ids = std::span<const int32_t>(row).subspan(static_cast<size_t>(from)),
                        .first_scored = std::ssize(row) - prompt.scored[c] - from};
  };
  std::vector<Continuation> continuations;
  if (common > 0) {
    for (size_t c = 0; c < prompt.rows.size(); ++c)
      continuations.push_back(continuation(c, common));
    return score({first.begin(), first.begin() + common}, prompt.shared, continuations);
  }
  // Truncated to different beginnings: choices with the same context are scored together.
  std::map<TokenRow, std::vector<size_t>> contexts;
  for (size_t c = 0; c < prompt.rows.size(); ++c) {
    const TokenRow& row = prompt.rows[c];
    contexts[{row.begin(), row.end() - prompt.scored[c]}].push_back(c);
  }
  std::vector<double> scores(prompt.rows.size());
  for (const auto& [context, members] : contexts) {
    continuations.clear();
    for (const size_t c : members) continuations.push_back(continuation(c, std::ssize(context)));
    const std::vector<double> own = score(context, 0, continuations);
    for (size_t i = 0; i < members.size(); ++i) scores[members[i]] = own[i];
  }
  return scores;
}

}  // namespace ram
