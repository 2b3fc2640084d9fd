// Angles of the rotary embedding, for all supported types of scaling.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "ram/model_config.h"

namespace ram {

/// Cosines and sines per position, times the attention factor, computed on demand.
class RopeTable {
 public:
  /// @param rotated how many dimensions of a head are rotated, even.
  /// @throws Error{kUnsupported} longrope.
  RopeTable(const RopeConfig& rope, int64_t rotated, int64_t max_positions);

  /// Makes positions below `count` ready. Safe from several threads; pointers are valid only until
  /// the table next grows, so call it before work is handed out.
  /// @throws Error{kUnsupported} dynamic scaling past the positions that need no scaling.
  void ensure(int64_t count);

  int64_t rotated() const { return 2 * half_; }
  const float* cosines(int64_t position) const { return cosines_.data() + position * half_; }
  const float* sines(int64_t position) const { return sines_.data() + position * half_; }

 private:
  RopeType type_;
  int64_t half_;  // of the rotated dimensions
  int64_t max_positions_;
  float factor_ = 1;  // of cosines and sines
  std::vector<float> frequencies_;
  std::mutex mutex_;
  int64_t count_ = 0;
  std::vector<float> cosines_;
  std::vector<float> sines_;
};

/// The tables of a model's layers; layers with equal settings share one.
class RopeTables {
 public:
  /// @throws as RopeTable.
  explicit RopeTables(const ModelConfig& config);

  /// Calls RopeTable::ensure of all.
  void ensure(int64_t count);
  const RopeTable& of_layer(int layer) const {
    return *tables_[of_layer_.at(static_cast<size_t>(layer))];
  }

 private:
  std::vector<std::unique_ptr<RopeTable>> tables_;
  std::vector<size_t> of_layer_;
};

}  // namespace ram
