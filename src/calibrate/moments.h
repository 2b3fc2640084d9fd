// Second moments of a layer's linears, gathered while the layer runs. Linears that multiply the
// same inputs (queries, keys, values; gate, up) share one.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ram/checkpoint.h"
#include "ram/encoder.h"
#include "ram/engine.h"
#include "ram/thread.h"

namespace ram {

class Moments {
 public:
  /// @param units the linears wanted; others are not looked at.
  /// @param memory_bytes a unit whose parts' moments would take more has one for all its parts.
  Moments(const Checkpoint& checkpoint, std::span<const int> units, int64_t memory_bytes,
          ThreadPool& pool);

  /// Takes what InputObserver is given.
  void add(const LinearInput& input);

  /// The units that came, in groups that share their inputs.
  std::vector<std::vector<int>> groups() const;

  /// The moment of one part drawn towards that of all its unit's parts (encoder.h,
  /// shrink_towards). @pre the unit came.
  SecondMoment of(int unit, int part, double shrink_tokens);
  /// The moment as it was gathered; null where no token came. @pre the unit came.
  const SecondMoment* gathered(int unit, int part) const;
  /// Tokens that came to a part.
  int64_t tokens(int unit, int part) const;

 private:
  struct Inputs {
    std::vector<std::unique_ptr<SecondMoment>> parts;  // one, where all parts share it
    std::vector<int64_t> tokens;                       // per part
    std::unique_ptr<SecondMoment> all;                 // made when asked for
  };
  /// The inputs of one part as they came last.
  struct Seen {
    const float* inputs = nullptr;
    int64_t row = -1;
    std::string digest;
    int leader = -1;
  };

  int leader_of(const LinearInput& input);

  const Checkpoint& checkpoint_;
  int64_t memory_bytes_;
  ThreadPool& pool_;
  std::map<int, int> leaders_;    // of the units wanted; -1: it did not come yet
  std::map<int, Inputs> inputs_;  // by leader
  std::map<int, Seen> seen_;      // by part
};

}  // namespace ram
