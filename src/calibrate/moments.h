// Second moments of a layer's linears, gathered while the layer runs. Linears that multiply the
// same inputs (queries, keys, values; gate, up) share one. If memory cannot hold all moments at
// once, further passes over the layer gather the rest, with the same result.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
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
  /// @param units the requested linears.
  explicit InputGroups(std::span<const int> units);

  bool wants(int unit) const { return leaders_.contains(unit); }

  /// The unit that identifies these inputs: the first that received them in this row.
  /// @pre wants(input.unit), input.tokens > 0.
  int leader_of(const LinearInput& input);

  /// The groups that received inputs: their units, the leader first, in order of first inputs.
  std::vector<std::vector<int>> groups() const;

  /// -1: it received no inputs yet. @pre wants(unit).
  int leader(int unit) const { return leaders_.at(unit); }
  const std::map<int, int>& leaders() const { return leaders_; }

 private:
  /// The last inputs of one part.
  struct Seen {
    const float* inputs = nullptr;
    int64_t row = -1;
    std::string digest;
    int leader = -1;
  };

  std::map<int, int> leaders_;  // of the requested units; -1: no inputs yet
  std::vector<int> in_order_;   // leaders
  std::map<int, Seen> seen_;    // by part
};

/// Inputs of linears in the original model, to compare with those of a compressed model for the
/// same tokens.
class OriginalInputs {
 public:
  /// Keeps a copy.
  void record(const LinearInput& input);

  /// @param input of the compressed model. @return [tokens, cols] of the same unit, part, row and
  ///              tokens; for a token that did not reach this part in the original, the values of
  ///              `input`. Valid until the next call.
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
  /// @param units the requested linears; others are ignored.
  /// @param memory_bytes limit for the moments of a pass; but those of one
  ///                     part, those of the sampled parts (units.h) and the sums over all parts of
  ///                     units with several are held even if they exceed it.
  /// @param drifts also gather, for each moment, how its inputs moved from the original model's.
  Moments(const Checkpoint& checkpoint, std::span<const int> units, int64_t memory_bytes,
          ThreadPool& pool, bool drifts = false);

  /// Whether the moments of all units fit into one pass, by the units' sizes.
  bool fits_one_pass() const;

  /// Adds the inputs that InputObserver receives.
  /// @param originals if drifts are requested: the recorded inputs of the leaders.
  /// @param first_row number of the first row of the block in the text.
  void add(const LinearInput& input, OriginalInputs* originals = nullptr, int64_t first_row = 0);

  /// Parts of units that share their inputs.
  struct Group {
    std::vector<int> units;
    std::vector<int> parts;  ///< gathered in this pass, and those that received no inputs
  };
  /// What can be encoded after this pass.
  std::vector<Group> groups() const;

  /// Frees what this pass gathered. @return whether another pass is needed.
  bool next_pass();

  /// The moment of one part, shrunk towards that of all its unit's parts (encoder.h,
  /// shrink_towards). @pre the part is of one of the groups.
  SecondMoment of(int unit, int part, double shrink_tokens) const;
  /// The drift of one part, shrunk in the same way. @pre the same, and drifts.
  Drift drift_of(int unit, int part, double shrink_tokens) const;
  /// The moment as gathered; null if no token reached the part. @pre the same.
  const SecondMoment* gathered(int unit, int part) const;
  /// Of every fourth row of the text, which is also part of what gathered() has; for all parts or
  /// some of many. Null: none. @pre the same.
  const SecondMoment* held(int unit, int part) const;
  /// of() without what held() has.
  SecondMoment rest(int unit, int part, double shrink_tokens) const;
  /// Tokens that reached a part. @pre the same.
  int64_t tokens(int unit, int part) const;

  /// The damping for the parts of a unit, by those that have a held() (encoder.h); `otherwise` if
  /// none has. Chosen in the first pass.
  double damping(const Group& group, double shrink_tokens, double otherwise);

 private:
  enum class State : uint8_t { kWaiting, kGathering, kPostponed, kDone };
  struct Sums {
    SecondMoment moment;
    std::unique_ptr<Drift> drift;
    std::unique_ptr<SecondMoment> held;
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
    bool postponed = false;  // all of them, to the next pass
    std::optional<double> damping;
  };

  /// Bytes of the sums of one part. @param held with the moment of the rows that are held out.
  int64_t sums_bytes(int unit, bool held) const;
  std::unique_ptr<Sums> make_sums(int64_t cols, bool held) const;
  /// Whether a part has a moment of the rows that are held out.
  bool is_sampled(int unit, int64_t part) const;
  /// Reserves memory for another part, if it fits, must, or if nothing is gathered yet.
  bool reserve(int64_t bytes, bool even_if_too_much);

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
