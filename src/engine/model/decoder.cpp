// Token by token, with the keys and values of the previous tokens.
#include <algorithm>
#include <cmath>

#include "ram/error.h"
#include "ram/scoped.h"
#include "ram/size.h"

#include "model/state.h"

namespace ram {
namespace {

constexpr int64_t kLeastRoom = 256;

/// State of one position while its logits arrive in pieces: the log-likelihood of one id, and
/// whether it is the most likely one.
struct Place {
  int32_t id = 0;
  float logit = 0;  // of the id
  int64_t likeliest = 0;
  ExpSum all;

  void add(const float* logits, int64_t first_id, int64_t count) {
    const float* top = std::max_element(logits, logits + count);
    ExpSum piece{.largest = double{*top}};
    if (piece.largest > all.largest) likeliest = first_id + (top - logits);
    for (int64_t i = 0; i < count; ++i) piece.sum += std::exp(double{logits[i]} - piece.largest);
    all.add(piece);
    if (id >= first_id && id < first_id + count) logit = logits[id - first_id];
  }
  double log_likelihood() const { return double{logit} - all.log(); }
};

}  // namespace

struct Decoder::State {
  State(LanguageModel& model_in, int64_t capacity_in)
      : model(model_in),
        use(*model_in.state_),
        capacity(capacity_in),
        sequence(use.backend->make_state()),
        logits(static_cast<size_t>(use.vocabulary())) {}

  LanguageModel& model;
  LanguageModel::State& use;
  int64_t capacity;
  int64_t length = 0;
  int64_t room = 0;  // tokens for which the sequence's state has memory
  std::unique_ptr<SequenceState> sequence;
  std::vector<float> logits;

  void make_room(int64_t tokens);
  void check_room(int64_t more) const;
  Tensor forward(std::span<const int32_t> ids);
  void take_logits(const Tensor& hidden);
  /// Takes all but the last id of each continuation through the layers; a single id needs none.
  std::vector<Sequence> branches(std::span<const Continuation> continuations);
};

namespace {

/// Undoes what a failed call added to a decoder, so that it can be repeated.
class KeepsLength {
 public:
  explicit KeepsLength(int64_t& length) : length_(&length), before_(length) {}
  ~KeepsLength() {
    if (length_ != nullptr) *length_ = before_;
  }
  KeepsLength(const KeepsLength&) = delete;
  KeepsLength& operator=(const KeepsLength&) = delete;
  void done() { length_ = nullptr; }

 private:
  int64_t* length_;
  int64_t before_;
};

}  // namespace

/// Doubles, so that a large capacity costs memory only as it is used.
void Decoder::State::make_room(int64_t tokens) {
  if (tokens <= room) return;
  const int64_t larger_room = std::min(capacity, std::max({tokens, 2 * room, kLeastRoom}));
  use.backend->grow(*sequence, larger_room, length);
  room = larger_room;  // last: if the allocation fails, the room is unchanged
}

Decoder::Decoder(LanguageModel& model, int64_t capacity)
    : state_(std::make_unique<State>(model, capacity)) {}

Decoder::~Decoder() = default;
Decoder::Decoder(Decoder&&) noexcept = default;

LanguageModel& Decoder::model() const {
  return state_->model;
}

int64_t Decoder::length() const {
  return state_->length;
}

void Decoder::truncate(int64_t length) {
  RAM_CHECK(length >= 0 && length <= state_->length);
  state_->length = length;
}

/// Takes ids through all layers, after those already held. @return the hidden states of the last
/// block.
Tensor Decoder::State::forward(std::span<const int32_t> ids) {
  RAM_CHECK(!ids.empty());
  check_room(std::ssize(ids));
  use.check_ids(ids, length);
  make_room(length + std::ssize(ids));
  Tensor hidden;
  while (!ids.empty()) {
    const auto count = std::min<size_t>(ids.size(), kBlock);
    std::vector<Sequence> sequences(1);
    sequences[0].hidden = use.backend->embed(use.checkpoint.embedding, ids.first(count));
    sequences[0].position = length;
    sequences[0].state = sequence.get();
    use.run(sequences, 0, model.layers(), {});
    hidden = sequences[0].hidden;
    length += static_cast<int64_t>(count);
    ids = ids.subspan(count);
  }
  return hidden;
}

void Decoder::State::check_room(int64_t more) const {
  if (length + more <= capacity) return;
  fail(Code::kUsage, "{} tokens after {}: this decoder holds {}", more, length, capacity);
}

std::vector<Sequence> Decoder::State::branches(std::span<const Continuation> continuations) {
  std::vector<Sequence> sequences;
  int64_t longest = 0;
  for (const Continuation& continuation : continuations) {
    RAM_CHECK(continuation.first_scored >= 0 &&
              continuation.first_scored < std::ssize(continuation.ids));
    longest = std::max<int64_t>(longest, std::ssize(continuation.ids) - 1);
    use.check_ids(continuation.ids, length);
  }
  check_room(longest);
  make_room(length + longest);
  for (const Continuation& continuation : continuations) {
    if (continuation.ids.size() == 1) continue;
    Sequence& branch = sequences.emplace_back();
    branch.hidden = use.backend->embed(use.checkpoint.embedding,
                                       continuation.ids.first(continuation.ids.size() - 1));
    branch.position = length;
    branch.state = sequence.get();
  }
  // All write their keys into the same room after the held tokens, and read them before the next
  // one does.
  if (!sequences.empty()) use.run(sequences, 0, model.layers(), {}, /*in_turn=*/true);
  return sequences;
}

/// Logits after the last row of a hidden state. @pre the head is loaded.
void Decoder::State::take_logits(const Tensor& hidden) {
  Backend& backend = *use.backend;
  const Tensor normed = backend.rms_norm(backend.copy_rows(hidden, hidden.rows - 1, 1),
                                         use.checkpoint.final_norm, use.config().rms_norm_eps);
  const Tensor row = backend.logits(normed, use.checkpoint.head);
  const std::span<const float> values = backend.host(row);
  std::copy(values.begin(), values.end(), logits.begin());
  if (backend.find_non_finite(row) >= 0) {
    fail(Code::kCorrupt, "{}: a logit is not finite at position {}, after the last layer",
         use.checkpoint.name, length - 1);
  }
}

std::span<const float> Decoder::feed(std::span<const int32_t> ids) {
  KeepsLength all_or_nothing(state_->length);
  const Tensor hidden = state_->forward(ids);
  Backend& backend = *state_->use.backend;
  const WeightSlice head{.unit = state_->use.checkpoint.head};
  const AtScopeExit release([&backend] { backend.release(); });
  backend.acquire({&head, 1}, {.fewest = 1, .most = 1});
  state_->take_logits(hidden);
  all_or_nothing.done();
  return logits();
}

void Decoder::feed_each(std::span<Decoder> decoders, std::span<const int32_t> ids) {
  RAM_CHECK(!decoders.empty() && decoders.size() == ids.size());
  LanguageModel& model = decoders.front().state_->model;
  LanguageModel::State& use = *model.state_;
  Backend& backend = *use.backend;
  std::vector<Sequence> sequences(1);
  Sequence& all = sequences.front();
  all.position = decoders.front().state_->length;
  for (size_t i = 0; i < ids.size(); ++i) use.check_ids(ids.subspan(i, 1), all.position);
  for (Decoder& decoder : decoders) {
    State& state = *decoder.state_;
    RAM_CHECK(&state.model == &model && state.length == all.position);
    state.check_room(1);
    state.make_room(state.length + 1);
    all.abreast.push_back(state.sequence.get());
  }
  // A row's bits do not depend on the others.
  backend.keep_rows_apart(true);
  const AtScopeExit together([&backend] { backend.keep_rows_apart(false); });
  all.hidden = backend.embed(use.checkpoint.embedding, ids);
  use.run(sequences, 0, model.layers(), {});
  const Tensor normed =
      backend.rms_norm(all.hidden, use.checkpoint.final_norm, use.config().rms_norm_eps);
  const int64_t each = backend.ids_at_once(use.checkpoint.head);
  const int64_t step = backend.keeps_weights() ? use.vocabulary() : kLogitIds;
  for (int64_t first = 0; first < use.vocabulary(); first += step) {
    const int64_t last = std::min(use.vocabulary(), first + step);
    const AtScopeExit release([&backend] { backend.release(); });
    backend.acquire_rows(use.checkpoint.head, first, last);
    use.threads.run(ceil_div(last - first, each), [&](int64_t i, int) {
      const int64_t begin = first + i * each;
      const Tensor piece =
          backend.logits_of(normed, use.checkpoint.head, begin, std::min(last, begin + each));
      if (backend.find_non_finite(piece) >= 0) {
        fail(Code::kCorrupt, "{}: a logit is not finite at position {}, after the last layer",
             use.checkpoint.name, all.position);
      }
      const float* values = backend.host(piece).data();
      for (int64_t row = 0; row < piece.rows; ++row) {
        std::copy_n(values + row * piece.cols, piece.cols,
                    decoders[static_cast<size_t>(row)].state_->logits.data() + begin);
      }
    });
  }
  for (Decoder& decoder : decoders) ++decoder.state_->length;
}

std::span<const float> Decoder::logits() const {
  return state_->logits;
}

std::vector<ContinuationScore> Decoder::score(std::span<const int32_t> ids,
                                              std::span<const Continuation> continuations) {
  LanguageModel::State& use = state_->use;
  KeepsLength all_or_nothing(state_->length);
  const Tensor held = state_->forward(ids);
  const std::vector<Sequence> branches = state_->branches(continuations);
  // The hidden states whose logits are needed, and the id that followed each.
  std::vector<const float*> rows;
  std::vector<Place> places;
  size_t branch = 0;
  for (const Continuation& continuation : continuations) {
    const Tensor* own = continuation.ids.size() > 1 ? &branches.at(branch++).hidden : nullptr;
    for (int64_t i = continuation.first_scored; i < std::ssize(continuation.ids); ++i) {
      const Tensor& from = i > 0 ? *own : held;
      const int64_t row = i > 0 ? i - 1 : held.rows - 1;
      rows.push_back(use.backend->host(from).data() + row * from.cols);
      places.push_back({.id = continuation.ids[static_cast<size_t>(i)]});
    }
  }
  HiddenRows hidden;
  Matrix& wanted = hidden.emplace_back(std::ssize(rows), use.config().hidden);
  for (size_t i = 0; i < rows.size(); ++i) {
    std::copy_n(rows[i], wanted.cols(), wanted.row(static_cast<int64_t>(i)));
  }
  const LogitSource source{.model = &state_->model, .hidden = &hidden};
  visit_logits({&source, 1}, [&](const LogitPiece& piece, int) {
    for (int64_t i = 0; i < piece.tokens; ++i) {
      places[static_cast<size_t>(piece.first_token + i)].add(piece.logits[0] + i * piece.ids,
                                                             piece.first_id, piece.ids);
    }
  });
  std::vector<ContinuationScore> scores;
  size_t at = 0;
  for (const Continuation& continuation : continuations) {
    ContinuationScore& score = scores.emplace_back();
    for (int64_t i = continuation.first_scored; i < std::ssize(continuation.ids); ++i) {
      const Place& place = places[at++];
      score.log_likelihood += place.log_likelihood();
      score.likeliest = score.likeliest && place.likeliest == place.id;
    }
  }
  all_or_nothing.done();
  return scores;
}

}  // namespace ram
