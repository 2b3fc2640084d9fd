#include "moments.h"

#include <algorithm>

#include "ram/error.h"
#include "ram/hash.h"

namespace ram {

Moments::Moments(const Checkpoint& checkpoint, std::span<const int> units, int64_t memory_bytes,
                 ThreadPool& pool)
    : checkpoint_(checkpoint), memory_bytes_(memory_bytes), pool_(pool) {
  for (const int unit : units) leaders_[unit] = -1;
}

int64_t Moments::moment_bytes(int unit) const {
  const int64_t cols = checkpoint_.units[static_cast<size_t>(unit)].cols;
  return 4 * cols * cols;
}

bool Moments::fits_one_pass() const {
  int64_t bytes = 0;
  for (const auto& [unit, leader] : leaders_) {
    const auto parts = std::ssize(checkpoint_.units[static_cast<size_t>(unit)].parts);
    bytes += (parts > 1 ? parts + 1 : 1) * moment_bytes(unit);
  }
  return bytes <= memory_bytes_;
}

bool Moments::reserve(int64_t bytes) {
  // A pass must come further, whatever that takes.
  if (gathering_ > 0 && used_bytes_ + bytes > memory_bytes_) return false;
  used_bytes_ += bytes;
  ++gathering_;
  return true;
}

/// The unit under which these inputs are kept: the first that they came to in this row.
int Moments::leader_of(const LinearInput& input) {
  int& leader = leaders_.at(input.unit);
  const bool all_came = std::none_of(leaders_.begin(), leaders_.end(),
                                     [](const auto& entry) { return entry.second < 0; });
  if (leader >= 0 && all_came) return leader;
  // Memory is used again: the same place is the same inputs only if the values are.
  Hasher hasher;
  hasher.update(
      std::as_bytes(std::span(input.inputs, static_cast<size_t>(input.tokens * input.cols))));
  Seen now{.inputs = input.inputs, .row = input.row, .digest = hasher.digest(), .leader = 0};
  Seen& before = seen_[input.part];
  if (leader < 0) {
    const bool same =
        before.inputs == now.inputs && before.row == now.row && before.digest == now.digest;
    leader = same ? before.leader : input.unit;
  }
  now.leader = leader;
  before = std::move(now);
  return leader;
}

void Moments::add(const LinearInput& input) {
  if (!leaders_.contains(input.unit) || input.tokens == 0) return;
  const int leader = leader_of(input);
  if (leader != input.unit) return;
  const int64_t each = moment_bytes(leader);
  Inputs& inputs = inputs_[leader];
  if (inputs.parts.empty()) {
    inputs.parts.resize(checkpoint_.units[static_cast<size_t>(leader)].parts.size());
  }
  if (inputs.postponed) return;
  Part& part = inputs.parts[static_cast<size_t>(input.part)];
  const bool several = inputs.parts.size() > 1;
  const bool first_of_all = several && !inputs.all && !inputs.all_gathered;
  if (part.state == State::kWaiting) {
    if (reserve(first_of_all ? 2 * each : each)) {
      part.state = State::kGathering;
      part.moment = std::make_unique<SecondMoment>(input.cols);
      if (first_of_all) inputs.all = std::make_unique<SecondMoment>(input.cols);
    } else if (first_of_all || !several) {
      inputs.postponed = true;
      return;
    } else {
      part.state = State::kPostponed;
    }
  }
  if (inputs.all && !inputs.all_gathered) inputs.all->add(input.inputs, input.tokens, pool_);
  if (part.moment) part.moment->add(input.inputs, input.tokens, pool_);
}

std::vector<Moments::Group> Moments::groups() const {
  std::map<int, Group> by_leader;
  for (const auto& [unit, leader] : leaders_) {
    if (leader >= 0 && !inputs_.at(leader).postponed) by_leader[leader].units.push_back(unit);
  }
  std::vector<Group> groups;
  for (auto& [leader, group] : by_leader) {
    const std::vector<Part>& parts = inputs_.at(leader).parts;
    for (size_t part = 0; part < parts.size(); ++part) {
      const State state = parts[part].state;
      // One that still waits has no tokens.
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
    const int64_t each = moment_bytes(leader);
    bool done = !inputs.postponed;
    for (Part& part : inputs.parts) {
      if (inputs.postponed) break;
      if (part.moment) used_bytes_ -= each;
      part.moment.reset();
      const bool waits = part.state == State::kPostponed;
      part.state = waits ? State::kWaiting : State::kDone;
      if (waits) done = false;
    }
    if (inputs.all) inputs.all_gathered = true;
    if (done && inputs.all) {
      inputs.all.reset();
      used_bytes_ -= each;
    }
    inputs.postponed = false;
    more = more || !done;
  }
  gathering_ = 0;
  return more;
}

SecondMoment Moments::of(int unit, int part, double shrink_tokens) const {
  const Inputs& inputs = inputs_.at(leaders_.at(unit));
  const auto& own = inputs.parts[static_cast<size_t>(part)].moment;
  if (inputs.parts.size() == 1) return *own;
  SecondMoment moment =
      own ? *own : SecondMoment(checkpoint_.units[static_cast<size_t>(unit)].cols);
  moment.shrink_towards(*inputs.all, shrink_tokens);
  return moment;
}

const SecondMoment* Moments::gathered(int unit, int part) const {
  return inputs_.at(leaders_.at(unit)).parts[static_cast<size_t>(part)].moment.get();
}

int64_t Moments::tokens(int unit, int part) const {
  const SecondMoment* moment = gathered(unit, part);
  return moment == nullptr ? 0 : moment->tokens();
}

}  // namespace ram
