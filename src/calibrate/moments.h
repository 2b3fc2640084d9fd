// Second moments of a layer's linears, gathered while the layer runs. Linears that multiply the
// same inputs (queries, keys, values; gate, up) share one. What memory does not hold at a time is
// gathered in further passes over the layer, with the same result.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "ram/checkpoint.h"
#include "ram/encoder.h"
#include "ram/engine.h"
#include "ram/thread.h"

namespace ram {

/// Which linears multiply the same inputs, found by watching a layer run.
class InputGroups {
 public:
  /// @param units the linears wanted.
  explicit InputGroups(std::span<const int> units);

  bool wants(int unit) const { return leaders_.contains(unit); }

  /// The unit under which inputs are known: the first that they came to in this row.
  /// @pre wants(input.unit), input.tokens > 0.
  int leader_of(const LinearInput& input);

  /// The groups to which something came: their units, the leader first, by leaders as they came.
  std::vector<std::vector<int>> groups() const;

  /// -1: nothing came to it yet. @pre wants(unit).
  int leader(int unit) const { return leaders_.at(unit); }
  const std::map<int, int>& leaders() const { return leaders_; }

 private:
  /// The inputs of one part as they came last.
  struct Seen {
    const float* inputs = nullptr;
    int64_t row = -1;
    std::string digest;
    int leader = -1;
  };

  std::map<int, int> leaders_;  // of the units wanted; -1: it did not come yet
  std::vector<int> in_order_;   // leaders
  std::map<int, Seen> seen_;    // by part
};

/// Inputs of linears in the original model, to be held against what a compressed one makes of the
/// same tokens.
class OriginalInputs {
 public:
  /// Keeps a copy.
  void record(const LinearInput& input);

  /// @param input of the compressed model. @return [tokens, cols] of the same unit, part, row and
  ///        tokens; a token that did not come to this part in the original stands as it is in
  ///        `input`. Valid until the next call.
  const float* beside(const LinearInput& input);

 private:
  struct Recorded {
    std::vector<float> inputs;
    std::vector<int32_t> positions;  // empty: all tokens in order
  };
  struct Key {
    int unit;
    int part;
    int64_t row;
    auto operator<=>(const Key&) const = default;
  };

  std::map<Key, Recorded> recorded_;
  std::vector<float> matched_;
};

class Moments {
 public:
  /// @param units the linears wanted; others are not looked at.
  /// @param memory_bytes what the moments of a pass may take; a part's, and the sums over all parts
  ///                     of units with several, are held even if that is more.
  /// @param drifts beside each moment how its inputs have moved since the original model.
  Moments(const Checkpoint& checkpoint, std::span<const int> units, int64_t memory_bytes,
          ThreadPool& pool, bool drifts = false);

  /// Whether all that could come fits into one pass, by the sizes of the units.
  bool fits_one_pass() const;

  /// Takes what InputObserver is given.
  /// @param originals where drifts are wanted: what was recorded of the leaders' inputs.
  void add(const LinearInput& input, OriginalInputs* originals = nullptr);

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
  /// The drift of one part, drawn towards the others' just so. @pre the same, and drifts.
  Drift drift_of(int unit, int part, double shrink_tokens) const;
  /// The moment as it was gathered; null where no token came. @pre the same.
  const SecondMoment* gathered(int unit, int part) const;
  /// Tokens that came to a part. @pre the same.
  int64_t tokens(int unit, int part) const;

 private:
  enum class State : uint8_t { kWaiting, kGathering, kPostponed, kDone };
  struct Sums {
    SecondMoment moment;
    std::unique_ptr<Drift> drift;
  };
  struct Part {
    State state = State::kWaiting;
    std::unique_ptr<Sums> sums;
  };
  /// The inputs of the units that share them.
  struct Inputs {
    std::vector<Part> parts;
    std::unique_ptr<Sums> all;  // of several parts, gathered in their first pass
    bool all_gathered = false;
    bool postponed = false;  // as a whole, to the next pass
  };

  /// Of one part.
  int64_t sums_bytes(int unit) const;
  std::unique_ptr<Sums> make_sums(int64_t cols) const;
  /// Takes room for another part's, if there is any or nothing is gathered yet.
  bool reserve(int64_t bytes);

  const Checkpoint& checkpoint_;
  int64_t memory_bytes_;
  bool drifts_;
  int64_t used_bytes_ = 0;
  int gathering_ = 0;  // parts, in this pass
  ThreadPool& pool_;
  InputGroups known_;
  std::map<int, Inputs> inputs_;  // by leader
};

}  // namespace ram
