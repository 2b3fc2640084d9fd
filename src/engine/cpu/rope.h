// Angles of the rotary embedding, for every type of scaling that the engine computes.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "ram/model_config.h"

namespace ram {

/// Cosines and sines per position, times the attention factor, made as positions are asked for.
class RopeTable {
 public:
  /// @param rotated dimensions of a head that it turns, even.
  /// @throws Error{kUnsupported} longrope.
  RopeTable(const RopeConfig& rope, int64_t rotated, int64_t max_positions);

  /// Makes positions below `count` ready. Safe from several threads; pointers stay valid only until
  /// the table next grows, so it is called before work is handed out.
  /// @throws Error{kUnsupported} dynamic scaling beyond the positions that need none.
  void ensure(int64_t count);

  int64_t rotated() const { return 2 * half_; }
  const float* cosines(int64_t position) const { return cosines_.data() + position * half_; }
  const float* sines(int64_t position) const { return sines_.data() + position * half_; }

 private:
  RopeType type_;
  int64_t half_;  // of what is rotated
  int64_t max_positions_;
  float factor_ = 1;  // of cosines and sines
  std::vector<float> frequencies_;
  std::mutex mutex_;
  int64_t count_ = 0;
  std::vector<float> cosines_;
  std::vector<float> sines_;
};

/// Those of a model's layers; layers that rotate alike share one.
class RopeTables {
 public:
  /// @throws as RopeTable.
  explicit RopeTables(const ModelConfig& config);

  /// RopeTable::ensure of all.
  void ensure(int64_t count);
  const RopeTable& of_layer(int layer) const {
    return *tables_[of_layer_.at(static_cast<size_t>(layer))];
  }

 private:
  std::vector<std::unique_ptr<RopeTable>> tables_;
  std::vector<size_t> of_layer_;
};

}  // namespace ram
