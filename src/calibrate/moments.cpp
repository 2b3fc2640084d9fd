#include "moments.h"

#include <algorithm>
#include <cstring>

#include "ram/error.h"
#include "ram/hash.h"
#include "ram/size.h"
#include "ram/thread.h"

#include "units.h"

namespace ram {

InputGroups::InputGroups(std::span<const int> units) {
  for (const int unit : units) leaders_[unit] = -1;
}

int InputGroups::leader_of(const LinearInput& input) {
  int& leader = leaders_.at(input.unit);
  const bool all_came = std::none_of(leaders_.begin(), leaders_.end(),
                                     [](const auto& entry) { return entry.second < 0; });
  if (leader >= 0 && all_came) return leader;
  // Buffers are reused: the same address means the same inputs only if the values are the same.
  Hasher hasher;
  hasher.update(
      std::as_bytes(std::span(input.inputs, static_cast<size_t>(input.tokens * input.cols))));
  Seen now{.inputs = input.inputs, .row = input.row, .digest = hasher.digest(), .leader = 0};
  Seen& before = seen_[input.part];
  if (leader < 0) {
    const bool same =
        before.inputs == now.inputs && before.row == now.row && before.digest == now.digest;
    leader = same ? before.leader : input.unit;
    if (!same) in_order_.push_back(leader);
  }
  now.leader = leader;
  before = std::move(now);
  return leader;
}

std::vector<std::vector<int>> InputGroups::groups() const {
  std::vector<std::vector<int>> groups;
  for (const int leader : in_order_) {
    std::vector<int>& group = groups.emplace_back(1, leader);
    for (const auto& [unit, its] : leaders_) {
      if (its == leader && unit != leader) group.push_back(unit);
    }
  }
  return groups;
}

void OriginalInputs::record(const LinearInput& input) {
  Recorded& to = recorded_[{input.unit, input.part, input.row}];
  to.inputs.assign(input.inputs, input.inputs + input.tokens * input.cols);
  to.positions.clear();
  if (input.positions != nullptr) {
    to.positions.assign(input.positions, input.positions + input.tokens);
  }
}

const float* OriginalInputs::beside(const LinearInput& input) {
  const auto found = recorded_.find({input.unit, input.part, input.row});
  if (found == recorded_.end()) return input.inputs;
  const Recorded& from = found->second;
  if (input.positions == nullptr) {
    RAM_CHECK(std::ssize(from.inputs) == input.tokens * input.cols);
    return from.inputs.data();
  }
  matched_.resize(static_cast<size_t>(input.tokens * input.cols));
  const auto bytes = static_cast<size_t>(input.cols) * 4;
  size_t at = 0;  // both are in increasing order
  for (int64_t t = 0; t < input.tokens; ++t) {
    const int32_t position = input.positions[t];
    while (at < from.positions.size() && from.positions[at] < position) ++at;
    const bool both = at < from.positions.size() && from.positions[at] == position;
    const float* source = both ? from.inputs.data() + static_cast<int64_t>(at) * input.cols
                               : input.inputs + t * input.cols;
    std::memcpy(matched_.data() + t * input.cols, source, bytes);
  }
  return matched_.data();
}

Moments::Moments(const Checkpoint& checkpoint, std::span<const int> units, int64_t memory_bytes,
                 ThreadPool& pool, bool drifts)
    : checkpoint_(checkpoint),
      memory_bytes_(memory_bytes),
      drifts_(drifts),
      pool_(pool),
      known_(units) {}

int64_t Moments::sums_bytes(int unit, bool held) const {
  const int64_t cols = checkpoint_.units[static_cast<size_t>(unit)].cols;
  return ((drifts_ ? 8 : 4) + (held ? 4 : 0)) * cols * cols;
}

std::unique_ptr<Moments::Sums> Moments::make_sums(int64_t cols, bool held) const {
  return std::make_unique<Sums>(Sums{SecondMoment(cols),
                                     drifts_ ? std::make_unique<Drift>(cols) : nullptr,
                                     held ? std::make_unique<SecondMoment>(cols) : nullptr});
}

bool Moments::is_sampled(int unit, int64_t part) const {
  const Unit& use = checkpoint_.units[static_cast<size_t>(unit)];
  return is_sampled_part(part, std::ssize(use.parts), use.cols);
}

bool Moments::fits_one_pass() const {
  int64_t bytes = 0;
  for (const auto& [unit, leader] : known_.leaders()) {
    const auto parts = std::ssize(checkpoint_.units[static_cast<size_t>(unit)].parts);
    const int64_t cols = checkpoint_.units[static_cast<size_t>(unit)].cols;
    const int64_t sampled = sampled_parts(parts, cols);
    bytes += sampled * sums_bytes(unit, true) + (parts - sampled) * sums_bytes(unit, false);
    if (parts > 1) bytes += sums_bytes(unit, false);
  }
  return bytes <= memory_bytes_;
}

bool Moments::reserve(int64_t bytes, bool even_if_too_much) {
  // Every pass makes progress, even if it exceeds its share of memory.
  const bool must = even_if_too_much || gathering_ == 0;
  if (!must && used_bytes_ + bytes > memory_bytes_) return false;
  used_bytes_ += bytes;
  ++gathering_;
  return true;
}

void Moments::add(const LinearInput& input, OriginalInputs* originals, int64_t first_row) {
  if (!known_.wants(input.unit) || input.tokens == 0) return;
  const int leader = known_.leader_of(input);
  if (leader != input.unit) return;
  Inputs& inputs = inputs_[leader];
  if (inputs.parts.empty()) {
    inputs.parts.resize(checkpoint_.units[static_cast<size_t>(leader)].parts.size());
  }
  const bool sampled = is_sampled(leader, input.part);
  const int64_t each = sums_bytes(leader, sampled);
  if (inputs.postponed) return;
  Part& part = inputs.parts[static_cast<size_t>(input.part)];
  const bool several = inputs.parts.size() > 1;
  const bool first_of_all = several && !inputs.all && !inputs.all_gathered;
  if (part.state == State::kWaiting) {
    // The damping must not depend on memory: parts that are sampled come with the first.
    const bool with_the_first = several && !first_of_all && sampled;
    if (reserve(first_of_all ? each + sums_bytes(leader, false) : each, with_the_first)) {
      part.state = State::kGathering;
      part.sums = make_sums(input.cols, sampled);
      if (first_of_all) inputs.all = make_sums(input.cols, false);
    } else if (first_of_all || !several) {
      inputs.postponed = true;
      return;
    } else {
      part.state = State::kPostponed;
    }
  }
  const bool to_all = inputs.all && !inputs.all_gathered;
  const float* original = nullptr;
  if (drifts_ && (to_all || part.sums)) {
    RAM_CHECK(originals != nullptr);
    original = originals->beside(input);
  }
  const auto sum = [&](Sums& sums) {
    sums.moment.add(input.inputs, input.tokens, pool_);
    if (sums.drift) sums.drift->add(original, input.inputs, input.tokens, pool_);
    if (sums.held && is_held_out(first_row + input.row))
      sums.held->add(input.inputs, input.tokens, pool_);
  };
  if (to_all) sum(*inputs.all);
  if (part.sums) sum(*part.sums);
}

std::vector<Moments::Group> Moments::groups() const {
  std::map<int, Group> by_leader;
  for (const auto& [unit, leader] : known_.leaders()) {
    if (leader >= 0 && !inputs_.at(leader).postponed) by_leader[leader].units.push_back(unit);
  }
  std::vector<Group> groups;
  for (auto& [leader, group] : by_leader) {
    const std::vector<Part>& parts = inputs_.at(leader).parts;
    for (size_t part = 0; part < parts.size(); ++part) {
      const State state = parts[part].state;
      // A part that still waits received no tokens.
      const bool ready = state == State::kGathering || state == State::kWaiting;
      if (ready) group.parts.push_back(static_cast<int>(part));
    }
    groups.push_back(std::move(group));
  }
  return groups;
}

bool Moments::next_pass() {
  bool more = false;
  for (auto& [leader, inputs] : inputs_) {
    bool done = !inputs.postponed;
    for (size_t p = 0; p < inputs.parts.size(); ++p) {
      if (inputs.postponed) break;
      Part& part = inputs.parts[p];
      if (part.sums) used_bytes_ -= sums_bytes(leader, is_sampled(leader, static_cast<int64_t>(p)));
      part.sums.reset();
      const bool waits = part.state == State::kPostponed;
      part.state = waits ? State::kWaiting : State::kDone;
      if (waits) done = false;
    }
    if (inputs.all) inputs.all_gathered = true;
    if (done && inputs.all) {
      inputs.all.reset();
      used_bytes_ -= sums_bytes(leader, false);
    }
    inputs.postponed = false;
    more = more || !done;
  }
  gathering_ = 0;
  return more;
}

SecondMoment Moments::of(int unit, int part, double shrink_tokens) const {
  const Inputs& inputs = inputs_.at(known_.leader(unit));
  const SecondMoment* own = gathered(unit, part);
  if (inputs.parts.size() == 1) return *own;
  SecondMoment moment =
      own != nullptr ? *own : SecondMoment(checkpoint_.units[static_cast<size_t>(unit)].cols);
  moment.shrink_towards(inputs.all->moment, shrink_tokens);
  return moment;
}

Drift Moments::drift_of(int unit, int part, double shrink_tokens) const {
  const Inputs& inputs = inputs_.at(known_.leader(unit));
  const auto& own = inputs.parts[static_cast<size_t>(part)].sums;
  if (inputs.parts.size() == 1) return *own->drift;
  Drift drift = own ? *own->drift : Drift(checkpoint_.units[static_cast<size_t>(unit)].cols);
  const int64_t tokens = inputs.all->moment.tokens();
  if (tokens > 0) drift.add(*inputs.all->drift, shrink_tokens / static_cast<double>(tokens));
  return drift;
}

const SecondMoment* Moments::gathered(int unit, int part) const {
  const auto& sums = inputs_.at(known_.leader(unit)).parts[static_cast<size_t>(part)].sums;
  return sums ? &sums->moment : nullptr;
}

const SecondMoment* Moments::held(int unit, int part) const {
  const auto& sums = inputs_.at(known_.leader(unit)).parts[static_cast<size_t>(part)].sums;
  const bool some = sums && sums->held && sums->held->tokens() > 0 &&
                    sums->moment.tokens() > sums->held->tokens();
  return some ? sums->held.get() : nullptr;
}

SecondMoment Moments::rest(int unit, int part, double shrink_tokens) const {
  SecondMoment moment = of(unit, part, shrink_tokens);
  if (const SecondMoment* out = held(unit, part)) moment.remove(*out);
  return moment;
}

double Moments::damping(const Group& group, double shrink_tokens, double otherwise) {
  const int leader = group.units.front();
  std::optional<double>& chosen = inputs_.at(known_.leader(leader)).damping;
  if (chosen) return *chosen;
  std::vector<SecondMoment> rests;
  std::vector<HeldOut> inputs;
  for (const int part : group.parts) {
    if (held(leader, part) != nullptr) rests.push_back(rest(leader, part, shrink_tokens));
  }
  for (const int part : group.parts) {
    if (const SecondMoment* out = held(leader, part)) {
      inputs.push_back({.rest = &rests[inputs.size()], .held = out});
    }
  }
  if (inputs.empty()) return otherwise;
  chosen = choose_damping(inputs, pool_);
  return *chosen;
}

int64_t Moments::tokens(int unit, int part) const {
  const SecondMoment* moment = gathered(unit, part);
  return moment == nullptr ? 0 : moment->tokens();
}

}  // namespace ram
