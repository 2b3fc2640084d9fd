#include "cpu/memory.h"

#include <algorithm>
#include <string>

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/machine.h"
#include "ram/size.h"

namespace ram {
namespace {

// The program with oneDNN's code, shared by all models of the process.
constexpr int64_t kProgramBytes = int64_t{72} << 20;
// Plus the tables of units and of rotary angles.
constexpr int64_t kBaseBytes = kProgramBytes + (int64_t{24} << 20);
// Packing a panel takes it as float32 and as stored; blocks of logits are as large.
constexpr int64_t kPackingBytes = int64_t{40} << 20;
// Experts' weights loaded at a time, where not all are kept.
constexpr int64_t kExpertBytes = int64_t{64} << 20;

int64_t resolve_memory(const EngineOptions& options) {
  return options.memory_bytes > 0 ? options.memory_bytes : memory_bytes() / 2;
}

/// A model's part of the memory.
int64_t share_of(const EngineOptions& options) {
  const int64_t rest = resolve_memory(options) - kProgramBytes;
  return kProgramBytes + rest / options.side_by_side;
}

}  // namespace

int64_t kept_weights_at_most(const EngineOptions& options) {
  return (share_of(options) - kBaseBytes) / 2;
}

int CpuMemory::experts_at_once() const {
  int64_t count = 0;
  int64_t expert = 1;  // bytes, packed as float32 at most
  for (const LayerConfig& layer : checkpoint_.config.layers) {
    if (!layer.experts) continue;
    count = std::max(count, layer.experts->count);
    expert = std::max(expert, 3 * checkpoint_.config.hidden * layer.experts->width * 4);
  }
  if (count == 0) return 1;
  if (weights_.keeps(Form::kPacked)) return static_cast<int>(count);
  return static_cast<int>(std::clamp<int64_t>(kExpertBytes / expert, 1, count));
}

int64_t CpuMemory::step_bytes() const {
  int64_t most = kLogitIds * checkpoint_.config.hidden * 4;
  for (const auto& step : steps_) {
    int64_t bytes = 0;
    for (const WeightSlice& slice : step) bytes += weights_.bytes(slice, Form::kPacked);
    most = std::max(most, bytes);
  }
  return most;
}

CpuMemory::Scratch CpuMemory::scratch(int64_t length) const {
  const ModelConfig& c = checkpoint_.config;
  const int64_t rows = padded_rows(length);
  int64_t attention = 0;
  for (const LayerConfig& layer : c.layers) {
    const AttentionConfig& own = layer.attention;
    const int64_t heads = (own.heads + 2 * own.kv_heads) * (own.key_dim + own.value_dim);
    attention = std::max(attention, rows * (2 * c.hidden + heads) + 128 * rows);
  }
  int64_t dense = 0;
  int64_t experts = 0;
  for (const auto& step : steps_) {
    for (const WeightSlice& slice : step) {
      const Unit& unit = checkpoint_.units.at(static_cast<size_t>(slice.unit));
      if (unit.role == Role::kMlp || unit.role == Role::kSharedExpert) {
        dense = std::max(dense, rows * 2 * (unit.rows + unit.cols));
      } else if (unit.role == Role::kExpert) {
        const int64_t parts = slice.last_part - slice.first_part;
        const ExpertConfig& own = *c.layer(unit.layer).experts;
        const int64_t gathered = length * std::min(parts, own.per_token) + parts * kRowStep;
        experts = std::max(experts, gathered * 2 * (c.hidden + own.width));
      }
    }
  }
  const int64_t all = attention + dense + experts;
  const int64_t at_once = std::max({attention, dense, experts});
  return {.bytes = 4 * all + kPackingBytes, .idle_bytes = 4 * (all - at_once)};
}

int64_t CpuMemory::pass_bytes(int64_t length) const {
  const bool kept = weights_.keeps(Form::kPacked);
  const int64_t at_hand = kept ? weights_.total_bytes(Form::kPacked) : step_bytes();
  return kBaseBytes + at_hand + options_.threads * scratch(length).bytes;
}

int64_t CpuMemory::row_bytes(int64_t length) const {
  const ModelConfig& c = checkpoint_.config;
  int64_t chosen = 0;
  for (const LayerConfig& layer : c.layers) {
    if (layer.experts) chosen = std::max(chosen, layer.experts->per_token);
  }
  const int64_t held = chosen > 0 ? 3 : 1;  // hidden, and between stages normed and sum
  return padded_rows(length) * c.hidden * 4 * held + length * chosen * 16;
}

int64_t CpuMemory::logits_bytes(int64_t models) const {
  const ModelConfig& c = checkpoint_.config;
  const int64_t ids = std::min(c.vocab, kLogitIds);
  const int64_t block = kLogitTokens * (ids + c.hidden) * 4;
  return options_.threads * (models * block + kPackingBytes) + ids * c.hidden * 4;
}

int64_t CpuMemory::usable_bytes() const {
  return usable_memory_bytes(share_of(options_));
}

bool CpuMemory::make_room(int64_t length, bool stored) {
  if (room_made_ && length <= room_length_ && (room_stored_ || !stored)) return false;
  room_made_ = true;
  room_length_ = std::max(room_length_, length);
  room_stored_ = room_stored_ || stored;
  // Packed ones go first: where rows are few, every token uses the stored ones.
  for (const Form form : {Form::kPacked, Form::kStored}) {
    const bool keeps_stored = room_stored_ && weights_.keeps(Form::kStored);
    const int64_t needed = pass_bytes(room_length_) + row_bytes(room_length_) +
                           (keeps_stored ? weights_.total_bytes(Form::kStored) : 0);
    if (needed <= usable_bytes()) return false;
    if (!weights_.keeps(form)) continue;
    weights_.keep_none(form);
    if (form == Form::kPacked) {
      room_made_ = false;
      return true;
    }
  }
  return false;
}

int64_t CpuMemory::rows_at_once(int64_t length) const {
  const int64_t row = row_bytes(length);
  const int64_t fixed = pass_bytes(length);
  const int64_t rows = (usable_bytes() - fixed) / row;
  if (rows >= 1) return rows;
  const int64_t least = memory_bytes_for(fixed + row);
  const int64_t of_all = kProgramBytes + options_.side_by_side * (least - kProgramBytes);
  const std::string shared =
      options_.side_by_side > 1 ? fmt::format(", shared by {} models", options_.side_by_side) : "";
  fail(Code::kUsage,
       "memory {}{}: rows of {} tokens of {} need {} with {} threads; give more, fewer threads, or "
       "shorter rows",
       format_bytes(resolve_memory(options_)), shared, length, checkpoint_.name,
       format_enough_bytes(of_all), options_.threads);
}

}  // namespace ram
