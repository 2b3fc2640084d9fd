// Angles of the rotary embedding, for every type of scaling that the engine computes.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "ram/model_config.h"

namespace ram {

/// Cosines and sines per position, times the attention factor, made as positions are asked for.
class RopeTable {
 public:
  /// @throws Error{kUnsupported} longrope.
  RopeTable(const RopeConfig& rope, int64_t head_dim, int64_t max_positions);

  /// Makes positions below `count` ready. Safe from several threads; pointers stay valid only until
  /// the table next grows, so it is called before work is handed out.
  /// @throws Error{kUnsupported} dynamic scaling beyond the positions that need none.
  void ensure(int64_t count);

  const float* cosines(int64_t position) const { return cosines_.data() + position * half_; }
  const float* sines(int64_t position) const { return sines_.data() + position * half_; }

 private:
  RopeType type_;
  int64_t half_;  // of head_dim
  int64_t max_positions_;
  float factor_ = 1;  // of cosines and sines
  std::vector<float> frequencies_;
  std::mutex mutex_;
  int64_t count_ = 0;
  std::vector<float> cosines_;
  std::vector<float> sines_;
};

}  // namespace ram
