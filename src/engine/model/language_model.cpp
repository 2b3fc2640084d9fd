// Opening a model, planning its memory, and taking blocks of rows through its layers.
#include <algorithm>
#include <cstring>
#include <new>
#include <string>

#include <fmt/format.h>

#include "ram/cancellation.h"
#include "ram/error.h"
#include "ram/machine.h"
#include "ram/scoped.h"
#include "ram/size.h"

#include "cpu/kernels.h"
#include "model/state.h"

namespace ram {
namespace {

// The program with oneDNN's code, which models side by side have but once.
constexpr int64_t kProgramBytes = int64_t{72} << 20;
// And the tables of units and of rotary angles.
constexpr int64_t kBaseBytes = kProgramBytes + (int64_t{24} << 20);
// Packing a panel takes it as float32 and as stored, and blocks of logits are as large.
constexpr int64_t kPackingBytes = int64_t{40} << 20;
// Experts' weights that come at a time, where not all are kept.
constexpr int64_t kExpertBytes = int64_t{64} << 20;
// This part of the memory stays free, for what the allocators round up and keep.
constexpr int64_t kSparePart = 32;

constexpr std::align_val_t kAlignment{64};

int64_t resolve_memory(const EngineOptions& options) {
  return options.memory_bytes > 0 ? options.memory_bytes : memory_bytes() / 2;
}

/// A model's part of the memory.
int64_t share_of(const EngineOptions& options) {
  const int64_t rest = resolve_memory(options) - kProgramBytes;
  return kProgramBytes + rest / options.side_by_side;
}

int find_unit(const Checkpoint& checkpoint, std::string_view name) {
  const auto& units = checkpoint.units;
  const auto at = std::find_if(units.begin(), units.end(),
                               [name](const Unit& unit) { return unit.name == name; });
  return at == units.end() ? -1 : static_cast<int>(at - units.begin());
}

}  // namespace

void Matrix::Free::operator()(float* data) const {
  ::operator delete(data, kAlignment);
}

Matrix::Matrix(int64_t rows, int64_t cols) : rows_(rows), cols_(cols) {
  const auto bytes = static_cast<size_t>(padded_rows(rows) * cols * 4 + kSlackBytes);
  data_.reset(static_cast<float*>(::operator new(bytes, kAlignment)));
}

Matrix Matrix::copy() const {
  Matrix other(rows_, cols_);
  std::memcpy(other.data(), data(), static_cast<size_t>(rows_ * cols_) * 4);
  return other;
}

LanguageModel::State::State(Checkpoint checkpoint_in, const EngineOptions& options_in)
    : checkpoint(std::move(checkpoint_in)),
      options(options_in),
      memory_bytes(share_of(options_in)),
      buffers(std::make_shared<BufferPool>()),
      threads(options_in.threads),
      products(options_in.precision),
      rope(checkpoint.config.rope, checkpoint.config.head_dim, checkpoint.config.max_positions),
      weights(checkpoint, options_in.precision, products, buffers, threads,
              (memory_bytes - kBaseBytes) / 2),
      backend({.precision = options_in.precision,
               .products = products,
               .weights = weights,
               .rope = rope,
               .threads = threads,
               .buffers = buffers}),
      embedding(find_unit(checkpoint, "model.embed_tokens")),
      final_norm(find_unit(checkpoint, "model.norm")),
      head(find_unit(checkpoint, "lm_head")) {
  RAM_CHECK(embedding >= 0 && final_norm >= 0);
  if (head < 0) head = embedding;
  arrange_layers();
}

void LanguageModel::State::arrange_layers() {
  LayerContext context{.checkpoint = checkpoint, .config = config()};
  if (weights.keeps(Form::kPacked)) {
    context.experts_at_once = static_cast<int>(std::max<int64_t>(1, config().experts));
  } else if (config().experts > 0) {
    const int64_t expert =
        3 * config().hidden * config().expert_width * 4;  // packed as float32 at most
    context.experts_at_once = static_cast<int>(
        std::clamp<int64_t>(kExpertBytes / std::max<int64_t>(1, expert), 1, config().experts));
  }
  const LayerStagesFn stages = layer_stages_of(config().model_type);
  layers.clear();
  for (int layer = 0; layer < checkpoint.layers; ++layer) {
    context.layer = layer;
    layers.push_back(stages(context));
  }
}

int64_t LanguageModel::State::step_bytes() const {
  int64_t most = kPieceRows * config().hidden * 4;
  for (const auto& stages : layers) {
    for (const Stage& stage : stages) {
      int64_t bytes = 0;
      for (const WeightSlice& slice : stage.weights) bytes += weights.bytes(slice, Form::kPacked);
      most = std::max(most, bytes);
    }
  }
  return most;
}

LanguageModel::State::Scratch LanguageModel::State::scratch(int64_t length) const {
  const ModelConfig& c = config();
  const int64_t rows = padded_rows(length);
  const int64_t attention =
      rows * (2 * c.hidden + (2 * c.heads + 4 * c.kv_heads) * c.head_dim) + 128 * rows;
  int64_t dense = 0;
  int64_t experts = 0;
  for (const auto& stages : layers) {
    for (const Stage& stage : stages) {
      for (const WeightSlice& slice : stage.weights) {
        const Unit& unit = checkpoint.units.at(static_cast<size_t>(slice.unit));
        if (unit.role == Role::kMlp || unit.role == Role::kSharedExpert) {
          dense = std::max(dense, rows * 2 * (unit.rows + unit.cols));
        } else if (unit.role == Role::kExpert) {
          const int64_t parts = slice.last_part - slice.first_part;
          const int64_t gathered = length * std::min(parts, c.experts_per_token) + parts * kRowStep;
          experts = std::max(experts, gathered * 2 * (c.hidden + c.expert_width));
        }
      }
    }
  }
  const int64_t all = attention + dense + experts;
  const int64_t at_once = std::max({attention, dense, experts});
  return {.bytes = 4 * all + kPackingBytes, .idle_bytes = 4 * (all - at_once)};
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
    sequences.emplace_back().hidden = backend.from_matrix(row);
  }
  return sequences;
}

void LanguageModel::State::check_finite(const std::vector<Sequence>& sequences, int layer) {
  threads.run(std::ssize(sequences), [&](int64_t i, int) {
    const Tensor& hidden = sequences[static_cast<size_t>(i)].hidden;
    const int64_t at = find_non_finite_float(cpu_data(hidden), hidden.rows * hidden.cols);
    if (at < 0) return;
    fail(Code::kCorrupt, "{}: the hidden state after layer {} is not finite (row {}, token {})",
         checkpoint.name, layer, i, at / hidden.cols);
  });
}

namespace {

/// Those of some units that a stage multiplies by.
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

void LanguageModel::State::run(std::vector<Sequence>& sequences, int first, int last,
                               const InputObserver& observe, bool in_turn,
                               std::span<const int> until) {
  bool few = false;
  bool many = false;
  int64_t positions = 0;
  int64_t longest = 0;
  for (const Sequence& sequence : sequences) {
    const bool abreast = !sequence.abreast.empty();
    longest = std::max(longest, sequence.hidden.rows);
    (sequence.hidden.rows <= kFewRows && !abreast ? few : many) = true;
    positions = std::max(positions, sequence.position + (abreast ? 1 : sequence.hidden.rows));
  }
  rope.ensure(positions);
  make_room(longest, few);
  if (longest != idle_length) {  // decoding asks at every token
    idle_length = longest;
    buffers->keep_idle(options.threads * scratch(longest).idle_bytes);
  }
  const bool side_by_side = !observe && !in_turn && std::ssize(sequences) >= threads.threads();
  for (int layer = first; layer < last; ++layer) {
    const auto& stages = layers.at(static_cast<size_t>(layer));
    size_t last_stage = stages.size();
    for (size_t s = 0; s < stages.size() && !until.empty(); ++s) {
      if (!wanted_of(stages[s], until).empty()) last_stage = s;
    }
    for (size_t s = 0; s < stages.size(); ++s) {
      check_interrupted();
      const Stage& stage = stages[s];
      const AtScopeExit release([this] { weights.release(); });
      if (few) weights.acquire(stage.weights, Form::kStored);
      if (many) weights.acquire(stage.weights, Form::kPacked);
      // What comes next is read from disk while this is computed.
      if (!weights.keeps(few ? Form::kStored : Form::kPacked)) {
        if (s + 1 < stages.size()) {
          weights.prefetch(stages[s + 1].weights);
        } else if (layer + 1 < last) {
          weights.prefetch(layers[static_cast<size_t>(layer) + 1].front().weights);
        }
      }
      if (side_by_side) {
        threads.run(std::ssize(sequences),
                    [&](int64_t i, int) { stage.run(backend, sequences[static_cast<size_t>(i)]); });
      } else {
        const AtScopeExit unwatch([this] { backend.watch(nullptr, 0); });
        for (size_t i = 0; i < sequences.size(); ++i) {
          backend.watch(&observe, static_cast<int64_t>(i), wanted_of(stage, until));
          stage.run(backend, sequences[i]);
        }
      }
      if (s == last_stage) return;
    }
    check_finite(sequences, layer);
  }
}

std::shared_ptr<std::byte> LanguageModel::State::normed(const float* hidden, int64_t count) {
  const int64_t width = config().hidden;
  auto buffer = buffers->take(padded_rows(count) * width * 4);
  auto* out = reinterpret_cast<float*>(buffer.get());
  const auto epsilon = static_cast<float>(config().rms_norm_eps);
  for (int64_t i = 0; i < count; ++i) {
    rms_norm_row(hidden + i * width, weights.vector(final_norm).data(), width, epsilon,
                 out + i * width);
  }
  if (options.precision == Precision::kBF16) round_row_to_bf16(out, count * width);
  return buffer;
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
  return state_->weights.keeps(Form::kPacked);
}

int64_t LanguageModel::State::pass_bytes(int64_t length) const {
  const bool kept = weights.keeps(Form::kPacked);
  const int64_t at_hand = kept ? weights.total_bytes(Form::kPacked) : step_bytes();
  return kBaseBytes + at_hand + options.threads * scratch(length).bytes;
}

int64_t LanguageModel::State::row_bytes(int64_t length) const {
  const ModelConfig& c = config();
  const int64_t held = c.experts > 0 ? 3 : 1;  // hidden, and between stages normed and sum
  return padded_rows(length) * c.hidden * 4 * held + length * c.experts_per_token * 16;
}

int64_t LanguageModel::State::usable_bytes() const {
  return memory_bytes - memory_bytes / kSparePart;
}

void LanguageModel::State::make_room(int64_t length, bool stored) {
  if (length <= room_length && (room_stored || !stored)) return;
  room_length = std::max(room_length, length);
  room_stored = room_stored || stored;
  // Packed ones go first: where rows are few, it is the others that every token takes.
  for (const Form form : {Form::kPacked, Form::kStored}) {
    const bool keeps_stored = room_stored && weights.keeps(Form::kStored);
    const int64_t needed = pass_bytes(room_length) + row_bytes(room_length) +
                           (keeps_stored ? weights.total_bytes(Form::kStored) : 0);
    if (needed <= usable_bytes()) return;
    if (!weights.keeps(form)) continue;
    weights.keep_none(form);
    if (form == Form::kPacked) arrange_layers();
  }
}

int64_t LanguageModel::pass_bytes(int64_t length) const {
  return state_->pass_bytes(length);
}

int64_t LanguageModel::row_bytes(int64_t length) const {
  return state_->row_bytes(length);
}

int64_t LanguageModel::logits_bytes(int64_t models) const {
  const int64_t hidden = state_->config().hidden;
  const int64_t ids = std::min(state_->vocabulary(), kPieceRows);
  const int64_t block = kRowBlock * (ids + hidden) * 4;
  return state_->options.threads * (models * block + kPackingBytes) + ids * hidden * 4;
}

int64_t LanguageModel::step_bytes() const {
  return state_->step_bytes();
}

int64_t LanguageModel::rows_at_once(int64_t length) {
  state_->make_room(length, /*stored=*/false);
  const int64_t row = row_bytes(length);
  const int64_t fixed = pass_bytes(length);
  const int64_t rows = (state_->usable_bytes() - fixed) / row;
  if (rows >= 1) return rows;
  const EngineOptions& options = state_->options;
  const int64_t least = (fixed + row) * kSparePart / (kSparePart - 1);
  const int64_t of_all = kProgramBytes + options.side_by_side * (least - kProgramBytes);
  const std::string shared =
      options.side_by_side > 1 ? fmt::format(", shared by {} models", options.side_by_side) : "";
  fail(Code::kUsage,
       "memory {}{}: rows of {} tokens of {} need {} with {} threads; give more, fewer threads, or "
       "shorter rows",
       format_bytes(resolve_memory(options)), shared, length, state_->checkpoint.name,
       format_enough_bytes(of_all), options.threads);
}

int64_t LanguageModel::State::decoder_bytes(int64_t capacity) const {
  const ModelConfig& c = config();
  return 2 * 4 * capacity * checkpoint.layers * c.kv_heads * c.head_dim + 4 * vocabulary();
}

int64_t LanguageModel::decoding_bytes(int64_t capacity) const {
  constexpr int64_t kAbreast = 64;  // rows of a pass over decoders side by side, about
  const int64_t logits =
      std::max(4 * padded_rows(1) * state_->vocabulary(), logits_bytes(/*models=*/1));
  return pass_bytes(kAbreast) + logits + state_->decoder_bytes(capacity);
}

int64_t LanguageModel::decoders_at_once(int64_t capacity) const {
  const int64_t each = state_->decoder_bytes(capacity);
  const int64_t room = state_->usable_bytes() - (decoding_bytes(capacity) - each);
  return std::max<int64_t>(1, room / each);
}

HiddenRows LanguageModel::embed(std::span<const TokenRow> rows) {
  HiddenRows hidden;
  for (const TokenRow& row : rows) {
    state_->check_ids(row, 0);
    const Tensor embedded = state_->backend.embed(state_->embedding, row);
    Matrix& matrix = hidden.emplace_back(embedded.rows, embedded.cols);
    std::memcpy(matrix.data(), cpu_data(embedded),
                static_cast<size_t>(embedded.rows * embedded.cols) * 4);
  }
  return hidden;
}

void LanguageModel::run_layers(HiddenRows& rows, int first, int last,
                               const InputObserver& observe) {
  RAM_CHECK(first >= 0 && first <= last && last <= layers());
  std::vector<Sequence> sequences = state_->sequences_of(rows);
  state_->run(sequences, first, last, observe);
}

void LanguageModel::run_to_inputs(HiddenRows& rows, int layer, std::span<const int> units,
                                  const InputObserver& observe) {
  RAM_CHECK(observe && !units.empty());
  std::vector<Sequence> sequences = state_->sequences_of(rows);
  state_->run(sequences, layer, layer + 1, observe, /*in_turn=*/false, units);
}

void LanguageModel::set_unit(int unit, UnitRows values) {
  state_->weights.set_unit(unit, std::move(values));
}

void LanguageModel::restore_unit(int unit) {
  state_->weights.restore_unit(unit);
}

}  // namespace ram
