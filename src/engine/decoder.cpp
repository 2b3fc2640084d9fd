// Token by token, with the keys and values of what came before.
#include <algorithm>
#include <cstring>

#include "ram/error.h"

#include "kernels.h"
#include "state.h"

namespace ram {
namespace {

// Tokens of a prompt that go through the layers at a time.
constexpr int64_t kPromptBlock = 2048;
constexpr int64_t kLeastRoom = 256;

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
};

/// Doubles, so that a long capacity costs memory only as it is used.
void Decoder::State::make_room(int64_t tokens) {
  if (tokens <= room) return;
  room = std::min(capacity, std::max({tokens, 2 * room, kLeastRoom}));
  CpuBackend& backend = model.state().backend;
  for (KvCache& layer : cache) {
    for (Tensor* kept : {&layer.keys, &layer.values}) {
      const Tensor larger = backend.zeros(room, kept->cols);
      if (length > 0) {
        std::memcpy(cpu_data(larger), cpu_data(*kept),
                    static_cast<size_t>(length * kept->cols) * 4);
      }
      *kept = larger;
    }
  }
}

Decoder::Decoder(LanguageModel& model, int64_t capacity)
    : state_(std::make_unique<State>(model, capacity)) {
  LanguageModel::State& use = model.state();
  const int64_t width = use.config().kv_heads * use.config().head_dim;
  const Tensor none{.rows = 0, .cols = width, .storage = nullptr};
  state_->cache.assign(static_cast<size_t>(model.layers()), {.keys = none, .values = none});
  state_->logits.resize(static_cast<size_t>(padded_rows(1) * use.vocabulary()));
}

Decoder::~Decoder() = default;

int64_t Decoder::length() const {
  return state_->length;
}

void Decoder::truncate(int64_t length) {
  RAM_CHECK(length >= 0 && length <= state_->length);
  state_->length = length;
}

std::span<const float> Decoder::feed(std::span<const int32_t> ids) {
  RAM_CHECK(!ids.empty());
  LanguageModel::State& use = state_->model.state();
  if (state_->length + std::ssize(ids) > state_->capacity) {
    fail(Code::kUsage, "{} tokens after {}: this decoder holds {}", ids.size(), state_->length,
         state_->capacity);
  }
  use.check_ids(ids, state_->length);
  state_->make_room(state_->length + std::ssize(ids));
  Tensor hidden;
  while (!ids.empty()) {
    const auto count = std::min<size_t>(ids.size(), kPromptBlock);
    std::vector<Sequence> sequences(1);
    sequences[0].hidden = use.backend.embed(use.embedding, ids.first(count));
    sequences[0].position = state_->length;
    sequences[0].cache = &state_->cache;
    use.run(sequences, 0, state_->model.layers(), {});
    hidden = sequences[0].hidden;
    state_->length += static_cast<int64_t>(count);
    ids = ids.subspan(count);
  }
  const WeightSlice head{.unit = use.head};
  use.weights.acquire({&head, 1}, Form::kStored);
  Matrix last(1, use.config().hidden);
  const auto normed = use.normed(cpu_data(hidden) + (hidden.rows - 1) * hidden.cols, 1);
  std::memcpy(last.data(), normed.get(), static_cast<size_t>(hidden.cols) * 4);
  const Tensor logits = use.backend.product(use.backend.from_matrix(last), use.head);
  std::memcpy(state_->logits.data(), cpu_data(logits), static_cast<size_t>(logits.cols) * 4);
  use.weights.release();
  if (find_non_finite_float(state_->logits.data(), logits.cols) >= 0) {
    fail(Code::kCorrupt, "{}: a logit is not finite at position {}, after the last layer",
         use.checkpoint.name, state_->length - 1);
  }
  return {state_->logits.data(), static_cast<size_t>(logits.cols)};
}

}  // namespace ram
