#include "cpu/weights.h"

#include <algorithm>
#include <cstring>

#include "ram/cancellation.h"
#include "ram/error.h"
#include "ram/quant.h"
#include "ram/size.h"
#include "ram/thread.h"

#include "cpu/kernels.h"
#include "cpu/tiles.h"

namespace ram {
namespace {

// A panel as float32 takes about this much while it is packed: large enough for oneDNN's preferred
// blocking, small enough for one per thread.
constexpr int64_t kPanelBytes = int64_t{16} << 20;
constexpr int64_t kLeastPanelRows = 64;
// Rows that one thread reads at a time, where all threads read one panel.
constexpr int64_t kReadRows = 256;

// The panels of one matrix are multiplied in parallel: products of few rows have nothing else to
// share out.
constexpr int64_t kLeastPanels = 4;

/// Of a part of a unit.
int64_t panel_rows_for(const Unit& unit) {
  int64_t rows = kLogitIds;
  while (rows > kLeastPanelRows &&
         (rows * unit.cols * 4 > kPanelBytes || rows * kLeastPanels > unit.rows)) {
    rows /= 2;
  }
  return rows;
}

/// Bytes of a part in stored form, each array with slack for the last wide load.
struct StoredSizes {
  int64_t weights = 0;
  int64_t scales = 0;  // and of biases
  int64_t total() const {
    return weights + (scales > 0 ? 2 * scales + 2 * kSlackBytes : 0) + kSlackBytes;
  }
};

StoredSizes stored_sizes(const Unit& unit) {
  if (!unit.stored) return {.weights = unit.part_weights() * dtype_bytes(unit.dtype)};
  return {.weights = unit.part_weights() * unit.stored->bits / 8,
          .scales = scale_bytes(unit.part_weights(), *unit.stored, unit.dtype)};
}

}  // namespace

struct WeightStore::Wanted {
  int unit = 0;
  int part = 0;
  int64_t panel = 0;
  Form form = Form::kPacked;
};

WeightStore::WeightStore(const Checkpoint& checkpoint, Precision precision, Products& products,
                         std::shared_ptr<BufferPool> buffers, ThreadPool& threads,
                         int64_t memory_bytes)
    : checkpoint_(checkpoint),
      precision_(precision),
      products_(products),
      buffers_(std::move(buffers)),
      threads_(threads) {
  const auto units = checkpoint.units.size();
  entries_.resize(units);
  vectors_.resize(units);
  biases_.resize(units);
  const auto widen_tensor = [&](int tensor, std::vector<float>& out) {
    const TensorInfo& info = checkpoint.tensors.at(static_cast<size_t>(tensor)).info;
    std::vector<std::byte> raw(static_cast<size_t>(info.bytes()));
    checkpoint.read_tensor(tensor, 0, raw);
    out.resize(static_cast<size_t>(info.elements()));
    to_f32(raw.data(), info.dtype, info.elements(), out.data());
    if (precision == Precision::kBF16) {
      round_row_to_bf16(out.data(), static_cast<int64_t>(out.size()));
    }
  };
  for (size_t i = 0; i < units; ++i) {
    const Unit& unit = checkpoint.units[i];
    if (unit.shape.size() == 1) {
      widen_tensor(unit.parts.front().tensor, vectors_[i]);
    } else {
      entries_[i] = new_entries(static_cast<int>(i));
    }
    for (const Carried& carried : unit.carried) widen_tensor(carried.tensor, biases_[i]);
  }
  const int64_t packed = total_bytes(Form::kPacked);
  const int64_t stored = total_bytes(Form::kStored);
  keep_packed_ = packed <= memory_bytes;
  keep_stored_ = stored <= memory_bytes - (keep_packed_ ? packed : 0);
  // Kept in stored form only once a product of few rows needs it.
}

std::vector<WeightStore::Entry> WeightStore::new_entries(int unit_index) const {
  const Unit& unit = checkpoint_.units.at(static_cast<size_t>(unit_index));
  std::vector<Entry> entries(unit.parts.size());
  for (Entry& entry : entries) {
    entry.packed.rows = unit.rows;
    entry.packed.cols = unit.cols;
    entry.packed.panel_rows = panel_rows_for(unit);
    entry.packed.panels.resize(static_cast<size_t>(ceil_div(unit.rows, entry.packed.panel_rows)));
  }
  return entries;
}

WeightStore::Entry& WeightStore::entry(int unit, int part) {
  return entries_.at(static_cast<size_t>(unit)).at(static_cast<size_t>(part));
}

const PackedMatrix& WeightStore::packed(int unit, int part) const {
  return entries_.at(static_cast<size_t>(unit)).at(static_cast<size_t>(part)).packed;
}

const StoredMatrix& WeightStore::stored(int unit, int part) const {
  const Entry& entry = entries_.at(static_cast<size_t>(unit)).at(static_cast<size_t>(part));
  RAM_CHECK(entry.stored_bytes != nullptr);
  return entry.stored;
}

std::span<const float> WeightStore::vector(int unit) const {
  return vectors_.at(static_cast<size_t>(unit));
}

std::span<const float> WeightStore::bias(int unit) const {
  return biases_.at(static_cast<size_t>(unit));
}

int64_t WeightStore::bytes(const WeightSlice& slice, Form form) const {
  const Unit& unit = checkpoint_.units.at(static_cast<size_t>(slice.unit));
  const int64_t parts = slice.last_part - slice.first_part;
  if (form == Form::kStored) return parts * stored_sizes(unit).total();
  const PackedMatrix& packed = entries_.at(static_cast<size_t>(slice.unit)).front().packed;
  const auto panel_bytes = [&](int64_t panel) {
    return products_.packed_bytes(packed.rows_of(panel), packed.cols) + kSlackBytes;
  };
  const auto last = static_cast<int64_t>(packed.panels.size()) - 1;
  return parts * (last * panel_bytes(0) + panel_bytes(last));
}

int64_t WeightStore::total_bytes(Form form) const {
  int64_t total = 0;
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (entries_[i].empty()) continue;
    total += bytes({.unit = static_cast<int>(i),
                    .first_part = 0,
                    .last_part = static_cast<int>(entries_[i].size())},
                   form);
  }
  return total;
}

void WeightStore::want_packed(int unit, int part, int64_t first_panel, int64_t last_panel,
                              std::vector<Wanted>& wanted) {
  const auto& panels = packed(unit, part).panels;
  bool any = false;
  for (int64_t panel = first_panel; panel < last_panel; ++panel) {
    if (panels.at(static_cast<size_t>(panel))) continue;
    wanted.push_back({.unit = unit, .part = part, .panel = panel});
    any = true;
  }
  if (any && !stays(unit, Form::kPacked)) at_hand_.emplace_back(unit, part);
}

void WeightStore::acquire(std::span<const WeightSlice> slices, Form form) {
  std::vector<Wanted> wanted;
  for (const WeightSlice& slice : slices) {
    for (int part = slice.first_part; part < slice.last_part; ++part) {
      Entry& at = entry(slice.unit, part);
      if (form == Form::kPacked) {
        want_packed(slice.unit, part, 0, static_cast<int64_t>(at.packed.panels.size()), wanted);
      } else if (!at.stored_bytes) {
        wanted.push_back({.unit = slice.unit, .part = part, .form = Form::kStored});
        if (!stays(slice.unit, Form::kStored)) at_hand_.emplace_back(slice.unit, part);
      }
    }
  }
  read(wanted);
}

void WeightStore::read(const std::vector<Wanted>& wanted) {
  const auto one = [&](int64_t i, int) {
    check_interrupted();
    const Wanted& at = wanted[static_cast<size_t>(i)];
    if (at.form == Form::kPacked) {
      read_panel(at);
    } else {
      read_stored(at.unit, at.part);
    }
  };
  // Fewer panels than threads: the rows of each are read concurrently.
  if (std::ssize(wanted) < threads_.threads()) {
    for (int64_t i = 0; i < std::ssize(wanted); ++i) one(i, 0);
  } else {
    threads_.run(std::ssize(wanted), one);
  }
}

void WeightStore::acquire_rows(int unit, int64_t first, int64_t last) {
  std::vector<Wanted> wanted;
  const int64_t panel_rows = packed(unit, 0).panel_rows;
  want_packed(unit, 0, first / panel_rows, ceil_div(last, panel_rows), wanted);
  read(wanted);
}

const TransposedMatrix& WeightStore::transposed(int unit, int part) const {
  return transposed_.at({unit, part});
}

void WeightStore::want_transposed(int unit_index, int part, int64_t first_panel, int64_t last_panel,
                                  std::vector<Wanted>& wanted) {
  const auto [at, fresh] = transposed_.try_emplace({unit_index, part});
  TransposedMatrix& matrix = at->second;
  if (fresh) {
    const Unit& unit = checkpoint_.units.at(static_cast<size_t>(unit_index));
    matrix.rows = unit.rows;
    matrix.cols = unit.cols;
    matrix.panel_rows = panel_rows_for(unit);
    matrix.panels.resize(static_cast<size_t>(ceil_div(unit.rows, matrix.panel_rows)));
  }
  for (int64_t panel = first_panel; panel < last_panel; ++panel) {
    if (matrix.panels.at(static_cast<size_t>(panel))) continue;
    wanted.push_back({.unit = unit_index, .part = part, .panel = panel});
  }
}

void WeightStore::acquire_transposed(std::span<const WeightSlice> slices) {
  std::vector<Wanted> wanted;
  for (const WeightSlice& slice : slices) {
    const auto panels = std::ssize(packed(slice.unit, slice.first_part).panels);
    for (int part = slice.first_part; part < slice.last_part; ++part) {
      want_transposed(slice.unit, part, 0, panels, wanted);
    }
  }
  read_transposed(wanted);
}

void WeightStore::acquire_transposed_rows(int unit, int64_t first, int64_t last) {
  std::vector<Wanted> wanted;
  const int64_t panel_rows = packed(unit, 0).panel_rows;
  want_transposed(unit, 0, first / panel_rows, ceil_div(last, panel_rows), wanted);
  read_transposed(wanted);
}

void WeightStore::read_transposed(const std::vector<Wanted>& wanted) {
  threads_.run(std::ssize(wanted), [&](int64_t i, int) {
    check_interrupted();
    const Wanted& at = wanted[static_cast<size_t>(i)];
    TransposedMatrix& matrix = transposed_.at({at.unit, at.part});
    const int64_t rows = matrix.rows_of(at.panel);
    const auto values = buffers_->take(rows * matrix.cols * 4);
    auto* floats = reinterpret_cast<float*>(values.get());
    read_rows(at.unit, at.part, at.panel * matrix.panel_rows, rows, floats);
    auto tiled = buffers_->take(tiled_floats(matrix.cols, rows) * 4);
    tile_weights(floats, 1, matrix.cols, matrix.cols, rows, reinterpret_cast<float*>(tiled.get()));
    matrix.panels[static_cast<size_t>(at.panel)] = std::move(tiled);
  });
}

void WeightStore::drop(Entry& entry, Form form) const {
  if (form == Form::kPacked) {
    std::fill(entry.packed.panels.begin(), entry.packed.panels.end(), nullptr);
  } else {
    entry.stored_bytes.reset();
  }
}

void WeightStore::release() {
  for (const auto& [unit, part] : at_hand_) {
    for (const Form form : {Form::kPacked, Form::kStored}) {
      if (!stays(unit, form)) drop(entry(unit, part), form);
    }
  }
  at_hand_.clear();
  transposed_.clear();
}

void WeightStore::keep_none(Form form) {
  (form == Form::kPacked ? keep_packed_ : keep_stored_) = false;
  for (auto& parts : entries_) {
    for (Entry& entry : parts) drop(entry, form);
  }
  for (auto& [unit, override] : overrides_) {
    for (Entry& entry : override.entries) drop(entry, form);
  }
}

void WeightStore::prefetch(std::span<const WeightSlice> slices) const {
  for (const WeightSlice& slice : slices) {
    const Unit& unit = checkpoint_.units.at(static_cast<size_t>(slice.unit));
    for (int part = slice.first_part; part < slice.last_part; ++part) {
      checkpoint_.prefetch_rows(unit, part, 0, unit.rows);
    }
  }
}

void WeightStore::read_panel(const Wanted& wanted) {
  PackedMatrix& matrix = entry(wanted.unit, wanted.part).packed;
  const int64_t rows = matrix.rows_of(wanted.panel);
  const auto values = buffers_->take(rows * matrix.cols * 4);
  auto* floats = reinterpret_cast<float*>(values.get());
  const int64_t first = wanted.panel * matrix.panel_rows;
  threads_.run(ceil_div(rows, kReadRows), [&](int64_t i, int) {
    const int64_t row = i * kReadRows;
    read_rows(wanted.unit, wanted.part, first + row, std::min(kReadRows, rows - row),
              floats + row * matrix.cols);
  });
  auto packed = buffers_->take(products_.packed_bytes(rows, matrix.cols));
  products_.pack(floats, rows, matrix.cols, packed.get());
  matrix.panels.at(static_cast<size_t>(wanted.panel)) = std::move(packed);
}

void WeightStore::read_stored(int unit_index, int part) {
  const Unit& unit = checkpoint_.units.at(static_cast<size_t>(unit_index));
  Entry& at = entry(unit_index, part);
  const auto changed = overrides_.find(unit_index);
  if (changed != overrides_.end()) {
    auto values = buffers_->take(unit.part_weights() * 4);
    changed->second.values(part, 0, unit.rows, reinterpret_cast<float*>(values.get()));
    at.stored = {.format = {},
                 .dtype = DType::kF32,
                 .rows = unit.rows,
                 .cols = unit.cols,
                 .weights = values.get()};
    at.stored_bytes = std::move(values);  // set only once it is complete
    return;
  }
  const StoredSizes sizes = stored_sizes(unit);
  auto stored = buffers_->take(sizes.total());
  std::byte* weights = stored.get();
  std::byte* scales = weights + sizes.weights + kSlackBytes;
  std::byte* biases = scales + sizes.scales + kSlackBytes;
  if (unit.stored) {
    checkpoint_.read_encoded_rows(unit, part, 0, unit.rows, reinterpret_cast<uint32_t*>(weights),
                                  scales, biases);
  } else {
    checkpoint_.read_rows(unit, part, 0, unit.rows, weights);
  }
  at.stored = {.format = unit.stored,
               .dtype = unit.dtype,
               .rows = unit.rows,
               .cols = unit.cols,
               .weights = weights,
               .scales = scales,
               .biases = biases};
  at.stored_bytes = std::move(stored);
}

void WeightStore::read_rows(int unit_index, int part, int64_t first, int64_t count,
                            float* out) const {
  const Unit& unit = checkpoint_.units.at(static_cast<size_t>(unit_index));
  const int64_t elements = count * unit.cols;
  const auto changed = overrides_.find(unit_index);
  if (changed != overrides_.end()) {
    changed->second.values(part, first, count, out);
  } else if (unit.stored) {
    const int64_t code_bytes = elements * unit.stored->bits / 8;
    const int64_t scales_size = scale_bytes(elements, *unit.stored, unit.dtype) + kSlackBytes;
    const auto raw = buffers_->take(code_bytes + kSlackBytes + 2 * scales_size);
    auto* codes = reinterpret_cast<uint32_t*>(raw.get());
    std::byte* scales = raw.get() + code_bytes + kSlackBytes;
    std::byte* biases = scales + scales_size;
    checkpoint_.read_encoded_rows(unit, part, first, count, codes, scales, biases);
    affine_decode(codes, scales, biases, unit.dtype, count, unit.cols, *unit.stored, out);
  } else {
    const auto raw = buffers_->take(elements * dtype_bytes(unit.dtype));
    checkpoint_.read_rows(unit, part, first, count, raw.get());
    to_f32(raw.get(), unit.dtype, elements, out);
  }
  if (precision_ == Precision::kBF16) round_row_to_bf16(out, elements);
  if (const int64_t at = find_non_finite_float(out, elements); at >= 0) {
    fail(Code::kCorrupt, "{}: the weight at row {}, column {} is not finite ({})", unit.name,
         first + at / unit.cols, at % unit.cols, checkpoint_.folder.string());
  }
}

void WeightStore::set_unit(int unit, UnitRows values) {
  auto& entries = entries_.at(static_cast<size_t>(unit));
  RAM_CHECK(!entries.empty() && values);
  const auto [at, fresh] = overrides_.try_emplace(unit);
  at->second.values = std::move(values);
  if (fresh) at->second.entries = std::move(entries);
  entries = new_entries(unit);
}

void WeightStore::restore_unit(int unit) {
  const auto at = overrides_.find(unit);
  if (at == overrides_.end()) return;
  entries_.at(static_cast<size_t>(unit)) = std::move(at->second.entries);
  overrides_.erase(at);
}

}  // namespace ram
