// Token by token, with the keys and values of what came before.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "ram/error.h"
#include "ram/scoped.h"

#include "cpu/kernels.h"
#include "model/state.h"

namespace ram {
namespace {

constexpr int64_t kLeastRoom = 256;

/// What is known of one place while its logits come in pieces: how likely one id is, and whether
/// it is the likeliest.
struct Place {
  int32_t id = 0;
  float logit = 0;  // of the id
  float largest = -std::numeric_limits<float>::infinity();
  int64_t likeliest = 0;
  double sum = 0;  // of exp(logit - largest)

  void add(const float* logits, int64_t first_id, int64_t count) {
    const float* top = std::max_element(logits, logits + count);
    if (*top > largest) {
      sum *= std::exp(static_cast<double>(largest) - static_cast<double>(*top));
      largest = *top;
      likeliest = first_id + (top - logits);
    }
    for (int64_t i = 0; i < count; ++i) {
      sum += std::exp(static_cast<double>(logits[i]) - static_cast<double>(largest));
    }
    if (id >= first_id && id < first_id + count) logit = logits[id - first_id];
  }
  double log_likelihood() const {
    return static_cast<double>(logit) - static_cast<double>(largest) - std::log(sum);
  }
};

/// While it is there, products of few rows are those of many: a row's bits do not depend on the
/// others.
class AlwaysPacked {
 public:
  explicit AlwaysPacked(CpuBackend& backend) : backend_(backend) { backend.always_packed(true); }
  ~AlwaysPacked() { backend_.always_packed(false); }
  AlwaysPacked(const AlwaysPacked&) = delete;
  AlwaysPacked& operator=(const AlwaysPacked&) = delete;

 private:
  CpuBackend& backend_;
};

}  // namespace

struct Decoder::State {
  State(LanguageModel& model_in, int64_t capacity_in) : model(model_in), capacity(capacity_in) {}

  LanguageModel& model;
  int64_t capacity;
  int64_t length = 0;
  int64_t room = 0;  // tokens that the cache has memory for
  std::vector<KvCache> cache;
  std::vector<float> logits;

  void make_room(int64_t tokens);
  void check_room(int64_t more) const;
  Tensor forward(std::span<const int32_t> ids);
  void take_logits(const Tensor& hidden);
  /// Takes all but the last id of each continuation through the layers; none for one of one id.
  std::vector<Sequence> branches(std::span<const Continuation> continuations);
};

namespace {

/// What a call that failed added to a decoder is forgotten, so that it can be made again.
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

/// Doubles, so that a long capacity costs memory only as it is used.
void Decoder::State::make_room(int64_t tokens) {
  if (tokens <= room) return;
  const int64_t larger_room = std::min(capacity, std::max({tokens, 2 * room, kLeastRoom}));
  CpuBackend& backend = model.state().backend;
  for (KvCache& layer : cache) {
    for (Tensor* kept : {&layer.keys, &layer.values}) {
      const Tensor larger = backend.zeros(larger_room, kept->cols);
      if (length > 0) {
        std::memcpy(cpu_data(larger), cpu_data(*kept),
                    static_cast<size_t>(length * kept->cols) * 4);
      }
      *kept = larger;
    }
  }
  room = larger_room;  // last: where memory is refused, some layers have it and others have not
}

Decoder::Decoder(LanguageModel& model, int64_t capacity)
    : state_(std::make_unique<State>(model, capacity)) {
  LanguageModel::State& use = model.state();
  const int64_t width = use.config().kv_heads * use.config().head_dim;
  const Tensor none{.rows = 0, .cols = width, .storage = nullptr};
  state_->cache.assign(static_cast<size_t>(model.layers()), {.keys = none, .values = none});
  state_->logits.resize(static_cast<size_t>(use.vocabulary()));
}

Decoder::~Decoder() = default;
Decoder::Decoder(Decoder&&) noexcept = default;

int64_t Decoder::length() const {
  return state_->length;
}

void Decoder::truncate(int64_t length) {
  RAM_CHECK(length >= 0 && length <= state_->length);
  state_->length = length;
}

/// Takes ids through all layers, behind what is held. @return the hidden states of the last block.
Tensor Decoder::State::forward(std::span<const int32_t> ids) {
  RAM_CHECK(!ids.empty());
  LanguageModel::State& use = model.state();
  check_room(std::ssize(ids));
  use.check_ids(ids, length);
  make_room(length + std::ssize(ids));
  Tensor hidden;
  while (!ids.empty()) {
    const auto count = std::min<size_t>(ids.size(), kBlock);
    std::vector<Sequence> sequences(1);
    sequences[0].hidden = use.backend.embed(use.embedding, ids.first(count));
    sequences[0].position = length;
    sequences[0].cache = &cache;
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
  LanguageModel::State& use = model.state();
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
    Sequence& sequence = sequences.emplace_back();
    sequence.hidden =
        use.backend.embed(use.embedding, continuation.ids.first(continuation.ids.size() - 1));
    sequence.position = length;
    sequence.cache = &cache;
  }
  // All write their keys into the same room behind what is held, and read them before the next one
  // does.
  if (!sequences.empty()) use.run(sequences, 0, model.layers(), {}, /*in_turn=*/true);
  return sequences;
}

/// Logits after the last row of a hidden state. @pre the head is at hand.
void Decoder::State::take_logits(const Tensor& hidden) {
  LanguageModel::State& use = model.state();
  Matrix last(1, use.config().hidden);
  const auto normed = use.normed(cpu_data(hidden) + (hidden.rows - 1) * hidden.cols, 1);
  std::memcpy(last.data(), normed.get(), static_cast<size_t>(hidden.cols) * 4);
  const Tensor product = use.backend.product(use.backend.from_matrix(last), use.head);
  std::memcpy(logits.data(), cpu_data(product), static_cast<size_t>(product.cols) * 4);
  if (find_non_finite_float(logits.data(), product.cols) >= 0) {
    fail(Code::kCorrupt, "{}: a logit is not finite at position {}, after the last layer",
         use.checkpoint.name, length - 1);
  }
}

std::span<const float> Decoder::feed(std::span<const int32_t> ids) {
  KeepsLength all_or_nothing(state_->length);
  const Tensor hidden = state_->forward(ids);
  LanguageModel::State& use = state_->model.state();
  const WeightSlice head{.unit = use.head};
  const AtScopeExit release([&use] { use.weights.release(); });
  use.weights.acquire({&head, 1}, Form::kStored);
  state_->take_logits(hidden);
  all_or_nothing.done();
  return logits();
}

void Decoder::feed_each(std::span<Decoder> decoders, std::span<const int32_t> ids) {
  RAM_CHECK(!decoders.empty() && decoders.size() == ids.size());
  LanguageModel& model = decoders.front().state_->model;
  LanguageModel::State& use = model.state();
  std::vector<Sequence> sequences(1);
  Sequence& all = sequences.front();
  all.position = decoders.front().state_->length;
  for (size_t i = 0; i < ids.size(); ++i) use.check_ids(ids.subspan(i, 1), all.position);
  for (Decoder& decoder : decoders) {
    State& state = *decoder.state_;
    RAM_CHECK(&state.model == &model && state.length == all.position);
    state.check_room(1);
    state.make_room(state.length + 1);
    all.abreast.push_back(&state.cache);
  }
  const AlwaysPacked packed(use.backend);
  all.hidden = use.backend.embed(use.embedding, ids);
  use.run(sequences, 0, model.layers(), {});
  const auto count = std::ssize(ids);
  const auto normed = use.normed(cpu_data(all.hidden), count);
  const auto* inputs = reinterpret_cast<const float*>(normed.get());
  const int64_t panel = use.weights.packed(use.head, 0).panel_rows;
  const int64_t step = use.weights.keeps(Form::kPacked) ? use.vocabulary() : kPieceRows;
  for (int64_t first = 0; first < use.vocabulary(); first += step) {
    const int64_t last = std::min(use.vocabulary(), first + step);
    const AtScopeExit release([&use] { use.weights.release(); });
    use.weights.acquire_rows(use.head, first, last);
    use.threads.run(ceil_div(last - first, panel), [&](int64_t i, int) {
      const int64_t begin = first + i * panel;
      const int64_t ids_here = std::min(panel, last - begin);
      const auto buffer = use.buffers->take(padded_rows(count) * ids_here * 4);
      auto* values = reinterpret_cast<float*>(buffer.get());
      use.backend.multiply_rows(inputs, count, use.head, begin, begin + ids_here, values);
      if (find_non_finite_float(values, count * ids_here) >= 0) {
        fail(Code::kCorrupt, "{}: a logit is not finite at position {}, after the last layer",
             use.checkpoint.name, all.position);
      }
      for (int64_t row = 0; row < count; ++row) {
        State& state = *decoders[static_cast<size_t>(row)].state_;
        std::memcpy(state.logits.data() + begin, values + row * ids_here,
                    static_cast<size_t>(ids_here) * 4);
      }
    });
  }
  for (Decoder& decoder : decoders) ++decoder.state_->length;
}

std::span<const float> Decoder::logits() const {
  return {state_->logits.data(), static_cast<size_t>(state_->model.state().vocabulary())};
}

std::vector<ContinuationScore> Decoder::score(std::span<const int32_t> ids,
                                              std::span<const Continuation> continuations) {
  LanguageModel::State& use = state_->model.state();
  KeepsLength all_or_nothing(state_->length);
  const Tensor held = state_->forward(ids);
  const std::vector<Sequence> branches = state_->branches(continuations);
  // The hidden states whose logits are wanted, and the id that came after each.
  std::vector<const float*> rows;
  std::vector<Place> places;
  size_t branch = 0;
  for (const Continuation& continuation : continuations) {
    const Tensor* own = continuation.ids.size() > 1 ? &branches.at(branch++).hidden : nullptr;
    for (int64_t i = continuation.first_scored; i < std::ssize(continuation.ids); ++i) {
      rows.push_back(i > 0 ? cpu_data(*own) + (i - 1) * own->cols
                           : cpu_data(held) + (held.rows - 1) * held.cols);
      places.push_back({.id = continuation.ids[static_cast<size_t>(i)]});
    }
  }
  HiddenRows hidden;
  Matrix& wanted = hidden.emplace_back(std::ssize(rows), use.config().hidden);
  for (size_t i = 0; i < rows.size(); ++i) {
    std::memcpy(wanted.row(static_cast<int64_t>(i)), rows[i],
                static_cast<size_t>(wanted.cols()) * 4);
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
