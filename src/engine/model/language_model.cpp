// Opens a model and takes blocks of rows through its layers.
#include <algorithm>
#include <utility>

#include "ram/cancellation.h"
#include "ram/error.h"
#include "ram/scoped.h"

#include "matrix.h"
#include "model/state.h"

namespace ram {

LanguageModel::State::State(Checkpoint checkpoint_in, const EngineOptions& options_in)
    : checkpoint(std::move(checkpoint_in)),
      options(options_in),
      threads(options_in.threads),
      backend(make_backend(options.backend,
                           {.checkpoint = checkpoint, .options = options, .threads = threads})) {
  arrange_layers();
}

void LanguageModel::State::arrange_layers() {
  LayerContext context{
      .checkpoint = checkpoint, .config = config(), .experts_at_once = backend->experts_at_once()};
  const LayerStagesFn stages = layer_stages_of(config().model_type);
  layers.clear();
  StepWeights steps;
  for (int layer = 0; layer < checkpoint.layers; ++layer) {
    context.layer = layer;
    layers.push_back(stages(context));
    for (const Stage& stage : layers.back()) steps.push_back(stage.weights);
  }
  backend->set_steps(std::move(steps));
}

void LanguageModel::State::make_room(const PassRows& rows) {
  while (backend->make_room(rows)) arrange_layers();
}

void LanguageModel::State::check_ids(std::span<const int32_t> ids, int64_t first_position) const {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < vocabulary()) continue;
    fail(
        Code::kCorrupt,
        "token id {} at position {}: the vocabulary of {} has ids 0 to {}; is this the model's own "
        "tokenizer?",
        ids[i], first_position + static_cast<int64_t>(i), checkpoint.name, vocabulary() - 1);
  }
}

std::vector<Sequence> LanguageModel::State::sequences_of(HiddenRows& rows) {
  std::vector<Sequence> sequences;
  sequences.reserve(rows.size());
  for (Matrix& row : rows) {
    RAM_CHECK(row.cols() == config().hidden);
    sequences.emplace_back().hidden = backend->upload(std::exchange(row, {}));
  }
  return sequences;
}

void LanguageModel::State::take_back(std::vector<Sequence>& sequences, HiddenRows& rows) {
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i] = backend->to_matrix(std::move(sequences[i].hidden));
  }
}

void LanguageModel::State::check_finite(const std::vector<Sequence>& sequences, int layer) {
  threads.run(std::ssize(sequences), [&](int64_t i, int) {
    const Tensor& hidden = sequences[static_cast<size_t>(i)].hidden;
    const int64_t at = backend->find_non_finite(hidden);
    if (at < 0) return;
    fail(Code::kCorrupt, "{}: the hidden state after layer {} is not finite (row {}, token {})",
         checkpoint.name, layer, i, at / hidden.cols);
  });
}

namespace {

/// The units among `units` that a stage multiplies by.
std::vector<int> wanted_of(const Stage& stage, std::span<const int> units) {
  std::vector<int> wanted;
  for (const int unit : units) {
    const bool there = std::any_of(stage.weights.begin(), stage.weights.end(),
                                   [unit](const WeightSlice& slice) { return slice.unit == unit; });
    if (there) wanted.push_back(unit);
  }
  return wanted;
}

}  // namespace

PassRows LanguageModel::State::begin_pass(const std::vector<Sequence>& sequences) {
  PassRows rows;
  int64_t positions = 0;
  for (const Sequence& sequence : sequences) {
    const bool abreast = !sequence.abreast.empty();
    rows.fewest = std::min(rows.fewest, sequence.hidden.rows);
    rows.most = std::max(rows.most, sequence.hidden.rows);
    positions = std::max(positions, sequence.position + (abreast ? 1 : sequence.hidden.rows));
  }
  make_room(rows);
  backend->begin_pass(rows, positions);
  return rows;
}

void LanguageModel::State::run_stage(const Stage& stage, std::vector<Sequence>& sequences,
                                     const InputObserver& observe, bool side_by_side,
                                     std::span<const int> until) {
  if (side_by_side) {
    threads.run(std::ssize(sequences),
                [&](int64_t i, int) { stage.run(*backend, sequences[static_cast<size_t>(i)]); });
    return;
  }
  const AtScopeExit unwatch([this] { backend->watch(nullptr, 0, {}); });
  for (size_t i = 0; i < sequences.size(); ++i) {
    backend->watch(&observe, static_cast<int64_t>(i), wanted_of(stage, until));
    stage.run(*backend, sequences[i]);
  }
}

void LanguageModel::State::run(std::vector<Sequence>& sequences, int first, int last,
                               const InputObserver& observe, bool in_turn) {
  const PassRows rows = begin_pass(sequences);
  const bool side_by_side = !observe && !in_turn && std::ssize(sequences) >= threads.threads();
  for (int layer = first; layer < last; ++layer) {
    const auto& stages = layers.at(static_cast<size_t>(layer));
    for (size_t s = 0; s < stages.size(); ++s) {
      check_interrupted();
      const AtScopeExit release([this] { backend->release(); });
      backend->acquire(stages[s].weights, rows);
      // The next weights are read from disk during this computation.
      if (s + 1 < stages.size()) {
        backend->prefetch(stages[s + 1].weights, rows);
      } else if (layer + 1 < last) {
        backend->prefetch(layers[static_cast<size_t>(layer) + 1].front().weights, rows);
      }
      run_stage(stages[s], sequences, observe, side_by_side, {});
    }
    check_finite(sequences, layer);
  }
}

std::pair<size_t, size_t> LanguageModel::State::stages_of_block(int layer, int block) const {
  const auto& stages = layers.at(static_cast<size_t>(layer));
  size_t first = 0;
  for (size_t s = 0; s < stages.size(); ++s) {
    if (!stages[s].ends_block) continue;
    if (block-- == 0) return {first, s + 1};
    first = s + 1;
  }
  fail(Code::kInternal, "layer {} has no such block", layer);
}

void LanguageModel::State::run_block(std::vector<Sequence>& sequences, int layer, int block,
                                     const InputObserver& observe, std::span<const int> until) {
  const PassRows rows = begin_pass(sequences);  // it may split layers anew
  const bool side_by_side = !observe && std::ssize(sequences) >= threads.threads();
  const auto& stages = layers.at(static_cast<size_t>(layer));
  auto [first, last] = stages_of_block(layer, block);
  // Experts come in several stages: up to the last of them.
  while (!until.empty() && last > first + 1 && wanted_of(stages[last - 1], until).empty()) --last;
  for (size_t s = first; s < last; ++s) {
    check_interrupted();
    const AtScopeExit release([this] { backend->release(); });
    backend->acquire(stages[s].weights, rows);
    if (s + 1 < last) backend->prefetch(stages[s + 1].weights, rows);
    run_stage(stages[s], sequences, observe, side_by_side, until);
  }
  if (until.empty()) check_finite(sequences, layer);
}

LanguageModel::LanguageModel(Checkpoint checkpoint, const EngineOptions& options)
    : state_(std::make_unique<State>(std::move(checkpoint), options)) {}

LanguageModel::~LanguageModel() = default;
LanguageModel::LanguageModel(LanguageModel&&) noexcept = default;

const Checkpoint& LanguageModel::checkpoint() const {
  return state_->checkpoint;
}

const EngineOptions& LanguageModel::options() const {
  return state_->options;
}

int LanguageModel::layers() const {
  return state_->checkpoint.layers;
}

bool LanguageModel::keeps_weights() const {
  return state_->backend->keeps_weights();
}

int64_t LanguageModel::pass_bytes(int64_t length) const {
  return state_->backend->pass_bytes(length);
}

int64_t LanguageModel::row_bytes(int64_t length) const {
  return state_->backend->row_bytes(length);
}

int64_t LanguageModel::logits_bytes(int64_t models) const {
  return state_->backend->logits_bytes(models);
}

int64_t LanguageModel::step_bytes() const {
  return state_->backend->step_bytes();
}

int64_t LanguageModel::rows_at_once(int64_t length) {
  state_->make_room({.fewest = length, .most = length});
  return state_->backend->rows_at_once(length);
}

int64_t LanguageModel::state_bytes_per_token() const {
  return state_->backend->make_state()->bytes_per_token();
}

int64_t LanguageModel::state_fixed_bytes() const {
  return state_->backend->make_state()->fixed_bytes();
}

int64_t LanguageModel::State::decoder_bytes(int64_t capacity) const {
  const auto sequence = backend->make_state();
  return capacity * sequence->bytes_per_token() + sequence->fixed_bytes() + 4 * vocabulary();
}

int64_t LanguageModel::decoding_bytes(int64_t capacity) const {
  constexpr int64_t kAbreast = 64;  // approximate rows of a pass over decoders side by side
  const int64_t logits =
      std::max(4 * padded_rows(1) * state_->vocabulary(), logits_bytes(/*models=*/1));
  int64_t scores = 0;  // of a row with all keys, on each thread
  for (const LayerConfig& layer : state_->config().layers) {
    const AttentionConfig& own = layer.attention;
    const int64_t keys = own.window > 0 ? std::min(capacity, own.window) : capacity;
    scores = std::max(scores, 4 * own.heads * keys);
  }
  return pass_bytes(kAbreast) + logits + state_->decoder_bytes(capacity) +
         options().threads * scores;
}

int64_t LanguageModel::decoders_at_once(int64_t capacity) const {
  const int64_t each = state_->decoder_bytes(capacity);
  const int64_t room = state_->backend->usable_bytes() - (decoding_bytes(capacity) - each);
  return std::max<int64_t>(1, room / each);
}

HiddenRows LanguageModel::embed(std::span<const TokenRow> rows) {
  HiddenRows hidden;
  for (const TokenRow& row : rows) {
    state_->check_ids(row, 0);
    hidden.push_back(
        state_->backend->to_matrix(state_->backend->embed(state_->checkpoint.embedding, row)));
  }
  return hidden;
}

void LanguageModel::run_layers(HiddenRows& rows, int first, int last,
                               const InputObserver& observe) {
  RAM_CHECK(first >= 0 && first <= last && last <= layers());
  std::vector<Sequence> sequences = state_->sequences_of(rows);
  state_->run(sequences, first, last, observe);
  state_->take_back(sequences, rows);
}

int LanguageModel::blocks(int layer) const {
  const auto& stages = state_->layers.at(static_cast<size_t>(layer));
  return static_cast<int>(std::count_if(stages.begin(), stages.end(),
                                        [](const Stage& stage) { return stage.ends_block; }));
}

int LanguageModel::block_of(int unit) const {
  const int layer = state_->checkpoint.units.at(static_cast<size_t>(unit)).layer;
  int block = 0;
  for (const Stage& stage : state_->layers.at(static_cast<size_t>(layer))) {
    if (!wanted_of(stage, {&unit, 1}).empty()) return block;
    block += stage.ends_block ? 1 : 0;
  }
  fail(Code::kInternal, "unit {} is multiplied by no block", unit);
}

void LanguageModel::run_block(HiddenRows& rows, int layer, int block,
                              const InputObserver& observe) {
  std::vector<Sequence> sequences = state_->sequences_of(rows);
  state_->run_block(sequences, layer, block, observe);
  state_->take_back(sequences, rows);
}

void LanguageModel::run_to_inputs(HiddenRows& rows, std::span<const int> units,
                                  const InputObserver& observe) {
  RAM_CHECK(observe && !units.empty());
  const int layer = state_->checkpoint.units.at(static_cast<size_t>(units.front())).layer;
  std::vector<Sequence> sequences = state_->sequences_of(rows);
  state_->run_block(sequences, layer, block_of(units.front()), observe, units);
  state_->take_back(sequences, rows);
}

void LanguageModel::set_unit(int unit, UnitRows values) {
  state_->backend->set_unit(unit, std::move(values));
}

void LanguageModel::restore_unit(int unit) {
  state_->backend->restore_unit(unit);
}

}  // namespace ram
