// Second moments of a layer's linears, gathered while the layer runs. Linears that multiply the
// same inputs (queries, keys, values; gate, up) share one. What memory does not hold at a time is
// gathered in further passes over the layer, with the same result.
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
  /// @param memory_bytes what the moments of a pass may take; a part's, and the sums over all parts
  ///                     of units with several, are held even if that is more.
  Moments(const Checkpoint& checkpoint, std::span<const int> units, int64_t memory_bytes,
          ThreadPool& pool);

  /// Whether all that could come fits into one pass, by the sizes of the units.
  bool fits_one_pass() const;

  /// Takes what InputObserver is given.
  void add(const LinearInput& input);

  /// Parts of units that share their inputs.
  struct Group {
    std::vector<int> units;
    std::vector<int> parts;  ///< that this pass was about; with them those to which nothing came
  };
  /// What can be encoded after this pass.
  std::vector<Group> groups() const;

  /// Lets go of what this pass gathered. @return whether another pass is needed.
  bool next_pass();

  /// The moment of one part drawn towards that of all its unit's parts (encoder.h,
  /// shrink_towards). @pre the part is of one of the groups.
  SecondMoment of(int unit, int part, double shrink_tokens) const;
  /// The moment as it was gathered; null where no token came. @pre the same.
  const SecondMoment* gathered(int unit, int part) const;
  /// Tokens that came to a part. @pre the same.
  int64_t tokens(int unit, int part) const;

 private:
  enum class State : uint8_t { kWaiting, kGathering, kPostponed, kDone };
  struct Part {
    State state = State::kWaiting;
    std::unique_ptr<SecondMoment> moment;
  };
  /// The inputs of the units that share them.
  struct Inputs {
    std::vector<Part> parts;
    std::unique_ptr<SecondMoment> all;  // of several parts, gathered in their first pass
    bool all_gathered = false;
    bool postponed = false;  // as a whole, to the next pass
  };
  /// The inputs of one part as they came last.
  struct Seen {
    const float* inputs = nullptr;
    int64_t row = -1;
    std::string digest;
    int leader = -1;
  };

  int leader_of(const LinearInput& input);
  int64_t moment_bytes(int unit) const;
  /// Takes room for another part's, if there is any or nothing is gathered yet.
  bool reserve(int64_t bytes);

  const Checkpoint& checkpoint_;
  int64_t memory_bytes_;
  int64_t used_bytes_ = 0;
  int gathering_ = 0;  // parts, in this pass
  ThreadPool& pool_;
  std::map<int, int> leaders_;    // of the units wanted; -1: it did not come yet
  std::map<int, Inputs> inputs_;  // by leader
  std::map<int, Seen> seen_;      // by part
};

}  // namespace ram
