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
  Inputs& inputs = inputs_[leader];
  const Unit& unit = checkpoint_.units[static_cast<size_t>(leader)];
  if (inputs.parts.empty()) {
    const int64_t each = input.cols * input.cols * 4;
    const bool fits = std::ssize(unit.parts) * each <= memory_bytes_;
    inputs.parts.resize(fits ? unit.parts.size() : 1);
    inputs.tokens.resize(unit.parts.size());
  }
  inputs.tokens[static_cast<size_t>(input.part)] += input.tokens;
  auto& moment = inputs.parts[inputs.parts.size() == 1 ? 0 : static_cast<size_t>(input.part)];
  if (!moment) moment = std::make_unique<SecondMoment>(input.cols);
  moment->add(input.inputs, input.tokens, pool_);
}

std::vector<std::vector<int>> Moments::groups() const {
  std::map<int, std::vector<int>> by_leader;
  for (const auto& [unit, leader] : leaders_) {
    if (leader >= 0) by_leader[leader].push_back(unit);
  }
  std::vector<std::vector<int>> groups;
  groups.reserve(by_leader.size());
  for (auto& entry : by_leader) groups.push_back(std::move(entry.second));
  return groups;
}

SecondMoment Moments::of(int unit, int part, double shrink_tokens) {
  Inputs& inputs = inputs_.at(leaders_.at(unit));
  const int64_t cols = checkpoint_.units[static_cast<size_t>(unit)].cols;
  if (inputs.parts.size() == 1) return *inputs.parts.front();
  if (!inputs.all) {
    inputs.all = std::make_unique<SecondMoment>(cols);
    for (const auto& one : inputs.parts) {
      if (one) inputs.all->add(*one);
    }
  }
  const auto& own = inputs.parts[static_cast<size_t>(part)];
  SecondMoment moment = own ? *own : SecondMoment(cols);
  moment.shrink_towards(*inputs.all, shrink_tokens);
  return moment;
}

const SecondMoment* Moments::gathered(int unit, int part) const {
  const Inputs& inputs = inputs_.at(leaders_.at(unit));
  return inputs.parts[inputs.parts.size() == 1 ? 0 : static_cast<size_t>(part)].get();
}

int64_t Moments::tokens(int unit, int part) const {
  return inputs_.at(leaders_.at(unit)).tokens[static_cast<size_t>(part)];
}

}  // namespace ram
