// The loaded weights: read from the files stage by stage, or kept where memory allows; packed for
// products of many rows, or in stored form for products of few. A unit's values can be replaced by
// others; these are never kept.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "ram/checkpoint.h"
#include "ram/engine.h"
#include "ram/thread.h"

#include "backend.h"
#include "cpu/buffer.h"
#include "cpu/matvec.h"
#include "cpu/products.h"

namespace ram {

/// Products of at most this many rows use the weights in stored form.
inline constexpr int64_t kFewRows = 4;

/// The form of loaded weights.
enum class Form : uint8_t {
  kPacked,  ///< for more than kFewRows rows
  kStored,
};

/// A matrix in panels of some rows each, packed by Products.
struct PackedMatrix {
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t panel_rows = 0;  ///< of all but the last; a power of two from 64 to kLogitIds
  std::vector<std::shared_ptr<std::byte>> panels;  ///< null: not loaded

  int64_t rows_of(int64_t panel) const { return std::min(panel_rows, rows - panel * panel_rows); }
};

/// A matrix W [rows, cols] in panels of some rows each, the transpose of each tiled (tiles.h).
struct TransposedMatrix {
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t panel_rows = 0;                          ///< of all but the last
  std::vector<std::shared_ptr<std::byte>> panels;  ///< null: not loaded

  int64_t rows_of(int64_t panel) const { return std::min(panel_rows, rows - panel * panel_rows); }
};

class WeightStore {
 public:
  /// @param memory_bytes how much may be kept in total; weights beyond it are read again for each
  /// use.
  WeightStore(const Checkpoint& checkpoint, Precision precision, Products& products,
              std::shared_ptr<BufferPool> buffers, ThreadPool& threads, int64_t memory_bytes);

  /// Loads what is missing, in blocks spread over the threads.
  /// @throws Error{kCorrupt} the file ends early, or a weight is not finite.
  void acquire(std::span<const WeightSlice> slices, Form form);
  /// The same for the packed rows [first, last) of a unit's only part, multiples of kLogitIds or
  /// the end.
  void acquire_rows(int unit, int64_t first, int64_t last);
  /// Loads transposed matrices, for derivatives. Never kept.
  /// @throws as acquire.
  void acquire_transposed(std::span<const WeightSlice> slices);
  /// The same for rows [first, last) of a unit's only part, multiples of kLogitIds or the end.
  void acquire_transposed_rows(int unit, int64_t first, int64_t last);
  /// Frees everything that is not kept.
  void release();
  /// Hints to the system that these will be read soon.
  void prefetch(std::span<const WeightSlice> slices) const;

  const PackedMatrix& packed(int unit, int part) const;
  const StoredMatrix& stored(int unit, int part) const;
  const TransposedMatrix& transposed(int unit, int part) const;

  /// A norm's weight, always loaded. @pre the unit is a vector.
  std::span<const float> vector(int unit) const;
  /// The unit's own bias, empty if it has none.
  std::span<const float> bias(int unit) const;

  /// Rows of a matrix as float32 (rounded to bf16 for kBF16), read from the files.
  void read_rows(int unit, int part, int64_t first, int64_t count, float* out) const;

  void set_unit(int unit, UnitRows values);
  void restore_unit(int unit);

  /// Bytes of a loaded slice.
  int64_t bytes(const WeightSlice& slice, Form form) const;
  bool keeps(Form form) const { return form == Form::kPacked ? keep_packed_ : keep_stored_; }
  /// Memory needed to keep all weights in this form.
  int64_t total_bytes(Form form) const;
  /// Keeps none in this form from now on, and frees the loaded ones. @pre no step is running
  void keep_none(Form form);

 private:
  struct Entry {
    PackedMatrix packed;
    StoredMatrix stored;
    std::shared_ptr<std::byte> stored_bytes;  // what `stored` points into; null: not loaded
  };
  struct Override {
    UnitRows values;
    std::vector<Entry> entries;  // of the unit's parts
  };
  struct Wanted;

  bool stays(int unit, Form form) const { return keeps(form) && !overrides_.contains(unit); }

  std::vector<Entry> new_entries(int unit) const;
  Entry& entry(int unit, int part);
  void want_packed(int unit, int part, int64_t first_panel, int64_t last_panel,
                   std::vector<Wanted>& wanted);
  void want_transposed(int unit, int part, int64_t first_panel, int64_t last_panel,
                       std::vector<Wanted>& wanted);
  void read(const std::vector<Wanted>& wanted);
  void read_transposed(const std::vector<Wanted>& wanted);
  void read_panel(const Wanted& wanted);
  void read_stored(int unit, int part);
  void drop(Entry& entry, Form form) const;

  const Checkpoint& checkpoint_;
  Precision precision_;
  Products& products_;
  std::shared_ptr<BufferPool> buffers_;
  ThreadPool& threads_;
  bool keep_packed_ = false;
  bool keep_stored_ = false;
  std::vector<std::vector<Entry>> entries_;  // [unit][part]
  std::vector<std::vector<float>> vectors_;  // [unit]: weights of norms
  std::vector<std::vector<float>> biases_;   // [unit]
  std::map<int, Override> overrides_;
  std::vector<std::pair<int, int>> at_hand_;                    // freed by release
  std::map<std::pair<int, int>, TransposedMatrix> transposed_;  // [unit, part]; freed by release
};

}  // namespace ram
